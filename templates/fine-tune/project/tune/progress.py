"""The progress of a training: its log, its reports, and what ends it early."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tune.errors import TuneError

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
    seconds_left: float = 0
    checked: bool = False  # an evaluation has just finished
    note: str = ""


Report = Callable[[Progress], None]


class Events:
    """The callback for TRL's events: writes the log, stops early, and saves after Ctrl-C."""

    def __init__(self, log: Path, report: Report, patience: int, stop: threading.Event) -> None:
        self.log, self.report, self.patience, self.stop = log, report, patience, stop

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.started, self.first = time.monotonic(), state.global_step
        self.before = state.log_history[-1].get("seconds", 0) if state.log_history else 0

    def on_log(self, args: Any, state: Any, control: Any, **about: Any) -> None:
        entry, history = state.log_history[-1], state.log_history
        if LOGGED.keys().isdisjoint(entry):
            return
        taken = time.monotonic() - self.started
        entry["seconds"] = round(self.before + taken, 2)  # the checkpoints keep it, too
        if state.is_world_process_zero:
            self.log.write_text("".join(map(_line, history)), "utf-8", newline="\n")
            to_go = state.max_steps - state.global_step
            left = taken / max(1, state.global_step - self.first) * to_go
            self.report(_progress(state, left))
        losses = [each["loss"] for each in history if "loss" in each]
        vocabulary = len(about["processing_class"])
        if "loss" in entry and (why := loss_problem(losses, vocabulary, state.global_step)):
            raise TuneError(why, "set a lower LEARNING_RATE in .env, a tenth to begin with")

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if stale(state.log_history) >= self.patience > 0:
            control.should_training_stop = True

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.stop.is_set():
            control.should_save = control.should_training_stop = True


def stale(history: Sequence[dict[str, Any]]) -> int:
    """The number of evaluations since the best loss."""
    losses = [entry["eval_loss"] for entry in history if "eval_loss" in entry]
    return len(losses) - 1 - losses.index(min(losses)) if losses else 0


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


def _line(entry: dict[str, Any]) -> str:
    """One logged step, under our names; a NaN is null."""
    named = {ours: entry[theirs] for theirs, ours in LOGGED.items() if theirs in entry}
    finite = {name: value if math.isfinite(value) else None for name, value in named.items()}
    about = {"step": entry["step"], "epoch": round(entry["epoch"], 4), **finite}
    return json.dumps(about | {"seconds": entry.get("seconds", 0)}) + "\n" if named else ""


def _progress(state: Any, seconds_left: float) -> Progress:
    seen = {name: value for entry in state.log_history for name, value in entry.items()}
    checked = "eval_loss" in state.log_history[-1]
    losses = seen.get("loss"), seen.get("eval_loss")
    return Progress(state.global_step, state.max_steps, *losses, seconds_left, checked)
