"""Unpacks a file into its texts: archives, office documents, PDFs, SQLite databases, UTF-16."""

import bz2
import contextlib
import gzip
import io
import lzma
import re
import sqlite3
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

PICTURE = "the text that it shows"
MOST = 30_000_000  # bytes to unpack of one file
_DEEPEST = 4  # archives inside of archives; a .tar.gz is two
_BROKEN = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, sqlite3.Error),
    *(OSError, RuntimeError, ValueError, EOFError),
)
_ZIP, _PDF, _SQLITE = b"PK\x03\x04", b"%PDF-", b"SQLite format 3\0"
_STEPS = 20_000_000  # of SQLite, about a second
_ZIP_END, _ZIP_TAIL = b"PK\x05\x06", 65_557  # bytes: the end of a zip with its comment
_PACKED = {b"\x1f\x8b": "gzip", b"\xfd7zXZ": "xz", b"\x5d\0\0": "lzma"} | {
    b"BZh%d" % level + block: "bzip2" for level in range(1, 10) for block in (b"1AY&", b"\x17rE8")
}
_CLOSED = {b"7z\xbc\xaf\x27\x1c": "7z", b"Rar!": "RAR", b"\x28\xb5\x2f\xfd": "Zstandard"} | {
    b"\x04\x22\x4d\x18": "LZ4",
    b"LZIP\1": "lzip",
}
_PIECE = 65_536  # bytes
_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*")
_TAR_AT = 257

# The end of a paragraph, a row, a cell: what follows is another text.
_PARAGRAPH = re.compile(rb"</(?:w:p|a:p|row|si|c|text:p)>")
_TAG = re.compile(rb"<[^<>]*>")
_STREAM = re.compile(rb"\bstream\r?\n")
_KERNING = re.compile(rb"\)\s*-?[0-9.]+\s*\(")  # splits a word that a PDF shows as one
_BINARY = re.compile(rb"[\x01-\x08\x0e-\x1a\x7f]")
_STRINGS = re.compile(rb"(?:[\t\x20-\x7e]\0){6,}|[\t\x20-\x7e]{6,}")  # UTF-16, or ASCII


@dataclass(frozen=True)
class FileText:
    """A text of a file: its archive member (empty: the file itself), and whether it has lines."""

    text: str
    member: str = ""
    has_lines: bool = True


class Unpacker:
    """Yields the texts of one file, within limits; `unread` says what was not looked into."""

    def __init__(self, most: int = MOST) -> None:
        self._left = most
        self.unread: list[str] = []

    def texts(self, data: bytes, member: str = "", depth: int = 0) -> Iterator[FileText]:
        """Yield each text in the bytes, also in archives inside of it."""
        if closed := _named(data, _CLOSED):
            self.unread.append(f"{member or 'all of it'} (a {closed} archive)")
        elif not _is_archive(data):
            yield from _plain(data, member)
        elif depth >= _DEEPEST:
            self.unread.append(f"{member} (an archive {depth} archives deep)")
        else:
            try:
                yield from self._archive(data, member, depth)
            except _BROKEN:
                yield from _plain(data, member)
                if not data.startswith(_SQLITE):  # of which the text is all there is
                    self.unread.append(f"{member or 'all of it'} (damaged)")

    def _archive(self, data: bytes, member: str, depth: int) -> Iterator[FileText]:
        if _is_zip(data):
            if before := _before_zip(data):  # a program that unpacks it, or another archive
                yield from self.texts(data[:before], member, depth + 1)
            for name, part in self._zip(data):
                yield from self.texts(part, _inside(member, name), depth + 1)
        elif data.startswith(_PDF):
            yield from _plain(data, member)
            yield from (FileText(page, member, has_lines=False) for page in self._pdf(data))
        elif data.startswith(_SQLITE):
            yield from _plain(data, member)  # also what was deleted
            yield from (FileText(row, member, has_lines=False) for row in _rows(data))
        elif _is_tar(data):
            for name, part in _files(data):
                yield from self.texts(part, _inside(member, name), depth + 1)
        else:
            yield from self.texts(self._unpacked(data, member), member, depth + 1)

    def _zip(self, data: bytes) -> Iterator[tuple[str, bytes]]:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for each in archive.infolist():
                if each.flag_bits & 1:
                    self.unread.append(f"{each.filename} (it has a password)")
                elif self._has_room(each.filename):
                    try:
                        with archive.open(each) as file:
                            yield each.filename, self._counted(file.read(self._left + 1))
                    except _BROKEN:
                        self.unread.append(f"{each.filename} (damaged)")

    def _pdf(self, data: bytes) -> Iterator[str]:
        for match in _STREAM.finditer(data):
            end = data.find(b"endstream", match.end())
            packed = data[match.end() : end if end > 0 else None]
            if not self._has_room("some pages"):
                return
            try:
                part = zlib.decompressobj().decompress(packed, self._left + 1)
            except zlib.error:  # compressed in another way
                continue
            yield _KERNING.sub(b"", self._counted(part)).decode("utf-8", "replace")

    def _unpacked(self, data: bytes, member: str) -> bytes:
        """Return the beginning of a packed file, as much as the limit and damage allow."""
        whole = bytearray()
        try:
            for part in _pieces(data):
                whole += part
                if len(whole) > self._left:
                    break
        except _BROKEN:
            if not whole:
                raise
            self.unread.append(f"{member or 'the rest'} (damaged)")
        return self._counted(bytes(whole))

    def _has_room(self, name: str) -> bool:
        if self._left <= 0 and not any("only the first" in each for each in self.unread):
            self.unread.append(f"{name} and what follows (only the first {MOST // 1_000_000} MB)")
        return self._left > 0

    def _counted(self, part: bytes) -> bytes:
        if len(part) > self._left:
            self.unread.append(f"the rest (only the first {MOST // 1_000_000} MB)")
        part = part[: self._left]
        self._left -= len(part)
        return part


def unread(data: bytes) -> tuple[str, ...]:
    """Return what of a file cannot be read, each with its reason ("a.7z (a 7z archive)")."""
    if data.startswith(_PICTURES) or data[8:12] in {b"WEBP", b"heic", b"avif"}:
        return (PICTURE,)
    unpacker = Unpacker()
    if _is_archive(data) or _named(data, _CLOSED):
        for _ in unpacker.texts(data):
            pass
    return tuple(unpacker.unread)


def _before_zip(data: bytes) -> int:
    """Return how many bytes are before the first file of a zip."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return min((each.header_offset for each in archive.infolist()), default=0)


def _pieces(data: bytes) -> Iterator[bytes]:
    """Unpack a packed file, and those that follow it in the same file."""
    kind = _named(data, _PACKED)
    if kind == "gzip":
        with gzip.open(io.BytesIO(data)) as file:
            while part := file.read1(_PIECE):
                yield part
        return
    position = 0
    while position < len(data):
        unpacker = bz2.BZ2Decompressor() if kind == "bzip2" else lzma.LZMADecompressor()
        while not unpacker.eof:
            piece = data[position : position + _PIECE] if unpacker.needs_input else b""
            if unpacker.needs_input and not piece:
                raise EOFError
            position += len(piece)
            yield unpacker.decompress(piece, _PIECE)
        position -= len(unpacker.unused_data)
        while data[position : position + 1] == b"\0":  # between two files
            position += 1


def _files(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the files in a tar: together they are no larger than it is, but for sparse ones."""
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        for each in archive:
            file = None if each.issparse() or not each.isfile() else archive.extractfile(each)
            if file:
                yield each.name, file.read()


def _rows(data: bytes) -> Iterator[str]:
    """Yield the rows of a database's tables, a line each."""
    # Bytes 18 and 19 say that there is a log beside the file, which a copy in memory has not.
    copy = data[:18] + b"\1\1" + data[20:]
    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        database.deserialize(copy)
        database.set_progress_handler(lambda: 1, _STEPS)  # ends what takes longer
        database.text_factory = lambda value: value.decode("utf-8", "replace")
        tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0"
        for (name,) in database.execute(tables).fetchall():
            quoted = name.replace('"', '""')
            rows = database.execute(f'SELECT * FROM "{quoted}"')  # noqa: S608 - a name in quotes
            yield "\n".join("\t".join(map(_cell, row)) for row in rows)


def _cell(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _plain(data: bytes, member: str) -> Iterator[FileText]:
    """Yield the text of bytes that are no archive, or the strings in a binary file."""
    if b"\0" in data and _BINARY.search(data.replace(b"\0", b"")[:4_000]):
        strings = b"\n".join(match[0].replace(b"\0", b"") for match in _STRINGS.finditer(data))
        yield FileText(strings.decode("ascii"), member, has_lines=False)
        return
    # UTF-16, also after UTF-8 (PowerShell's `>>`): without the zeros, ASCII is left.
    text = data.replace(b"\0", b"")
    office = member != "" and text.lstrip(b"\xef\xbb\xbf").startswith(b"<?xml")
    if office:
        words = _TAG.sub(b"", _PARAGRAPH.sub(b"\n", text)).decode("utf-8", "replace")
        yield FileText(words, member, has_lines=False)
    yield FileText(text.decode("utf-8", "replace"), member, has_lines=not office)


def _is_archive(data: bytes) -> bool:
    beginning = data.startswith((_PDF, _SQLITE)) or _named(data, _PACKED) != ""
    return beginning or _is_tar(data) or _is_zip(data)


def _is_zip(data: bytes) -> bool:
    """Return whether it is a zip, also one behind a program that unpacks it."""
    if data.startswith(_ZIP):
        return True
    return _ZIP_END in data[-_ZIP_TAIL:] and zipfile.is_zipfile(io.BytesIO(data))


def _is_tar(data: bytes) -> bool:
    return data[_TAR_AT : _TAR_AT + 5] == b"ustar"


def _named(data: bytes, beginnings: dict[bytes, str]) -> str:
    return next((name for start, name in beginnings.items() if data.startswith(start)), "")


def _inside(member: str, name: str) -> str:
    return f"{member}/{name}" if member else name
