"""Searches a file for secrets: its text, what is packed in it, and what base64 hides."""

import base64
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from hackkit.project.file_texts import MOST, FileText, Unpacker
from hackkit.project.leaks import Leak, leaks

# A run of base64, also one that is broken into lines of one length.
_BASE64 = re.compile(r"(?a:(?<![\w+/-])(?:[A-Za-z0-9+/]{60,100}\r?\n)*[\w+/-]{20,}={0,2})")
_LONGEST = 400_000  # characters of base64 that are decoded
_DEEPEST = 2  # base64 in base64
_LOOK = 32  # characters that say whether the rest is text
_TEXT = re.compile(rb"[\t\r\n\x20-\x7e]+")


@dataclass(frozen=True)
class Found:
    """A secret in a file: its kind, its line (0: it has none), and its member of an archive."""

    kind: str
    line: int = 0
    member: str = ""

    def place(self, path: str) -> str:
        """Return where it is: `app.py:3`, or `a.zip (in app.py:3)`."""
        line = f":{self.line}" if self.line else ""
        return f"{path} (in {self.member}{line})" if self.member else f"{path}{line}"


def search(
    path: str, data: bytes, known: Collection[str] = (), most: int = MOST
) -> tuple[Found, ...]:
    """Return the secrets in a file; `known` are found literally, `most` bytes are unpacked."""
    return tuple(
        dict.fromkeys(
            Found(leak.kind, leak.line if each.has_lines else 0, each.member)
            for each in Unpacker(most).texts(data)
            for leak in _in_text(each, each.member or path, known)
        )
    )


def _in_text(each: FileText, path: str, known: Collection[str]) -> Iterator[Leak]:
    yield from leaks(each.text, known, path)
    for line, text in _decoded(each.text):
        yield from (Leak(f"{leak.kind} in base64", line) for leak in leaks(text, known))


def _decoded(text: str, depth: int = 1) -> Iterator[tuple[int, str]]:
    """Yield each text that is in base64, with the line where it begins."""
    for match in _BASE64.finditer(text):
        run = re.sub(r"\s", "", match[0]).rstrip("=").translate(_STANDARD)
        if len(run) > _LONGEST or not _TEXT.fullmatch(_bytes(run[:_LOOK]).replace(b"\0", b"")):
            continue
        inner = _bytes(run).replace(b"\0", b"").decode("ascii", "replace")
        line = text.count("\n", 0, match.start()) + 1
        yield line, inner
        if depth < _DEEPEST:
            yield from ((line, deeper) for _, deeper in _decoded(inner, depth + 1))


_STANDARD = str.maketrans("-_", "+/")


def _bytes(run: str) -> bytes:
    """Decode base64 without its padding; a rest of one character is left out."""
    whole = run[: len(run) - 1] if len(run) % 4 == 1 else run
    return base64.b64decode(whole + "=" * (-len(whole) % 4))
