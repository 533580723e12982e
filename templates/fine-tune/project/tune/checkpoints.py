"""The checkpoints of a training: the newest, the best, and which ones are damaged."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tune.errors import TuneError

STATE = "trainer_state.json"
WEIGHTS = ("adapter_model.safetensors", "model*.safetensors")
MODEL = (*WEIGHTS, "adapter_config.json", "config.json", "generation_config.json", "*.index.json")
KEEP = 2  # the best and the newest


def newest(folder: Path) -> Path | None:
    """The newest complete checkpoint; damaged ones are deleted."""
    found = sorted(folder.glob("checkpoint-*"), key=_step, reverse=True)
    for path in found:
        if not is_whole(path):
            shutil.rmtree(path)
    return next((path for path in found if path.exists()), None)


def is_whole(checkpoint: Path) -> bool:
    """Whether training can resume from here: no file is missing or cut off."""
    tensors = [path for pattern in WEIGHTS for path in checkpoint.glob(pattern)]
    states = [checkpoint / "optimizer.pt", checkpoint / "scheduler.pt"]
    states += sorted(checkpoint.glob("rng_state*.pth")) or [checkpoint / "rng_state.pth"]
    return bool(
        state(checkpoint) and tensors and all(map(_opens, tensors)) and all(map(_unpacks, states))
    )


def state(checkpoint: Path) -> dict[str, Any]:
    """The trainer's state: the step and the losses so far; empty if it is damaged."""
    try:
        return json.loads((checkpoint / STATE).read_text("utf-8"))
    except (OSError, ValueError):
        return {}


def stale(history: Sequence[dict[str, Any]]) -> int:
    """The number of evaluations since the best loss."""
    losses = [entry["eval_loss"] for entry in history if "eval_loss" in entry]
    return len(losses) - 1 - losses.index(min(losses)) if losses else 0


def best(folder: Path) -> Path:
    """The checkpoint with the lowest validation loss; without validation rows, the newest."""
    last = newest(folder)
    if last is None:
        raise TuneError(f"{folder} has no complete checkpoint.", "uv run python -m tune train")
    kept = folder / Path(state(last).get("best_model_checkpoint") or last).name
    return kept if kept.is_dir() and is_whole(kept) else last


def publish(checkpoint: Path, target: Path, tokenizer: Any) -> None:
    """Copy a checkpoint's model, without the optimizer and the like, to the target folder.

    The folder appears complete or not at all.
    """
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for path in (path for pattern in MODEL for path in checkpoint.glob(pattern)):
        shutil.copy2(path, part)
    tokenizer.save_pretrained(part)
    if target.exists():  # left by a run that was killed right after os.replace
        shutil.rmtree(target)
    os.replace(part, target)


def need_room(folder: Path, trained: int, free: int | None = None) -> None:
    """Raise TuneError if the disk has no room for the checkpoints of so many trained parameters.

    A checkpoint has the parameters and Adam's two moments, 4 bytes each. One more is written before
    an old one is deleted, and the result is a copy of the parameters.
    """
    needed = trained * 4 * (3 * (KEEP + 1) + 1)
    free = shutil.disk_usage(folder).free if free is None else free
    if needed > free:
        problem = f"Training needs {_gigabytes(needed)} on the disk, {_gigabytes(free)} are free."
        raise TuneError(problem, f"make room, or set RUNS_DIR in .env to a larger disk: {folder}")


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"


def _step(checkpoint: Path) -> int:
    number = checkpoint.name.rpartition("-")[2]
    return int(number) if number.isdigit() else -1


def _opens(path: Path) -> bool:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt"):  # it checks the file's size against its header
            return True
    except (OSError, SafetensorError):
        return False


def _unpacks(path: Path) -> bool:
    return path.is_file() and zipfile.is_zipfile(path)
