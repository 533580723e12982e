"""Chooses the test rows that are asked: none that training has seen."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tune import data, prompts
from tune.data import Row
from tune.errors import TuneError
from tune.runs import Run
from tune.settings import Settings, named

NAMED = 5  # lines that a message names


def choose(
    run: Run, settings: Settings, most: int = 0, drop_seen: bool = False
) -> tuple[list[Row], tuple[str, ...]]:
    """The rows to ask, and what to know of them. Raises TuneError where some were trained on."""
    rows, known, notes = data.load(settings.test), _known(settings), []
    seen = [row for row in rows if data.fingerprint(row.question) in known]
    if seen and not drop_seen:
        lines = ", ".join(str(row.line) for row in seen[:NAMED])
        lines += f" and {len(seen) - NAMED} more" if len(seen) > NAMED else ""
        raise TuneError(
            f"{named(settings.test)} has {counted(len(seen))} that training saw as well "
            f"(line {lines}): answering those proves nothing.",
            "take them out of one of the files; --drop-seen leaves them out this time",
        )
    if seen:
        notes.append(f"Left out: {counted(len(seen))} that training saw as well.")
    if _changed(run, settings):
        notes.append(f"{named(settings.train)} is not what it was: rows may have been trained on.")
    if run.record.settings.get("system", prompts.SYSTEM) != prompts.SYSTEM:
        notes.append("SYSTEM in tune/prompts.py is not what it was in training: train again.")
    fresh = [row for row in rows if data.fingerprint(row.question) not in known]
    if not fresh:
        problem = f"{named(settings.test)} has no row to ask."
        raise TuneError(problem, "uv run python -m tune split --help")
    return _drawn(fresh, most, settings.seed), tuple(notes)


def _known(settings: Settings) -> set[int]:
    """The questions that a run learned from, or was chosen by: all of them in a conversation."""
    files = [file for file in (settings.train, settings.validation) if file.is_file()]
    return {
        data.fingerprint(row.messages[:place])
        for file in files
        for row in data.load(file)
        for place, message in enumerate(row.messages)
        if message["role"] == "assistant"
    }


def _changed(run: Run, settings: Settings) -> bool:
    """Whether the training rows are not those that the run was trained on."""
    known = run.record.data.get("train", {}).get("sha256")
    return not settings.train.is_file() or data.digest(settings.train) != known


def _drawn(rows: Sequence[Row], most: int, seed: int) -> list[Row]:
    """So many rows, drawn by chance: a file sorted by answer would give one kind. In file order."""
    if not most or most >= len(rows):
        return list(rows)
    chosen = sorted(random.Random(seed).sample(range(len(rows)), most))
    return [rows[index] for index in chosen]


def counted(count: int) -> str:
    return f"{count:,} row" if count == 1 else f"{count:,} rows"
