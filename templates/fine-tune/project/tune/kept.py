"""Saves answers one by one, so that none is asked for again after a stop."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tune.generate import Reply


@dataclass(frozen=True)
class Kept:
    """A file with a line of JSON for each answer."""

    file: Path

    def read(self) -> dict[str, Reply]:
        """The answers by their keys."""
        found: dict[str, Reply] = {}
        if not self.file.is_file():
            return found
        for line in self.file.read_text(encoding="utf-8", errors="replace").split("\n"):
            try:
                about = json.loads(line)
                key = about.pop("key")
                found[key] = Reply(**about)
            except (ValueError, KeyError, TypeError, AttributeError):
                continue  # a line that a power cut left incomplete
        return found

    def add(self, replies: Mapping[str, Reply]) -> None:
        """Append answers to the file."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        # Start with a line break: a power cut may have left the last line incomplete
        lines = [f"\n{json.dumps({'key': key} | asdict(each))}" for key, each in replies.items()]
        with self.file.open("a", encoding="utf-8") as file:
            file.write("".join(lines))


def key(*asked: object) -> str:
    """A hash of a question and of everything that its answer depends on."""
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
