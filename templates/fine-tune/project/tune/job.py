"""Prepares a training before any weights are loaded: tokens, hyperparameters, steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tune import dataset, models, processes, prompts, tokens, weights
from tune.errors import TuneError, need_training
from tune.settings import Settings, named

if TYPE_CHECKING:
    from tune.dataset import Example
    from tune.models import Base

IGNORED = -100  # PyTorch's label for "no loss here"
CHECKED = 32  # rows whose trained text is compared with their answers
EVALUATIONS = 12  # in one training; each ends with a checkpoint
LOGS = 10  # log lines between two evaluations, at most
SAME = ("epochs", "batch_size", "accumulate", "max_length", "packing", "early_stop", "seed")
# The key in a run's record, and the setting that it comes from
HYPERPARAMETERS = {"rank": "lora_rank", **{name: name for name in SAME}}


@dataclass(frozen=True)
class Encoded:
    """A row as tokens; `labels` are the answers' tokens, and IGNORED elsewhere."""

    input_ids: list[int]
    labels: list[int]


@dataclass(frozen=True)
class Job:
    """A prepared training: base model, tokenizer, examples, and what the run's record keeps."""

    base: Base
    tokenizer: Any
    train: list[Encoded]
    validation: list[Encoded]
    hyperparameters: dict[str, Any]
    data: dict[str, Any]

    @property
    def tokens(self) -> int:
        """Tokens of one epoch."""
        return sum(len(example.input_ids) for example in self.train)

    @property
    def notes(self) -> list[str]:
        """Notes to show before training: rows that are left out, no early stopping."""
        limit = self.hyperparameters["max_length"]
        notes = [_left_out(about, limit) for about in self.data.values()]
        if not self.validation:
            notes.append("No validation rows: no early stopping, and the last state is kept.")
        return [note for note in notes if note]

    @property
    def batch(self) -> tuple[int, int]:
        """Sequences in a batch, and batches in an optimizer step.

        A batch has one pack: several would be joined to one long sequence, and the cost of
        attention grows with the square of the length.
        """
        values = self.hyperparameters
        size, times = values["batch_size"], values["accumulate"]
        return (1, size * times) if values["packing"] else (size, times)


@dataclass(frozen=True)
class Schedule:
    """The number of optimizer steps, and the steps between two evaluations and two log lines."""

    steps: int
    evaluate: int
    log: int


def prepare(settings: Settings) -> Job:
    """Read the data, check which tokens get a loss, and fix every hyperparameter.

    Raises TuneError if the training cannot work.
    """
    need_training()
    base = weights.known(models.find(settings.base_model))
    tokenizer = weights.load_tokenizer(base)
    train, about = _part(settings.train, settings.max_length, tokenizer)
    validation: list[Encoded] = []
    files = {"train": about}
    if settings.validation.is_file():
        validation, about = _part(settings.validation, settings.max_length, tokenizer)
        files["validation"] = about
    return Job(base, tokenizer, train, validation, hyperparameters(base, settings), files)


def schedule(job: Job, sequences: int) -> Schedule:
    """Compute the steps for a number of sequences (rows, or packs of rows)."""
    size, times = job.batch
    batches = math.ceil(sequences / (size * processes.count()))
    steps = math.ceil(job.hyperparameters["epochs"] * math.ceil(batches / times))
    log = max(1, steps // (EVALUATIONS * LOGS))
    evaluate = max(log, math.ceil(steps / EVALUATIONS / log) * log)
    return Schedule(max(1, steps), evaluate, log)


def encode(rows: Sequence[Example], tokenizer: Any) -> list[Encoded]:
    """Turn rows into tokens, with labels where the template marks the assistant's text."""
    return [_encoded(row, tokenizer) for row in rows]


def changed(job: Job, before: dict[str, Any], files: dict[str, Any]) -> list[str]:
    """List the differences from the run's record; empty if there are none."""
    pairs = [(name, before.get(name), value) for name, value in job.hyperparameters.items()]
    changes = [f"{name} was {old}, now {new}" for name, old, new in pairs if old != new]
    for part in sorted({*job.data, *files}):
        old, new = files.get(part, {}), job.data.get(part, {})
        if old.get("sha256") != new.get("sha256"):
            changes.append(f"the {part} data ({(new or old)['file']})")
    return changes


def _part(path: Path, limit: int, tokenizer: Any) -> tuple[list[Encoded], dict[str, Any]]:
    """One file's rows as tokens, and its entry for the run's record."""
    rows = dataset.load(path)
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
        raise TuneError(f"{named(path)} has no row to train on.", "uv run python -m tune check")
    about = {
        "file": named(path),
        "rows": len(rows),
        "used": len(kept),
        "sha256": dataset.digest(path),
    }
    return kept, about | {"too_long": len(long), "too_long_lines": long[:20]}


def _left_out(about: dict[str, Any], limit: int) -> str:
    lines = ", ".join(map(str, about["too_long_lines"]))
    if about["too_long"] > len(about["too_long_lines"]):
        lines += ", …"
    many = f"{about['too_long']} of {about['rows']} rows of {about['file']}"
    left = f"{many} are longer than {limit} tokens and are left out: lines {lines}."
    return left if about["too_long"] else ""


def _encoded(row: Example, tokenizer: Any) -> Encoded:
    ids, marks = tokens.encode(tokenizer, row)
    labels = [token if mark else IGNORED for token, mark in zip(ids, marks, strict=True)]
    return Encoded(ids, labels)


def hyperparameters(base: Base, settings: Settings) -> dict[str, Any]:
    """The settings that affect the result, as the run's record keeps them."""
    return {
        **{name: getattr(settings, setting) for name, setting in HYPERPARAMETERS.items()},
        "learning_rate": settings.learning_rate or base.learning_rate(settings.method),
        "processes": processes.count(),
        "system": prompts.SYSTEM,
    }
