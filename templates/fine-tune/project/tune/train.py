"""Trains a base model on the rows: starts a run, or resumes one."""

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

from tune import checkpoints, job, processes, progress, runs, trainer, weights
from tune.errors import TuneError, is_memory_full, need_training
from tune.job import Job
from tune.progress import Log, Progress, Report
from tune.runs import Record, Run
from tune.settings import Settings
from tune.trainer import Stopped as Stopped

NAME = re.compile(r"([\w-][\w.-]*)?", re.ASCII)  # empty: a name is generated
PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes")


@dataclass(frozen=True)
class Attempt:
    """One attempt at a run: the first, or one that resumes from a checkpoint."""

    run: Run
    work: Job
    checkpoint: Path | None
    log: Log


def train(
    run: Run, settings: Settings, *, resume: bool = False, report: Report = lambda _: None
) -> Record:
    """Train, or resume a run that was stopped; keep the state with the best validation loss.

    `report` is called at every logged step, in the main process only. Raises TuneError if it cannot
    train, and Stopped after Ctrl-C: `resume` then leads to exactly the same result.
    """
    need_training()
    report = report if processes.is_main() else lambda _: None
    if resume and run.record.state == "done":
        return run.record
    _one_gpu()
    work = job.prepare(settings)
    with ExitStack() as alone:
        checkpoint = processes.broadcast(
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
    """The run to train, and whether it is resumed: by name, or the newest unfinished one.

    A new name starts a run, also with `resume`: so a machine that is restarted can use the same
    command. Raises TuneError if there is no unfinished run.
    """
    return processes.broadcast(lambda: _chosen(settings, name, resume))


def saved_settings(
    run: Run, settings: Settings, wanted: dict[str, Any], report: Report
) -> Settings:
    """Settings saved when the run started; `report` gets a note for each that differs in .env.

    Raises TuneError if the command line (`wanted`) asks for different ones.
    """
    record = run.record
    before = {"base_model": record.base, "method": record.method}
    names = {**job.HYPERPARAMETERS, "learning_rate": "learning_rate"}
    before |= {names[key]: each for key, each in record.settings.items() if key in names}
    changes = [name for name, each in wanted.items() if each != before.get(name)]
    if changes:
        listed = ", ".join(f"{name} {before.get(name)}" for name in changes)
        fix = f"uv run python -m tune train --resume {run.name}"
        problem = f"The run {run.name} started with {listed}: this cannot change."
        raise TuneError(problem, fix)
    for name, each in before.items():
        now = getattr(settings, name)
        if now != each and (now or name != "learning_rate"):  # 0: chosen by base and method
            note = f"{name.upper()} stays {each} for this run; the setting is now {now}."
            report(Progress(note=note))
    return settings.model_copy(update=before)


def _open(run: Run, settings: Settings, work: Job, resume: bool) -> Path | None:
    """Create the run's record, or find the checkpoint to resume from."""
    if resume:
        record = run.record
        changes = _changed(record, settings, work)
        if changes:
            problem = f"The run {run.name} cannot resume: {'; '.join(changes)}."
            raise TuneError(problem, "undo that, or start a new run: uv run python -m tune train")
        return checkpoints.newest(run.checkpoints)
    if run.folder.joinpath("run.json").exists():
        fix = f"uv run python -m tune train --resume {run.name}, or another --name"
        raise TuneError(f"The run {run.name} already exists.", fix)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    record = Record(settings.base_model, settings.method, started=now)
    kept = work.hyperparameters | {"licence": work.base.licence}
    run.write(replace(record, settings=kept, data=work.data, versions=_versions()))
    return None


@contextmanager
def _locked(run: Run) -> Iterator[Run]:
    """Lock a run against other processes. The lock ends with this process, even after a crash."""
    run.folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(run.folder / ".lock", timeout=0):
            yield run
    except Timeout:
        problem = f"The run {run.name} is being trained by another process."
        raise TuneError(
            problem, "wait for it, or start a new run: uv run python -m tune train"
        ) from None


def _log(run: Run, report: Report, checkpoint: Path | None) -> Log:
    step = checkpoints.state(checkpoint)["global_step"] if checkpoint else 0
    return Log(run.log if processes.is_main() else Path(os.devnull), report, step)


def _changed(record: Record, settings: Settings, work: Job) -> list[str]:
    pairs = (("base", record.base, settings.base_model), ("method", record.method, settings.method))
    changes = [f"{title} was {old}, now {new}" for title, old, new in pairs if old != new]
    return changes + job.changed(work, record.settings, record.data)


def _fit(attempt: Attempt, settings: Settings) -> dict[str, Any]:
    """Train to the end, or until early stopping; return the figures."""
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
    """Save the best state as the run's model, and delete the checkpoints."""
    run, work = attempt.run, attempt.work
    best = checkpoints.best(run.checkpoints)
    checkpoints.publish(best, run.model, work.tokenizer)
    progress.draw(run.log, run.plot)
    run.update(state="done", figures=figures | _losses(run, best), versions=_versions())
    shutil.rmtree(run.checkpoints, ignore_errors=True)


def _losses(run: Run, best: Path) -> dict[str, Any]:
    """Steps and losses, from the newest checkpoint and from the one that is kept."""
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
        raise TuneError("There is no unfinished run.", "uv run python -m tune train")
    return found, True


def _name(settings: Settings, now: datetime) -> str:
    """A name from the time and the base; with a number if it already exists."""
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
    """Use one GPU without `accelerate launch`: the first, unless CUDA_VISIBLE_DEVICES is set."""
    if processes.count() == 1:
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")


@contextmanager
def memory_explained() -> Iterator[None]:
    """Turn out-of-memory errors into advice on which setting to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_memory_full(error):
            raise
        fix = "halve BATCH_SIZE and double ACCUMULATE in .env (the result stays the same)"
        more = "; then lower MAX_LENGTH, or METHOD=qlora: uv run python -m tune plan"
        raise TuneError("Out of memory.", fix + more) from error
