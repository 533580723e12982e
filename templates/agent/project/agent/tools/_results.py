"""Owns how long a tool may look, and how much of what it found the model reads."""

from __future__ import annotations

from collections.abc import Iterable

from agent.settings import SETTINGS
from plumbing.readers import Page

SECONDS = SETTINGS.tool_seconds * 0.8  # to answer in a tool's own words before the loop gives up
ROOM = SETTINGS.result_chars - min(400, SETTINGS.result_chars // 2)  # the rest is for notes


def as_text(pages: Iterable[Page]) -> str:
    """A document as one text, a line in brackets above each page that has a number or a title."""
    parts = []
    for page in pages:
        names = [f"page {page.page}" if page.page else "", page.section]
        mark = ", ".join(name for name in names if name)
        parts.append(f"[{mark}]\n{page.text.strip()}" if mark else page.text)
    return "\n\n".join(parts)


def fitting(lines: Iterable[str]) -> list[str]:
    """As many of the first lines as a result has room for; at least one, cut if it must be."""
    kept, room = list[str](), ROOM
    for line in lines:
        room -= len(line) + 1
        if room < 0:
            return kept or [shortened(line, ROOM)]
        kept.append(line)
    return kept


def shortened(text: str, chars: int) -> str:
    """The beginning of a text, with a mark where it was cut."""
    return text if len(text) <= chars else text[: chars - 1] + "…"
