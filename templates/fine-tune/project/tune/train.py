"""Trains a base model on the examples: starts a run, or resumes one."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tune import dataset, models, prompts, runs, tokens, trainer, weights
from tune.errors import TuneError, is_memory_full, need_training
from tune.models import Base
from tune.runs import Record, Run
from tune.settings import Settings, changed, named
from tune.tokens import IGNORED, Encoded
from tune.trainer import Progress, Report

NAME = re.compile(r"([\w-][\w.-]*)?", re.ASCII)  # empty: a name is generated
PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate")
LESS_MEMORY = (
    "halve BATCH_SIZE and double ACCUMULATE in .env (the result stays the same); then lower "
    "MAX_LENGTH, or METHOD=qlora: uv run python -m tune plan"
)
CHECKED = 32  # examples whose trained text is compared with their answers
# The settings that affect the result: the setting, and its key in the run's record
SAVED = ("epochs", "batch_size", "accumulate", "max_length", "early_stop", "seed")
KEYS = {"lora_rank": "rank", "learning_rate": "learning_rate", **{name: name for name in SAVED}}


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
        return sum(len(example["input_ids"]) for example in self.train)

    @property
    def notes(self) -> list[str]:
        """Notes to show before training: examples that are left out, no early stopping."""
        limit = self.hyperparameters["max_length"]
        notes = [
            f"{about['too_long']} of {about['rows']} rows of {about['file']} are longer than "
            f"{limit} tokens and are left out: lines {str(about['too_long_lines'])[1:-1]}."
            for about in self.data.values()
            if about["too_long"]
        ]
        if not self.validation:
            notes.append("No validation rows: no early stopping, and the last state is kept.")
        return notes


def prepare(settings: Settings, processes: int = 1) -> Job:
    """Read the data, check which tokens get a loss, and fix every hyperparameter."""
    need_training()
    base = weights.known(models.find(settings.base_model))
    tokenizer = weights.load_tokenizer(base)
    parts = {
        part: _read(path, settings.max_length, tokenizer)
        for part, path in settings.files.items()
        if part != "test"
    }
    validation, _ = parts.get("validation", ([], {}))
    data = {part: about for part, (_, about) in parts.items()}
    chosen = hyperparameters(base, settings) | {"processes": processes}
    return Job(base, tokenizer, parts["train"][0], validation, chosen, data)


def hyperparameters(base: Base, settings: Settings) -> dict[str, Any]:
    """The settings that affect the result, as the run's record keeps them."""
    values = {key: getattr(settings, name) for name, key in KEYS.items()}
    rate = settings.learning_rate or base.learning_rate
    return values | {"learning_rate": rate, "processes": 1, "system": prompts.SYSTEM}


def _read(path: Path, limit: int, tokenizer: Any) -> tuple[list[Encoded], dict[str, Any]]:
    """One file's examples as tokens, and its entry for the run's record."""
    examples = dataset.load(path)
    tokens.verify(tokenizer, examples[:CHECKED])
    encoded = [tokens.encode(tokenizer, example) for example in examples]
    lengths = [len(each["input_ids"]) for each in encoded]
    long = [one.line for one, size in zip(examples, lengths, strict=True) if size > limit]
    if len(long) * 2 > len(examples):
        many = f"{len(long)} of {len(examples)} rows of {named(path)}"
        fix = f"set MAX_LENGTH={max(lengths)} in .env, or shorten the rows"
        raise TuneError(f"{many} are longer than {limit} tokens.", fix)
    short = (each for each, size in zip(encoded, lengths, strict=True) if size <= limit)
    kept = [each for each in short if any(label != IGNORED for label in each["labels"])]
    if not kept:
        raise TuneError(f"{named(path)} has no row to train on.", "uv run python -m tune check")
    about = {"file": named(path), "rows": len(examples), "used": len(kept)}
    about |= {"sha256": dataset.digest(path), "too_long": len(long), "too_long_lines": long[:20]}
    return kept, about


def train(
    run: Run, settings: Settings, *, resume: bool = False, report: Report = lambda _: None
) -> Record:
    """Train, or resume a run that was stopped; keep the state with the best validation loss.

    `report` is called at every logged step. Raises TuneError if it cannot train, and
    KeyboardInterrupt after Ctrl-C: `resume` then leads to exactly the same result.
    """
    need_training()
    if resume and run.record.state == "done":
        return run.record
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")  # the Trainer would divide each batch
    job = prepare(settings)
    with opened(run, settings, job, resume=resume) as checkpoint:
        for note in job.notes:
            report(Progress(note=note))
        finish(run, job, fit(run, job, settings.method, checkpoint, report))
    return run.record


@contextmanager
def opened(run: Run, settings: Settings, job: Job, *, resume: bool) -> Iterator[Path | None]:
    """Lock a run, and yield the checkpoint to resume from; None for a new run.

    The lock ends with this process, even after a crash.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(run.folder / ".lock", timeout=0):
            if not resume:
                _create(run, settings, job)
            yield _to_resume(run, job) if resume else None
    except Timeout:
        problem = f"The run {run.name} is being trained by another process."
        fix = "wait for it, or start a new run: uv run python -m tune train"
        raise TuneError(problem, fix) from None


def fit(run: Run, job: Job, method: str, checkpoint: Path | None, report: Report) -> dict[str, Any]:
    """Train to the end, or until early stopping; return the figures."""
    try:
        sft = trainer.build(job, method, run.checkpoints)
        return trainer.fit(sft, job, checkpoint, run.log, report)
    except (MemoryError, RuntimeError) as error:
        if not is_memory_full(error):
            raise
        raise TuneError("Out of memory.", LESS_MEMORY) from error
    finally:
        weights.free()


def finish(run: Run, job: Job, figures: dict[str, Any]) -> None:
    """Save the best state as the run's model, and delete the checkpoints."""
    best = runs.best_checkpoint(run.checkpoints)
    runs.publish(best, run.model, job.tokenizer)
    run.update(state="done", figures=figures)
    shutil.rmtree(run.checkpoints, ignore_errors=True)


def choose(
    settings: Settings, name: str, resume: bool, wanted: Mapping[str, Any] | None = None
) -> tuple[Run, Settings, bool]:
    """The run to train, its settings, and whether it is resumed; `wanted`: the command's options.

    With `resume`, a new name starts a run, so that a machine that is restarted can use the same
    command. Raises TuneError if there is no unfinished run.
    """
    given = {name: each for name, each in (wanted or {}).items() if each}
    asked = changed(settings, given)
    run = _named(asked, name, resume)
    if resume and (run.folder / "run.json").is_file():
        return run, saved_settings(run, settings, given), True
    return run, asked, False


def _named(settings: Settings, name: str, resume: bool) -> Run:
    if not NAME.fullmatch(name):
        problem = f'A run cannot be named "{name}": its name is a folder, a file and a model.'
        raise TuneError(problem, "letters, digits, - _ . only, and no . in front")
    if name or not resume:
        return Run(settings.runs / (name or _name(settings, datetime.now())))
    started = (run for run in runs.every(settings.runs) if not run.rehearsed)
    if (found := next((run for run in started if run.has_state("training")), None)) is None:
        raise TuneError("There is no unfinished run.", "uv run python -m tune train")
    return found


def saved_settings(run: Run, settings: Settings, wanted: dict[str, Any]) -> Settings:
    """The settings that a run started with, whatever `.env` has now.

    Raises TuneError if the command line (`wanted`) asks for different ones.
    """
    record = run.record
    saved = {name: record.settings[key] for name, key in KEYS.items() if key in record.settings}
    saved |= {"base_model": record.base, "method": record.method}
    changes = [name for name, value in wanted.items() if value != saved.get(name)]
    if changes:
        listed = ", ".join(f"{name} {saved.get(name)}" for name in changes)
        fix = f"uv run python -m tune train --resume {run.name}"
        raise TuneError(f"The run {run.name} started with {listed}: this cannot change.", fix)
    return settings.model_copy(update=saved)


def _create(run: Run, settings: Settings, job: Job) -> None:
    """Create the run's record."""
    if run.folder.joinpath("run.json").exists():
        fix = f"uv run python -m tune train --resume {run.name}, or another --name"
        raise TuneError(f"The run {run.name} already exists.", fix)
    kept = job.hyperparameters | {"licence": job.base.licence}
    versions = {package: version(package) for package in PACKAGES}
    started = datetime.now(UTC).isoformat(timespec="seconds")
    record = Record(settings.base_model, settings.method, started=started)
    run.write(replace(record, settings=kept, data=job.data, versions=versions))


def _to_resume(run: Run, job: Job) -> Path | None:
    """The checkpoint to resume from; None if the run was stopped before the first one."""
    record = run.record
    new = job.hyperparameters
    changes = [name for name in new if record.settings.get(name, new[name]) != new[name]]
    for part in sorted({*job.data, *record.data}):
        before, now = record.data.get(part, {}), job.data.get(part, {})
        if before.get("sha256") != now.get("sha256"):
            changes.append((now or before)["file"])
    if changes:
        listed = ", ".join(f"{each} was changed" for each in changes)
        problem = f"The run {run.name} cannot resume: {listed}."
        raise TuneError(problem, "undo that, or start a new run: uv run python -m tune train")
    return runs.newest_checkpoint(run.checkpoints)


def _name(settings: Settings, now: datetime) -> str:
    """A name from the time and the base; with a number if it already exists."""
    base = re.sub("[^a-z0-9]", "-", Path(settings.base_model).name.lower())
    first = f"{now:%Y-%m-%d-%H%M}-{base}"
    names = (first, *(f"{first}-{number}" for number in range(2, 1000)))
    return next(each for each in names if not (settings.runs / each).exists())
