"""Limits of a tool: how long it may search, and how long its result may be."""

from __future__ import annotations

from collections.abc import Iterable

from agent.settings import SETTINGS
from plumbing.readers import Page

SECONDS = SETTINGS.tool_seconds * 0.8  # so that a tool can report it before it times out
ROOM = SETTINGS.result_chars - min(400, SETTINGS.result_chars // 2)  # the rest is for notes


def as_text(pages: Iterable[Page]) -> str:
    """A document as one text; a page's number and title are in brackets above it."""
    parts = []
    for page in pages:
        names = [f"page {page.page}" if page.page else "", page.section]
        mark = ", ".join(name for name in names if name)
        parts.append(f"[{mark}]\n{page.text.strip()}" if mark else page.text)
    return "\n\n".join(parts)


def fitting(lines: Iterable[str]) -> list[str]:
    """The first lines that fit into a result; at least one, cut if necessary."""
    kept, room = list[str](), ROOM
    for line in lines:
        room -= len(line) + 1
        if room < 0:
            return kept or [shortened(line, ROOM)]
        kept.append(line)
    return kept


def shortened(text: str, chars: int) -> str:
    """The beginning of a text, with … if it was cut."""
    return text if len(text) <= chars else text[: chars - 1] + "…"
