"""From documents to chunks: finds, loads and splits files and web pages."""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from plumbing.readers import Page, Unreadable, read, reader
from plumbing.settings import ROOT
from plumbing.web import fetch
from rag.settings import Settings
from rag.text import Span, cut, prose

Vector = list[float]


@dataclass(frozen=True)
class Chunk:
    """A part of a document; `page.text[start:start + len(text)] == text`."""

    id: str
    source: str  # "docs/guide.pdf" or a URL
    text: str
    page: int | None
    section: str
    start: int


@dataclass(frozen=True)
class Citation:
    """A number in an answer, and the chunk that it points to."""

    number: int
    chunk: Chunk


@dataclass(frozen=True)
class Document:
    """A document, split; the digest changes with its content and with the chunk size."""

    name: str
    digest: str
    chunks: list[Chunk]


# Finding


def find(paths: Iterable[str | Path]) -> Iterator[str]:
    """The names of these files and URLs, and of the files in these folders, without hidden ones.

    A URL is its own name; a file's name is its path from the project folder.
    """
    for path in paths:
        if is_url(path):
            yield str(path)
        elif (folder := Path(path)).is_dir():
            for file in sorted(folder.rglob("*")):
                hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
                if file.is_file() and not hidden:
                    yield name_of(file)
        else:
            yield name_of(Path(path))


def find_all(known: Mapping[str, str], settings: Settings) -> list[str]:
    """All documents in docs/ and in the index; of web pages only the unfinished ones."""
    again = (name for name, digest in known.items() if not (is_url(name) and digest))
    uploads = settings.docs / "uploads"  # a link in a container, and rglob follows no links
    folders = [settings.docs, *filter(Path.is_dir, [uploads])]
    gone = find_gone(known)
    return [name for name in dict.fromkeys([*find(folders), *again]) if name not in gone]


def find_gone(known: Mapping[str, str]) -> list[str]:
    """The files in the index that no longer exist."""
    return [name for name in known if not is_url(name) and not (ROOT / name).is_file()]


def name_of(path: Path) -> str:
    """A file's name, the same for any spelling of its path: relative to the project, if inside."""
    for place in (Path(os.path.abspath(path)), path.resolve()):
        if place.is_relative_to(ROOT):
            return place.relative_to(ROOT).as_posix()
    return Path(os.path.abspath(path)).as_posix()


def is_url(name: str | Path) -> bool:
    """Whether a document's name is a URL."""
    return "://" in str(name)


# Loading


def load(name: str, known_digest: str | None, settings: Settings) -> Document | None:
    """A document split into chunks; None if its digest is the known one. Raises Unreadable."""
    max_mb, size, overlap = settings.max_file_mb, settings.chunk_size, settings.chunk_overlap
    kind, data = fetch(name, max_mb) if is_url(name) else _read_file(ROOT / name, max_mb)
    digest = hashlib.sha256(f"{size} {overlap} ".encode() + data).hexdigest()
    if digest == known_digest:
        return None
    return Document(name, digest, split(name, read(kind, data), size, overlap))


def _read_file(path: Path, max_mb: int) -> tuple[str, bytes]:
    reader(path.suffix)  # an unsupported type is not opened
    try:
        if path.stat().st_size > max_mb * 2**20:
            raise Unreadable(f"is larger than {max_mb} MB (MAX_FILE_MB raises the limit)")
        return path.suffix, path.read_bytes()
    except OSError as error:
        raise Unreadable(f"could not be opened ({error.strerror})") from error


# Splitting

_HEADING = re.compile(r"^(#{1,6})[ \t]+(\S.*)$", re.MULTILINE)
_FENCE = re.compile(r"^[ \t]*(```|~~~).*?(?:^[ \t]*\1[`~]*[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
_PARAGRAPH = re.compile(r"\n[ \t]*\n\s*")
_SPACE = re.compile(r"\s+")


def split(source: str, pages: Iterable[Page], size: int = 1600, overlap: int = 0) -> list[Chunk]:
    """Split pages into chunks of at most `size` characters, at the best break in reach."""
    chunks = []
    for number, page in enumerate(pages):
        for section, span in _sections(page):
            for start, end in _pack(list(_units(page.text, span, size)), size, overlap):
                if text := page.text[start:end].strip():
                    start = page.text.index(text[0], start)
                    key = f"{source}\0{number}\0{start}\0{text}".encode(errors="replace")
                    name = hashlib.blake2b(key, digest_size=16).hexdigest()
                    chunks.append(Chunk(name, source, text, page.page, section, start))
    return chunks


def _sections(page: Page) -> Iterator[tuple[str, Span]]:
    """The sections of a page, one per heading; a heading without text joins the next one."""
    fences = [match.span() for match in _FENCE.finditer(page.text)][::-1]
    trail: list[tuple[int, str]] = []
    name, start, body = page.section, 0, 0
    for match in _HEADING.finditer(page.text):
        while fences and fences[-1][1] <= match.start():
            fences.pop()
        if fences and fences[-1][0] <= match.start():
            continue
        if page.text[body : match.start()].strip():
            yield name, (start, match.start())
            start = match.start()
        body = match.end()
        level = len(match[1])
        trail = [above for above in trail if above[0] < level] + [(level, _title(match[2]))]
        titles = [title for _, title in trail]
        name = " › ".join(
            filter(None, [page.section if titles[0] != page.section else "", *titles])
        )
    yield name, (start, len(page.text))


def _title(line: str) -> str:
    """The title without closing hashes ("Title ##"); the one in "C#" stays."""
    words = line.split()
    return " ".join(words if words[-1].strip("#") else words[:-1] or words)


def _units(text: str, span: Span, size: int) -> Iterator[tuple[int, int, bool]]:
    """The smallest units that are not split, in order; True where a paragraph ends."""
    for paragraph in cut(text, span, _PARAGRAPH):
        for part in prose(text, paragraph):
            whole = part[1] - part[0] <= size
            for start, end in [part] if whole else cut(text, part, _SPACE):
                for at in range(start, end, size):
                    stop = min(at + size, end)
                    if not text[at:stop].isspace():
                        yield at, stop, stop == paragraph[1]


def _pack(units: list[tuple[int, int, bool]], size: int, overlap: int) -> Iterator[Span]:
    """Join units up to `size`; end with a paragraph if one ends in the last third."""
    first = 0
    while first < len(units):
        last = best = first
        while last < len(units) and units[last][1] - units[first][0] <= size:
            if units[last][2] and units[last][1] - units[first][0] > size * 2 // 3:
                best = last
            last += 1
        last = max(last, first + 1)
        if best > first and last < len(units):
            last = best + 1
        yield units[first][0], units[last - 1][1]
        if last == len(units):
            return
        back = last
        while back - 1 > first and units[last - 1][1] - units[back - 1][0] <= overlap:
            back -= 1
        while back < last and units[last][1] - units[back][0] > size:
            back += 1
        first = back
