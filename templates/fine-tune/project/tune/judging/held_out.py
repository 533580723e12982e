"""Chooses the test rows that are asked: none that training has seen."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from tune import data, prompts
from tune.data import Row
from tune.errors import TuneError
from tune.runs import Run
from tune.settings import ROOT, Settings, named

NAMED = 5  # lines that a message names


def choose(
    run: Run, settings: Settings, most: int = 0, drop_seen: bool = False
) -> tuple[list[Row], tuple[str, ...]]:
    """The rows to ask, and what to know of them. Raises TuneError where some were trained on."""
    files = _trained_on(run, settings)
    rows, known, notes = data.load(settings.test), _questions(files), []
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
    about = run.record.data.get("train", {})
    if about.get("sha256") not in map(data.digest, files):
        file = about.get("file", named(settings.train))
        notes.append(f"{file} is not what it was: rows may have been trained on.")
    if run.record.settings.get("system", prompts.SYSTEM) != prompts.SYSTEM:
        notes.append("SYSTEM in tune/prompts.py is not what it was in training: train again.")
    fresh = [row for row in rows if data.fingerprint(row.question) not in known]
    if not fresh:
        problem = f"{named(settings.test)} has no row to ask."
        raise TuneError(problem, "uv run python -m tune split --help")
    return _drawn(fresh, most, settings.seed), tuple(notes)


def _trained_on(run: Run, settings: Settings) -> list[Path]:
    """What a run learned from, or was chosen by: the files that it names, and those of `.env`."""
    named = [ROOT / about["file"] for about in run.record.data.values() if "file" in about]
    files = dict.fromkeys((*named, settings.train, settings.validation))
    return [file for file in files if file.is_file()]


def _questions(files: Sequence[Path]) -> set[int]:
    """All that these rows ask, also in the middle of a conversation."""
    return {
        data.fingerprint(row.messages[:place])
        for file in files
        for row in data.load(file)
        for place, message in enumerate(row.messages)
        if message["role"] == "assistant"
    }


def _drawn(rows: Sequence[Row], most: int, seed: int) -> list[Row]:
    """So many rows, drawn by chance: a file sorted by answer would give one kind. In file order."""
    if not most or most >= len(rows):
        return list(rows)
    chosen = sorted(random.Random(seed).sample(range(len(rows)), most))
    return [rows[index] for index in chosen]


def counted(count: int) -> str:
    return f"{count:,} row" if count == 1 else f"{count:,} rows"
