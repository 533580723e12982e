"""Chooses the test rows to ask: none that were in training."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from tune import dataset, prompts
from tune.dataset import Example
from tune.errors import TuneError
from tune.runs import Run
from tune.settings import ROOT, Settings, named

NAMED = 5  # lines that a message lists


def choose(
    run: Run, settings: Settings, most: int = 0, drop_seen: bool = False
) -> tuple[list[Example], tuple[str, ...]]:
    """The rows to ask, and notes on them. Raises TuneError if some were trained on."""
    files = _trained_on(run, settings)
    rows, known, notes = dataset.load(settings.test), _questions(files), []
    seen = [row for row in rows if dataset.fingerprint(row.question) in known]
    if seen and not drop_seen:
        lines = ", ".join(str(row.line) for row in seen[:NAMED])
        lines += f" and {len(seen) - NAMED} more" if len(seen) > NAMED else ""
        raise TuneError(
            f"{named(settings.test)} has {counted(len(seen))} that were in training, too "
            f"(line {lines}): answering those proves nothing.",
            "remove them from one of the files, or leave them out now with --drop-seen",
        )
    if seen:
        notes.append(f"Left out: {counted(len(seen))} that were in training, too.")
    about = run.record.data.get("train", {})
    if about.get("sha256") not in map(dataset.digest, files):
        file = about.get("file", named(settings.train))
        notes.append(f"{file} has changed since training: test rows may have been trained on.")
    if run.record.settings.get("system", prompts.SYSTEM) != prompts.SYSTEM:
        notes.append("SYSTEM in tune/prompts.py has changed since training: train again.")
    fresh = [row for row in rows if dataset.fingerprint(row.question) not in known]
    if not fresh:
        problem = f"{named(settings.test)} has no row left to ask."
        raise TuneError(problem, "uv run python -m tune split --help")
    return _drawn(fresh, most, settings.seed), tuple(notes)


def _trained_on(run: Run, settings: Settings) -> list[Path]:
    """The training and validation files: those that the run names, and those of `.env`."""
    named = [ROOT / about["file"] for about in run.record.data.values() if "file" in about]
    files = dict.fromkeys((*named, settings.train, settings.validation))
    return [file for file in files if file.is_file()]


def _questions(files: Sequence[Path]) -> set[int]:
    """The hashes of all questions in these files, also in the middle of a conversation."""
    return {
        dataset.fingerprint(row.messages[:place])
        for file in files
        for row in dataset.load(file)
        for place, message in enumerate(row.messages)
        if message["role"] == "assistant"
    }


def _drawn(rows: Sequence[Example], most: int, seed: int) -> list[Example]:
    """A random sample, in file order: a file may be sorted by answer."""
    if not most or most >= len(rows):
        return list(rows)
    chosen = sorted(random.Random(seed).sample(range(len(rows)), most))
    return [rows[index] for index in chosen]


def counted(count: int) -> str:
    return f"{count:,} row" if count == 1 else f"{count:,} rows"
