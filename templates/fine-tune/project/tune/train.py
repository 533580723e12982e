"""Training: a base and rows go in, a run with an adapter (or all weights) comes out."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import Any

from filelock import FileLock, Timeout

from tune import runs
from tune.errors import TuneError, is_memory_full, need_training
from tune.runs import Record, Run
from tune.settings import Settings
from tune.training import checkpoints, job, processes, progress, trainer, weights
from tune.training.job import Job
from tune.training.progress import Log, Progress, Report
from tune.training.trainer import Stopped as Stopped

NAME = re.compile(r"([\w-][\w.-]*)?", re.ASCII)  # empty: one is made up
PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes")


@dataclass(frozen=True)
class Attempt:
    """One go at a run: the first, or one that goes on from a checkpoint."""

    run: Run
    work: Job
    checkpoint: Path | None
    log: Log


def train(
    run: Run, settings: Settings, *, resume: bool = False, report: Report = lambda _: None
) -> Record:
    """Train, or go on with a run that was stopped; keep the state with the best validation loss.

    `report` is called at every logged step, in the main process only. Raises TuneError if it cannot
    train, and Stopped after Ctrl-C: `resume` then goes on to the very same result.
    """
    need_training()
    report = report if processes.is_main() else lambda _: None
    if resume and run.record.state == "done":
        return run.record
    _one_gpu()
    work = job.prepare(settings)
    with ExitStack() as alone:
        checkpoint = processes.agree(
            lambda: _open(alone.enter_context(_locked(run)), settings, work, resume)
        )
        for note in work.notes:
            report(Progress(note=note))
        attempt = Attempt(run, work, checkpoint, _log(run, report, checkpoint))
        alone.callback(weights.free)
        with memory_explained():
            figures = _fit(attempt, settings)
        if processes.is_main():
            _finish(attempt, figures)
    return run.record


def choose(settings: Settings, name: str, resume: bool) -> tuple[Run, bool]:
    """The run to train, and whether it goes on: by name, or the newest unfinished one.

    A name that no run has begins one, also with `resume`: so the same command does for a machine
    that is taken away and given back. Raises TuneError where no run waits.
    """
    return processes.agree(lambda: _chosen(settings, name, resume))


def saved_settings(
    run: Run, settings: Settings, wanted: dict[str, Any], report: Report
) -> Settings:
    """Settings saved when the run started; `report` gets a note for each that differs in .env.

    Raises TuneError where what is `wanted` expressly is not what it began with.
    """
    record = run.record
    before = {"base_model": record.base, "method": record.method}
    names = {**job.HYPERPARAMETERS, "learning_rate": "learning_rate"}
    before |= {names[key]: each for key, each in record.settings.items() if key in names}
    changes = [name for name, each in wanted.items() if each != before.get(name)]
    if changes:
        listed = ", ".join(f"{name} {before.get(name)}" for name in changes)
        fix = f"uv run python -m tune train --resume {run.name}"
        raise TuneError(f"The run {run.name} began with {listed}, and goes on so.", fix)
    for name, each in before.items():
        now = getattr(settings, name)
        if now != each and (now or name != "learning_rate"):  # 0: the one that is sane
            note = f"{name.upper()} is {each} for this run, as it began; by now it would be {now}."
            report(Progress(note=note))
    return settings.model_copy(update=before)


def _open(run: Run, settings: Settings, work: Job, resume: bool) -> Path | None:
    """Begin the run's folder, or find the checkpoint to go on from."""
    if resume:
        record = run.record
        changes = _changed(record, settings, work)
        if changes:
            problem = f"The run {run.name} cannot go on: {'; '.join(changes)}."
            raise TuneError(problem, "undo that, or begin anew: uv run python -m tune train")
        return checkpoints.newest(run.checkpoints)
    if run.folder.joinpath("run.json").exists():
        fix = f"uv run python -m tune train --resume {run.name}, or another --name"
        raise TuneError(f"There is a run {run.name} already.", fix)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    record = Record(settings.base_model, settings.method, started=now)
    kept = work.hyperparameters | {"licence": work.base.licence}
    run.write(replace(record, settings=kept, data=work.data, versions=_versions()))
    return None


@contextmanager
def _locked(run: Run) -> Iterator[Run]:
    """Keep others out of a run. The lock ends with this process, however that ends."""
    run.folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(run.folder / ".lock", timeout=0):
            yield run
    except Timeout:
        problem = f"The run {run.name} is being trained by another process."
        raise TuneError(
            problem, "wait for it, or begin another: uv run python -m tune train"
        ) from None


def _log(run: Run, report: Report, checkpoint: Path | None) -> Log:
    step = checkpoints.state(checkpoint)["global_step"] if checkpoint else 0
    return Log(run.log if processes.is_main() else Path(os.devnull), report, step)


def _changed(record: Record, settings: Settings, work: Job) -> list[str]:
    pairs = (("base", record.base, settings.base_model), ("method", record.method, settings.method))
    changes = [f"{title} was {old}, now {new}" for title, old, new in pairs if old != new]
    return changes + job.changed(work, record.settings, record.data)


def _fit(attempt: Attempt, settings: Settings) -> dict[str, Any]:
    """Train to the end, or to where nothing gets better; return the figures."""
    fitting = trainer.build(attempt.work, settings, attempt.run.checkpoints)
    if processes.is_main():
        checkpoints.need_room(attempt.run.folder, fitting.trained)
    trainer.fit(fitting, attempt.checkpoint, attempt.log, attempt.run.folder / "tensorboard")
    return fitting.figures | {
        "seconds": round(attempt.log.seconds, 1),
        "peak_memory": attempt.log.peak,
        "tokens_per_second": attempt.log.speed,
    }


def _finish(attempt: Attempt, figures: dict[str, Any]) -> None:
    """Keep the best state as the run's model; the checkpoints have served."""
    run, work = attempt.run, attempt.work
    best = checkpoints.best(run.checkpoints)
    checkpoints.publish(best, run.model, work.tokenizer)
    progress.draw(run.log, run.plot)
    run.update(state="done", figures=figures | _losses(run, best), versions=_versions())
    shutil.rmtree(run.checkpoints, ignore_errors=True)


def _losses(run: Run, best: Path) -> dict[str, Any]:
    """Steps and losses as the newest checkpoint and the one that is kept tell them."""
    last = checkpoints.newest(run.checkpoints) or best
    history = checkpoints.state(last)["log_history"]
    losses = [entry["loss"] for entry in history if "loss" in entry]
    checked = [entry["eval_loss"] for entry in history if "eval_loss" in entry]
    return {
        "steps": checkpoints.state(last)["global_step"],
        "steps_planned": checkpoints.state(last)["max_steps"],
        "epochs": round(checkpoints.state(last)["epoch"], 2),
        "kept_step": checkpoints.state(best)["global_step"],
        "loss_first": losses[0] if losses else None,
        "loss": losses[-1] if losses else None,
        "eval_loss_first": checked[0] if checked else None,
        "eval_loss": min(checked, default=None),
    }


def _versions() -> dict[str, str]:
    found = {"python": python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _chosen(settings: Settings, name: str, resume: bool) -> tuple[Run, bool]:
    if not NAME.fullmatch(name):
        problem = f'A run cannot be named "{name}": its name is a folder, a file and a model.'
        raise TuneError(problem, "letters, digits, - _ . only, and no . in front")
    if not resume:
        return Run(settings.runs / (name or _name(settings, datetime.now()))), False
    if name:
        run = Run(settings.runs / name)
        return run, (run.folder / "run.json").is_file()
    started = (run for run in runs.every(settings.runs) if not run.rehearsed)
    waiting = (run for run in started if _state(run) == "training")
    if (found := next(waiting, None)) is None:
        raise TuneError("No run waits to go on.", "uv run python -m tune train")
    return found, True


def _name(settings: Settings, now: datetime) -> str:
    """When it began, and with what; a number where there are two of them."""
    base = re.sub("[^a-z0-9]", "-", Path(settings.base_model).name.lower())
    first = f"{now:%Y-%m-%d-%H%M}-{base}"
    names = (first, *(f"{first}-{number}" for number in range(2, 1000)))
    return next(each for each in names if not (settings.runs / each).exists())


def _state(run: Run) -> str:
    try:
        return run.record.state
    except TuneError:
        return ""


def _one_gpu() -> None:
    """Without `accelerate launch` a training takes one GPU: the first, if you have not chosen."""
    if processes.count() == 1:
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")


@contextmanager
def memory_explained() -> Iterator[None]:
    """Turn a memory that is full into what to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_memory_full(error):
            raise
        fix = "halve BATCH_SIZE and double ACCUMULATE in .env (the result stays the same)"
        more = "; then lower MAX_LENGTH, or METHOD=qlora: uv run python -m tune plan"
        raise TuneError("The memory is full.", fix + more) from error
