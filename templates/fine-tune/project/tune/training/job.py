"""Prepares a training before any weights are loaded: tokens, hyperparameters, steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tune import data, models, prompts
from tune.errors import TuneError, need_training
from tune.rows import tokens
from tune.settings import Settings, named
from tune.training import processes, weights

if TYPE_CHECKING:
    from tune.data import Row
    from tune.models import Base

IGNORED = -100  # PyTorch's label for "no loss here"
CHECKED = 32  # rows whose trained text is compared with their answers
EVALUATIONS = 12  # of one training; each ends with a checkpoint
LOGS = 10  # of the loss between two of them, at most
SAME = ("epochs", "batch_size", "accumulate", "max_length", "packing", "early_stop", "seed")
# The key in a run's record, and the setting that it comes from
HYPERPARAMETERS = {"rank": "lora_rank", **{name: name for name in SAME}}


@dataclass(frozen=True)
class Example:
    """A row as the model sees it; `labels` are its answers' tokens, and IGNORED elsewhere."""

    input_ids: list[int]
    labels: list[int]


@dataclass(frozen=True)
class Job:
    """Everything that a training does and that its record keeps."""

    base: Base
    tokenizer: Any
    train: list[Example]
    validation: list[Example]
    hyperparameters: dict[str, Any]
    data: dict[str, Any]

    @property
    def tokens(self) -> int:
        """Tokens of one pass over the data."""
        return sum(len(example.input_ids) for example in self.train)

    @property
    def notes(self) -> list[str]:
        """What the team should know before it waits: rows left out, nothing to stop by."""
        limit = self.hyperparameters["max_length"]
        notes = [_left_out(about, limit) for about in self.data.values()]
        if not self.validation:
            notes.append("No validation rows: nothing tells when to stop; the last state is kept.")
        return [note for note in notes if note]

    @property
    def batch(self) -> tuple[int, int]:
        """Sequences at a time, and how often before the optimizer steps.

        Packs go one at a time: those beside each other would be one long sequence, whose attention
        takes the square of its length.
        """
        values = self.hyperparameters
        size, times = values["batch_size"], values["accumulate"]
        return (1, size * times) if values["packing"] else (size, times)


@dataclass(frozen=True)
class Pace:
    """When the optimizer steps, when it is looked at: all counts of steps."""

    steps: int
    evaluate: int
    log: int


def prepare(settings: Settings) -> Job:
    """Read the data, check what the loss will see, and fix every hyperparameter.

    Raises TuneError where that cannot go well.
    """
    need_training()
    base = weights.known(models.find(settings.base_model))
    tokenizer = weights.load_tokenizer(base)
    train, about = _part(settings.train, settings.max_length, tokenizer)
    validation: list[Example] = []
    files = {"train": about}
    if settings.validation.is_file():
        validation, about = _part(settings.validation, settings.max_length, tokenizer)
        files["validation"] = about
    return Job(base, tokenizer, train, validation, hyperparameters(base, settings), files)


def pace(job: Job, sequences: int) -> Pace:
    """Count the steps for so many sequences (rows, or packs of rows)."""
    size, times = job.batch
    batches = math.ceil(sequences / (size * processes.count()))
    steps = math.ceil(job.hyperparameters["epochs"] * math.ceil(batches / times))
    log = max(1, steps // (EVALUATIONS * LOGS))
    evaluate = max(log, math.ceil(steps / EVALUATIONS / log) * log)
    return Pace(max(1, steps), evaluate, log)


def encode(rows: Sequence[Row], tokenizer: Any) -> list[Example]:
    """Turn rows into tokens, with labels where the template marks the assistant's words."""
    return [_example(row, tokenizer) for row in rows]


def changed(job: Job, before: dict[str, Any], files: dict[str, Any]) -> list[str]:
    """Say what is not as it was when the run began; empty if nothing is."""
    pairs = [(name, before.get(name), value) for name, value in job.hyperparameters.items()]
    changes = [f"{name} was {old}, now {new}" for name, old, new in pairs if old != new]
    for part in sorted({*job.data, *files}):
        old, new = files.get(part, {}), job.data.get(part, {})
        if old.get("sha256") != new.get("sha256"):
            changes.append(f"the {part} data ({(new or old)['file']})")
    return changes


def _part(path: Path, limit: int, tokenizer: Any) -> tuple[list[Example], dict[str, Any]]:
    """One file's rows as tokens, and what the record keeps of it."""
    rows = data.load(path)
    tokens.verify(tokenizer, rows[:CHECKED])
    examples = encode(rows, tokenizer)
    long = [
        row.line
        for row, example in zip(rows, examples, strict=True)
        if len(example.input_ids) > limit
    ]
    kept = [example for example in examples if len(example.input_ids) <= limit]
    kept = [example for example in kept if any(label != IGNORED for label in example.labels)]
    if len(long) * 2 > len(rows):
        longest = max(len(example.input_ids) for example in examples)
        problem = (
            f"{len(long)} of {len(rows)} rows of {named(path)} are longer than {limit} tokens."
        )
        raise TuneError(problem, f"set MAX_LENGTH={longest} in .env, or shorten the rows")
    if not kept:
        raise TuneError(f"{named(path)} has no row to learn from.", "uv run python -m tune check")
    about = {"file": named(path), "rows": len(rows), "used": len(kept), "sha256": data.digest(path)}
    return kept, about | {"too_long": len(long), "too_long_lines": long[:20]}


def _left_out(about: dict[str, Any], limit: int) -> str:
    lines = ", ".join(map(str, about["too_long_lines"]))
    if about["too_long"] > len(about["too_long_lines"]):
        lines += ", …"
    many = f"{about['too_long']} of {about['rows']} rows of {about['file']}"
    left = f"{many} are longer than {limit} tokens and left out: lines {lines}."
    return left if about["too_long"] else ""


def _example(row: Row, tokenizer: Any) -> Example:
    ids, marks = tokens.encode(tokenizer, row)
    labels = [token if mark else IGNORED for token, mark in zip(ids, marks, strict=True)]
    return Example(ids, labels)


def hyperparameters(base: Base, settings: Settings) -> dict[str, Any]:
    """The settings that decide the result, as the record keeps them."""
    return {
        **{name: getattr(settings, setting) for name, setting in HYPERPARAMETERS.items()},
        "learning_rate": settings.learning_rate or base.learning_rate(settings.method),
        "processes": processes.count(),
        "system": prompts.SYSTEM,
    }
