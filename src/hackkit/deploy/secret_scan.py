"""Searches files for secrets before they are sent, also in office documents, archives, PDFs."""

import io
import re
import zipfile
import zlib
from collections.abc import Collection, Iterator

from hackkit.deploy.manifest import OutgoingFile
from hackkit.errors import Problem
from hackkit.project.leaks import is_lock, known_leaks, leaks

_MOST = 30_000_000  # bytes to unpack of one file
_BROKEN = (zipfile.BadZipFile, zlib.error, OSError, RuntimeError, ValueError, EOFError)
_PARAGRAPH = re.compile(rb"</(?:w:p|a:p|row|text:p)>")
_TAG = re.compile(rb"<[^<>]*>")
_STREAM = re.compile(rb"\bstream\r?\n")
_KERNING = re.compile(rb"\)\s*-?[0-9.]+\s*\(")  # splits a word that a PDF shows as one


def contents(data: bytes) -> Iterator[str]:
    """Yield the text of each part of an archive, document or PDF; nothing if locked or broken."""
    if data.startswith(b"PK"):
        yield from _members(data)
    elif data.startswith(b"%PDF-"):
        yield from _streams(data)


def _members(data: bytes) -> Iterator[str]:
    left = _MOST
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for each in archive.infolist():
                with archive.open(each) as member:
                    part = member.read(left)
                left -= len(part)
                if part.lstrip(b"\xef\xbb\xbf").startswith(b"<?xml"):
                    part = _TAG.sub(b"", _PARAGRAPH.sub(b"\n", part))
                yield part.decode("utf-8", "replace")
    except _BROKEN:
        return


def _streams(data: bytes) -> Iterator[str]:
    left = _MOST
    for match in _STREAM.finditer(data):
        end = data.find(b"endstream", match.end())
        packed = data[match.end() : end if end > 0 else None]
        try:
            part = zlib.decompressobj().decompress(packed, max(left, 1))
        except zlib.error:  # compressed in another way
            continue
        left -= len(part)
        if left <= 0:
            return
        yield _KERNING.sub(b"", part).decode("utf-8", "replace")


def scan(each: OutgoingFile, known: Collection[str]) -> Iterator[Problem]:
    """Yield a problem for each secret in a file; `known` are secrets to find literally."""
    data = each.read()
    text = data.decode("utf-8", "replace")
    binary = b"\0" in data[:8000]
    for leak in known_leaks(text, known) if binary or is_lock(each.path) else leaks(text, known):
        yield Problem(
            f"{each.path}:{leak.line} contains {leak.kind}. Nothing was sent.",
            fix=f"edit {each.path}: remove line {leak.line}, and create a new key",
        )
    inside = {leak.kind for part in contents(data) for leak in leaks(part, known)}
    for kind in sorted(inside):
        yield Problem(
            f"{each.path} contains {kind} in its text. Nothing was sent.",
            fix=f"edit {each.path}: remove it, and create a new key",
        )
