"""Loads, converts and splits data files."""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TextIO

import numpy as np

from tune import validate
from tune.errors import TuneError
from tune.example import Example, Message, Problem
from tune.formats import label, read
from tune.same import fingerprint

__all__ = ["Message", "Problem", "Example", "convert", "digest", "fingerprint", "load", "split"]


def load(path: Path) -> list[Example]:
    """All rows of a file. Raises TuneError for the first one that would spoil the training."""
    rows: list[Example] = []
    for each in read(path):
        problems = [each] if isinstance(each, Problem) else validate.check(each)
        if error := next((problem for problem in problems if problem.level == "error"), None):
            again = f"uv run python -m tune check {label(path)}"
            raise TuneError(str(error), f"{error.fix}\n(to see all problems: {again})")
        assert isinstance(each, Example)
        rows.append(each)
    if not rows:
        raise TuneError(f"{label(path)} contains no rows.", "write one conversation per line")
    return rows


def digest(file: Path) -> str:
    """The SHA-256 of a file, for the record of a run."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


# Writing files


def convert(
    source: Path, target: Path, *, encoding: str = "utf-8", overwrite: bool = False
) -> tuple[int, list[Problem]]:
    """Convert a data file to chat JSONL; return how many rows, and what was left out.

    Tool call ids that Mistral rejects are replaced. Raises TuneError rather than overwrite.
    """
    problems: list[Problem] = []
    rows = 0
    with _Files([target], overwrite=overwrite) as files:
        for each in read(source, encoding):
            if isinstance(each, Problem):
                problems.append(each)
                continue
            files.write(0, _with_right_ids(each))
            rows += 1
        if not rows:
            first = problems[0] if problems else None
            problem = str(first) if first else f"{label(source)} contains no rows."
            raise TuneError(problem, first.fix if first else "write one conversation per line")
    return rows, problems


def split(
    source: Path, parts: dict[Path, float], *, seed: int, overwrite: bool = False
) -> dict[Path, int]:
    """Split the rows of a file into parts, by their shares; return the rows of each.

    The same rows and seed give the same parts, in any order of the rows. Rows with the same
    question stay in one part, and so does a conversation with its beginning. Raises TuneError
    rather than overwrite, or for a row that cannot be read.
    """
    others = [part for part in parts if part.resolve() != source.resolve()]
    if len(others) < len(parts) and any(part.exists() for part in others):
        problem = f"{label(source)} cannot be split into itself and parts that exist."
        raise TuneError(problem, f"rename it to {label(source.with_name('all.jsonl'))} first")
    asked = np.unique(array("Q", (fingerprint(row.question) for row in _good(source))))
    keys = np.asarray(array("Q", (_key(row, asked, seed) for row in _good(source))))
    part_of = _deal(keys, list(parts.values()))
    rows = [0] * len(parts)
    with _Files(list(parts), overwrite=overwrite) as files:
        for row in _good(source):
            part = part_of(_key(row, asked, seed))
            files.write(part, row)
            rows[part] += 1
        if not all(rows):
            problem = f"{label(source)} has too few rows to split: {rows}."
            raise TuneError(problem, "add rows, or ask for larger shares")
    return dict(zip(parts, rows, strict=True))


def _good(source: Path) -> Iterator[Example]:
    for each in read(source):
        if isinstance(each, Problem):
            raise TuneError(str(each), each.fix)
        yield each


def _key(row: Example, asked: np.ndarray, seed: int) -> int:
    """Hash the shortest beginning of a conversation that is the whole question of some row."""
    starts = (row.messages[:place] for place in row.answers)
    first = next((each for each in starts if _holds(asked, fingerprint(each))), row.question)
    return fingerprint(first, key=str(seed).encode())


def _holds(ranked: np.ndarray, number: int) -> bool:
    return bool(ranked[np.searchsorted(ranked, np.uint64(number)) % len(ranked)] == number)


def _deal(keys: np.ndarray, shares: list[float]) -> Callable[[int], int]:
    """Assign each question to a part, in the order of their hashes, which is random."""
    questions, counts = np.unique(keys, return_counts=True)
    ends = np.cumsum(shares) / sum(shares) * len(keys)
    middles = np.cumsum(counts) - counts / 2
    parts = np.searchsorted(ends, middles)
    return lambda key: int(parts[np.searchsorted(questions, np.uint64(key))])


def _with_right_ids(row: Example) -> Example:
    """Replace call ids that are not nine letters and digits, each always by the same one."""

    def right(identity: object) -> object:
        known = str(identity)
        if identity is None or validate.TOOL_ID.fullmatch(known):
            return identity and known
        return hashlib.blake2b(known.encode("utf-8", "replace"), digest_size=8).hexdigest()[:9]

    messages = []
    for message in row.messages:
        if calls := message.get("tool_calls"):
            calls = [{**call, "id": right(call.get("id"))} for call in calls]
            message = {**message, "tool_calls": calls}
        if "tool_call_id" in message:
            message = {**message, "tool_call_id": right(message["tool_call_id"])}
        messages.append(message)
    return replace(row, messages=tuple(messages))


def _writing(path: Path) -> TextIO:
    """Open for writing; half a character is written as its JSON escape, as UTF-8 has none."""
    return path.open("w", encoding="utf-8", errors="backslashreplace", newline="\n")


class _Files:
    """Files that are written completely or not at all."""

    def __init__(self, targets: list[Path], *, overwrite: bool) -> None:
        there = [label(target) for target in targets if target.exists()]
        if there and not overwrite:
            raise TuneError(
                f"{', '.join(there)} exists already.", "choose another name, or add --replace"
            )
        self.targets = targets
        self.parts = [target.with_name(f"{target.name}.part") for target in targets]

    def __enter__(self) -> _Files:
        self.stack = ExitStack()
        for part in self.parts:
            part.parent.mkdir(parents=True, exist_ok=True)
        self.files = [self.stack.enter_context(_writing(part)) for part in self.parts]
        return self

    def write(self, part: int, row: Example) -> None:
        self.files[part].write(row.as_json() + "\n")

    def __exit__(self, kind: object, *_: object) -> None:
        self.stack.close()
        for part, target in zip(self.parts, self.targets, strict=True):
            if kind is None:
                os.replace(part, target)
            else:
                part.unlink(missing_ok=True)
