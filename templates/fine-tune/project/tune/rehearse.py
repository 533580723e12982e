"""Rehearses every step, from rows to an answer over HTTP, with a tiny model and without a GPU."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from tune import dataset, estimate, plan, results
from tune.errors import TuneError, explained, need_training
from tune.evaluate import Options, evaluate
from tune.export import export
from tune.runs import REHEARSAL, Run
from tune.settings import ROOT, Settings

# These limits keep it under two minutes on two cores, for any amount of data.
TOKENS = 250_000  # to train on, in all epochs together
EPOCHS = 8  # at most
CHARS = 4  # per token of the tiny model, about
TEST_ROWS = 400
BATCH = 8


@dataclass(frozen=True)
class Step:
    """One step; `says` is its result or its error."""

    name: str
    ok: bool
    seconds: float
    says: str


@dataclass(frozen=True)
class Rehearsal:
    """The result. `verdict` is the evaluation's; empty if it did not get that far."""

    run: str
    verdict: str = ""
    why: str = ""
    steps: tuple[Step, ...] = field(default=())

    @property
    def ok(self) -> bool:
        return all(step.ok for step in self.steps)

    def as_dict(self) -> dict[str, Any]:
        """The rehearsal for `--json`."""
        return {"ok": self.ok, **asdict(self)}


@dataclass(frozen=True)
class Stage:
    """The input of every step: the run, the real settings, and the rehearsal's settings."""

    run: Run
    real: Settings
    settings: Settings


Begin = Callable[[str], None]  # gets the name of the step that starts
Done = Callable[[Step], None]


def rehearse(
    settings: Settings, begin: Begin = lambda name: None, done: Done = lambda step: None
) -> Rehearsal:
    """Run every step. The first step that fails ends it; the last of `steps` has the reason.

    Ctrl-C deletes the run: `train --resume` would otherwise resume half a rehearsal.
    """
    need_training()
    # With a model this small, several threads are slower than one.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    run = Run(settings.runs / f"{REHEARSAL}{datetime.now():%Y-%m-%d-%H%M%S}")
    try:
        return _go(Stage(run, settings, _small(run, settings)), begin, done)
    except KeyboardInterrupt:
        shutil.rmtree(run.folder, ignore_errors=True)
        raise


def _go(stage: Stage, begin: Begin, done: Done) -> Rehearsal:
    steps: list[Step] = []
    for name, part in PARTS.items():
        begin(name)
        steps.append(_took(name, part, stage))
        done(steps[-1])
        if not steps[-1].ok:
            return Rehearsal(stage.run.name, steps=tuple(steps))
    found = results.read(stage.run.evaluation)
    return Rehearsal(stage.run.name, found.verdict, found.why, tuple(steps))


def _took(name: str, part: Callable[[Stage], str], stage: Stage) -> Step:
    began = time.monotonic()
    try:
        ok, says = True, part(stage)
    except Exception as error:
        expected = explained(error)
        if expected is None:
            raise
        ok, says = False, str(expected)
    return Step(name, ok, round(time.monotonic() - began, 1), says)


def _small(run: Run, settings: Settings) -> Settings:
    """The settings for a training of half a minute; the data and the method stay."""
    folder = run.folder.relative_to(ROOT) if run.folder.is_relative_to(ROOT) else run.folder
    parts = {f"{part}_file": folder / "data" / f"{part}.jsonl" for part in _files(settings)}
    return settings.model_copy(
        update={
            **parts,
            "base_model": (folder / "base").as_posix(),
            "learning_rate": 0,
            "batch_size": BATCH,
            "accumulate": 1,
            "early_stop": 0,
            "packing": False,
        }
    )


def _files(settings: Settings) -> dict[str, Path]:
    files = {"train": settings.train, "validation": settings.validation, "test": settings.test}
    return {part: path for part, path in files.items() if path.is_file() or part == "train"}


# The steps


def _check(stage: Stage) -> str:
    from tune.validate import survey

    files = _files(stage.real)
    if "test" not in files:
        problem = f"{stage.real.test_file} is missing, so there is nothing to evaluate on."
        raise TuneError(problem, f"uv run python -m tune split {stage.real.train_file} --replace")
    found = survey(list(files.values()), stage.real.max_length)
    if found.errors:
        raise TuneError(
            f"The examples have {found.errors:,} errors.", "uv run python -m tune check"
        )
    examples = " + ".join(f"{each['examples']:,}" for each in found.files.values())
    return f"{examples} examples, no errors, {found.warnings:,} warnings"


def _make_base(stage: Stage) -> str:
    from tune import models, tiny

    drawn = {part: _drawn(path, part, stage.real) for part, path in _files(stage.real).items()}
    (stage.run.folder / "data").mkdir(parents=True)
    for part, rows in drawn.items():
        text = "".join(f"{row.as_json()}\n" for row in rows)
        (stage.run.folder / "data" / f"{part}.jsonl").write_text(text, "utf-8")
    texts = [
        str(message.get("content") or "") for row in drawn["train"] for message in row.messages
    ]
    base = models.find(str(tiny.make(stage.run.folder / "base", texts)))
    size = base.shape.parameters / 1e6 if base.shape else 0
    return f"a Mistral with {size:.1f} million random parameters"


def _drawn(path: Path, part: str, settings: Settings) -> list[dataset.Example]:
    """A random sample of rows, as large as the time allows; the same one every time."""
    rows = dataset.load(path)
    random.Random(settings.seed).shuffle(rows)
    if part == "test":
        return rows[:TEST_ROWS]
    left = TOKENS * CHARS // 3  # so that there are at least three epochs
    kept: list[dataset.Example] = []
    for row in rows:
        left -= len(row.as_json())
        if left < 0 and kept:
            break
        kept.append(row)
    return kept


def _train(stage: Stage) -> str:
    from tune import job
    from tune.train import train

    once = job.prepare(stage.settings).tokens
    epochs = max(1, min(EPOCHS, TOKENS // once))
    settings = stage.settings.model_copy(update={"epochs": epochs})
    figures = train(stage.run, settings).figures
    losses = f"loss {figures['loss_first']:.2f} → {figures['loss']:.2f}"
    return f"{figures['steps']} steps, {losses}, {figures['tokens_per_second']:,.0f} tokens/s"


def _evaluate(stage: Stage) -> str:
    return evaluate(stage.run, stage.settings, Options(api_rows=0)).why


def _merge(stage: Stage) -> str:
    return export(stage.run, "merged", stage.settings, emit=_quietly).checked


def _write_gguf(stage: Stage) -> str:
    made = export(stage.run, "gguf", stage.settings, emit=_quietly)
    return f"{sum(made.files.values()) / 1e6:.1f} MB: {made.checked}"


def _serve(stage: Stage) -> str:
    from tune import llm, serve

    row = dataset.load(stage.settings.test)[0]
    with serve.running(stage.run) as address:
        there = {"llm_base_url": address.url, "chat_model": stage.run.name}
        said = "".join(llm.chat(row.question, stage.settings.model_copy(update=there)))
    if not said.strip():
        raise TuneError("The server returned an empty answer.", "uv run python -m tune serve")
    return f"the answer over HTTP: {_short(said)}"


def _estimate(stage: Stage) -> str:
    """Estimate the memory and cost of the real training."""
    rows = plan.measure(stage.real.train, stage.real)
    real = plan.training(stage.real, rows)
    if not real.base.shape:
        return f"{real.base.name}: its size is not known before it is downloaded"
    made = plan.make(real, plan.local_gpu())
    needs = f"{real.base.name} by {real.method}: {made.bytes / estimate.GB:.0f} GB of GPU memory"
    if made.here and made.here.fits:
        return f"{needs}, which this machine has"
    cheapest = made.cheapest
    if not cheapest:
        return f"{needs}; see uv run python -m tune plan"
    cost = f"${cheapest.cost:.2f}" if (cheapest.cost or 0) >= 0.01 else "less than a cent"
    return f"{needs}; to rent: {cheapest.gpu.name}, {cost} for the whole training"


PARTS: dict[str, Callable[[Stage], str]] = {
    "check the rows": _check,
    "make a tiny base": _make_base,
    "train": _train,
    "evaluate": _evaluate,
    "merge": _merge,
    "write a GGUF file": _write_gguf,
    "serve and ask": _serve,
    "plan the real training": _estimate,
}


def _quietly(_: str) -> None:
    """Print nothing: the rehearsal prints its own lines."""


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 60 else f"{flat[:59]}…"
