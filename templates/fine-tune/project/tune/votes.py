"""Stores visitors' votes, one line of JSON each, and counts those on a pair of models."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from tune.inference import SIDES, Both

Choice = Literal["base", "tuned", "both", "neither"]
CHOICES: tuple[Choice, ...] = get_args(Choice)

_lock = threading.Lock()  # one line at a time


@dataclass(frozen=True)
class Tally:
    """The votes for each choice on a pair of models, and how many of them were blind."""

    counts: dict[Choice, int]
    blind: int = 0

    @property
    def votes(self) -> int:
        return sum(self.counts.values())


def keep(file: Path, question: str, both: Both, choice: Choice, blind: bool) -> None:
    """Append a vote, with the question and both answers. Raises OSError."""
    line: dict[str, Any] = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "choice": choice,
        "blind": blind,
        "question": question,
    }
    for side in SIDES:
        each = both[side]
        line[side] = {"by": each.by, "kind": each.kind, "text": each.text}
    with _lock:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8", newline="\n") as votes:
            votes.write(json.dumps(line, ensure_ascii=False) + "\n")


def tally(file: Path, both: Both) -> Tally:
    """The votes so far on this pair of models; damaged lines are skipped."""
    counts: Counter[Choice] = Counter()
    blind = 0
    for vote in _read(file):
        if vote.get("choice") in CHOICES and _names(vote) == [both[side].by for side in SIDES]:
            counts[vote["choice"]] += 1
            blind += vote.get("blind") is True
    return Tally({choice: counts[choice] for choice in CHOICES}, blind)


def _read(file: Path) -> list[dict[str, Any]]:
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            vote = json.loads(line)
        except ValueError:
            continue
        found += [vote] if isinstance(vote, dict) else []
    return found


def _names(vote: dict[str, Any]) -> list[str]:
    sides = (vote.get(side) for side in SIDES)
    return [str(each.get("by")) if isinstance(each, dict) else "" for each in sides]
