"""The progress of a training: reports, the run's log, and the plot of its losses."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tune.runs import read_log

LOGGED = {"loss": "loss", "eval_loss": "eval_loss", "learning_rate": "learning_rate"}
LOGGED |= {"mean_token_accuracy": "accuracy", "eval_mean_token_accuracy": "eval_accuracy"}

RISE, LOOKS = 3, 3  # a loss explodes: this many times the first, at so many looks in a row


@dataclass(frozen=True)
class Progress:
    """A progress report; if `note` is set, it is only that message."""

    step: int = 0
    steps: int = 0
    loss: float | None = None
    eval_loss: float | None = None
    tokens_per_second: float = 0
    seconds: float = 0  # of training so far, including the time before a resume
    seconds_left: float = 0
    checked: bool = False  # an evaluation has just finished
    note: str = ""


Report = Callable[[Progress], None]


class Log:
    """Writes the lines of a run's log.jsonl, and passes each to `report`."""

    def __init__(self, path: Path, report: Report, step: int = 0) -> None:
        """Continue after `step`: later lines of a killed run are dropped, as it repeats them."""
        self.path, self.report = path, report
        kept = [line for line in read_log(path) if line["step"] <= step]
        path.write_text("".join(_line(entry) for entry in kept), "utf-8")
        self.before = kept[-1]["seconds"] if kept else 0.0
        self.first, self.tokens, self.peak, self.speed = step, 0, 0, 0.0
        self._seen: dict[str, float] = {}
        self.begin()

    def begin(self) -> None:
        """Start the clock. Time before this, such as loading the base model, does not count."""
        self.started = time.monotonic()
        self._last = (self.started, 0)

    @property
    def seconds(self) -> float:
        return self.before + time.monotonic() - self.started

    def add(self, step: int, steps: int, logs: dict[str, Any]) -> None:
        """Write the trainer's logs of a step to the file, and report the progress."""
        named = {ours: logs[theirs] for theirs, ours in LOGGED.items() if theirs in logs}
        if not named:
            return
        self._count(int(logs.get("num_tokens", self.tokens)))
        entry = {"step": step, "epoch": round(logs.get("epoch", 0), 4), **named}
        entry["seconds"] = round(self.seconds, 2)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_line(entry))
        self._seen |= named
        now = self._progress(step, steps)
        self.report(replace(now, checked="eval_loss" in named))

    def _count(self, tokens: int) -> None:
        now = time.monotonic()
        then, before = self._last
        if tokens > before and now > then:
            self.speed = (tokens - before) / (now - then)
            self._last = (now, tokens)
        self.tokens = max(tokens, self.tokens)
        self.peak = max(self.peak, memory())

    def _progress(self, step: int, steps: int) -> Progress:
        done = max(1, step - self.first)
        return Progress(
            step,
            steps,
            loss=self._seen.get("loss"),
            eval_loss=self._seen.get("eval_loss"),
            tokens_per_second=round(self.speed, 1),
            seconds=self.seconds,
            seconds_left=(time.monotonic() - self.started) / done * (steps - step),
        )


def loss_problem(losses: Sequence[float], vocabulary: int, step: int) -> str:
    """What went wrong with the loss by this step, in a sentence; empty while it is healthy.

    A loss has exploded when it stays above three times its first value, where noise does not take
    it, and above half of ln(vocabulary), which is half the loss of a blind guess: a model that
    starts near 0 may rise threefold and still be good.
    """
    first, last = losses[0], losses[-1]
    if math.isnan(last):
        return f"The loss became NaN at step {step}."
    limit = max(RISE * first, math.log(vocabulary) / 2)
    if math.isinf(last) or (len(losses) > LOOKS and min(losses[-LOOKS:]) > limit):
        return f"The loss exploded at step {step} ({last:.3g}; it began at {first:.3g})."
    return ""


def memory() -> int:
    """Peak memory of this process in bytes: GPU memory if there is a GPU, else RAM."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    import psutil

    info = psutil.Process().memory_info()
    return int(getattr(info, "peak_wset", info.rss))


def draw(log: Path, picture: Path) -> None:
    """Plot the training and validation losses of a log."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    entries = read_log(log)
    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name, label, style in (("loss", "training", "-"), ("eval_loss", "validation", "o-")):
        points = [(entry["step"], entry[name]) for entry in entries if name in entry]
        if points:
            axes.plot(*zip(*points, strict=True), style, label=label, linewidth=1.5, markersize=4)
    axes.set(xlabel="step", ylabel="loss", title="Loss, lower is better")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.lines:
        axes.legend(frameon=False)
    figure.savefig(picture)


def _line(entry: dict[str, Any]) -> str:
    finite = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in entry.items()
    }
    return json.dumps(finite) + "\n"
