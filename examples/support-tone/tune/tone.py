"""The tone of Lumen & Loom, as rules that a program can check."""

from __future__ import annotations

import re

SIGNATURE = "— Your friends at Lumen & Loom"
SENTENCES = 3
COLD = ("unfortunately", "policy", "inconvenience", "regret", "as per")


def faults(answer: str) -> list[str]:
    """List what breaks our tone in an answer; empty if nothing does."""
    body, _, last = answer.strip().rpartition("\n")
    found = []
    if last != SIGNATURE:
        found.append("it is not signed")
    count = len(re.findall(r"[.?!…](?=\s|$)", body))
    if count != SENTENCES:
        found.append(f"it has {count} sentences, not {SENTENCES}")
    if "!" in answer:
        found.append("it shouts")
    found += [f'it says "{word}"' for word in COLD if word in answer.lower()]
    return found


def in_tone(expected: str, answer: str) -> float:
    """Whether the answer is in our tone; the expected answer does not matter."""
    return float(not faults(answer))
