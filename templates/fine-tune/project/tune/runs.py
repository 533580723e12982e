"""A training run's folder: its record, log, checkpoints, model and evaluation."""

from __future__ import annotations

import json
import math
import os
import shutil
import zipfile
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from tune.errors import TuneError

REHEARSAL = "rehearsal-"  # the names of rehearsals start with it
MODEL = ("*.safetensors", "*.index.json", "*config.json")  # a checkpoint's files that are the model
LOGGED = {"loss": "loss", "eval_loss": "eval_loss", "learning_rate": "learning_rate"}
LOGGED |= {"mean_token_accuracy": "accuracy", "eval_mean_token_accuracy": "eval_accuracy"}


@dataclass(frozen=True)
class Record:
    """The content of `run.json`: everything that the model card needs, and nothing secret."""

    base: str  # as `tune.models.find` takes it: a name, an id on the hub, or a folder
    method: str = "lora"
    state: Literal["training", "done"] = "training"
    settings: dict[str, Any] = field(default_factory=dict)  # rank, learning rate, seed, …
    data: dict[str, dict[str, Any]] = field(default_factory=dict)  # files, rows, digests
    figures: dict[str, Any] = field(default_factory=dict)  # steps, losses, seconds, memory
    versions: dict[str, str] = field(default_factory=dict)  # of the packages that trained it
    started: str = ""  # ISO 8601, UTC


RECORD = TypeAdapter(Record)  # ignores keys that a newer version may have added


@dataclass(frozen=True)
class Run:
    """One folder of `runs/`. Some of its files may not exist yet."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def rehearsed(self) -> bool:
        """Whether it is a rehearsal, with a tiny model."""
        return self.name.startswith(REHEARSAL)

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def model(self) -> Path:
        """The result: a PEFT adapter with its tokenizer."""
        return self.folder / "model"

    @property
    def log(self) -> Path:
        """One JSON line for each logged step: step, loss or eval_loss, learning rate, seconds."""
        return self.folder / "log.jsonl"

    @property
    def evaluation(self) -> Path:
        """The figures of `evaluate`; the report for people is beside it."""
        return self.folder / "evaluation.json"

    @property
    def report(self) -> Path:
        return self.folder / "evaluation.html"

    @property
    def exports(self) -> Path:
        return self.folder / "exports"

    @property
    def record(self) -> Record:
        """The content of `run.json`. Raises TuneError if it is missing or cannot be read."""
        file = self.folder / "run.json"
        try:
            return RECORD.validate_json(file.read_bytes())
        except FileNotFoundError:
            problem = f"{self.folder} is not a training run."
            raise TuneError(problem, "uv run python -m tune runs") from None
        except ValidationError as error:
            [first, *_] = error.errors()
            why = f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")
            raise TuneError(
                f"{file} cannot be read: {why}.", f"git restore it, or delete {self.folder}"
            ) from None

    def has_state(self, state: str) -> bool:
        """Whether the run is in this state; a damaged one is in none."""
        with suppress(TuneError):
            return self.record.state == state
        return False

    def write(self, record: Record) -> None:
        """Write `run.json`, in place of the one before."""
        self.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(asdict(record), indent=2, ensure_ascii=False) + "\n"
        write_whole(self.folder / "run.json", text)

    def update(self, **changes: Any) -> Record:
        """Change some fields of `run.json`."""
        record = replace(self.record, **changes)
        self.write(record)
        return record


def every(folder: Path) -> list[Run]:
    """All runs of a folder, the latest first; by name if all have the same time, as in a clone."""
    found = [Run(path.parent) for path in folder.glob("*/run.json")]
    return sorted(found, key=lambda run: (_changed(run), run.name), reverse=True)


def latest(folder: Path) -> Run | None:
    """The latest run that is done; None if there is none.

    A rehearsal only if there is no other: one just before the pitch must not hide a real model.
    """
    done = (run for run in every(folder) if run.has_state("done"))
    return min(done, key=lambda run: run.rehearsed, default=None)


def find(folder: Path, name: str = "") -> Run:
    """The run of that name, or the latest that is done. Raises TuneError, which lists all runs."""
    there = {run.name: run for run in every(folder)}
    if run := there.get(name) if name else latest(folder):  # a path like "../other" is no name
        return run
    names = ", ".join(there) or "none yet"
    problem = f'There is no run "{name}".' if name else "No run is done yet."
    fix = ("runs" if name else "train --resume") if there else "rehearse"
    raise TuneError(f"{problem} Runs: {names}.", f"uv run python -m tune {fix}")


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a run's log, without a line that a crash cut off."""
    entries = []
    for line in path.read_text("utf-8", errors="replace").splitlines() if path.is_file() else ():
        with suppress(ValueError):
            entries.append(json.loads(line))
    return [entry for entry in entries if isinstance(entry, dict) and "step" in entry]


def log_line(entry: dict[str, Any]) -> str:
    """What the trainer logged for a step as a line of our log; a NaN is null."""
    named = {ours: entry[theirs] for theirs, ours in LOGGED.items() if theirs in entry}
    finite = {name: value if math.isfinite(value) else None for name, value in named.items()}
    about = {"step": entry["step"], "epoch": round(entry["epoch"], 4), **finite}
    return json.dumps(about | {"seconds": entry.get("seconds", 0)}) + "\n" if named else ""


def write_whole(file: Path, text: str) -> None:
    """Replace a file in one step: readers see the old or the new one, even after a power cut."""
    part = file.with_name(f"{file.name}.part")
    part.write_text(text, encoding="utf-8", newline="\n")
    os.replace(part, file)


def _changed(run: Run) -> float:
    with suppress(OSError):  # deleted since it was found
        return run.folder.joinpath("run.json").stat().st_mtime
    return 0.0


# Checkpoints


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint; damaged ones are deleted."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name[11:]), reverse=True)
    for path in found:
        if not is_whole(path):
            shutil.rmtree(path)
    return next((path for path in found if path.exists()), None)


def best_checkpoint(folder: Path) -> Path:
    """The checkpoint with the lowest validation loss; without validation rows, the newest."""
    last = newest_checkpoint(folder)
    if last is None:
        raise TuneError(f"{folder} has no complete checkpoint.", "uv run python -m tune train")
    best = folder / Path(trainer_state(last).get("best_model_checkpoint") or last).name
    return best if best.is_dir() and is_whole(best) else last


def is_whole(checkpoint: Path) -> bool:
    """Whether training can resume from here: the trainer writes its state last."""
    files = [path for kind in ("*.safetensors", "*.pt", "*.pth") for path in checkpoint.glob(kind)]
    return bool(trainer_state(checkpoint)) and all(map(_opens, files))


def trainer_state(checkpoint: Path) -> dict[str, Any]:
    """The trainer's state: the step and the losses so far; empty if it is damaged."""
    with suppress(OSError, ValueError):
        return json.loads((checkpoint / "trainer_state.json").read_text("utf-8"))
    return {}


def publish(checkpoint: Path, target: Path, tokenizer: Any) -> None:
    """Copy a checkpoint's model to the target folder, which appears complete or not at all."""
    part = target.with_name(f"{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for path in (path for pattern in MODEL for path in checkpoint.glob(pattern)):
        shutil.copy2(path, part)
    tokenizer.save_pretrained(part)
    if target.exists():  # left by a run that was killed right after os.replace
        shutil.rmtree(target)
    os.replace(part, target)


def _opens(path: Path) -> bool:
    """Whether a file of weights or of the optimizer is not cut off, as a power cut leaves it."""
    if path.suffix != ".safetensors":
        return zipfile.is_zipfile(path)
    from safetensors import SafetensorError, safe_open

    with suppress(OSError, SafetensorError), safe_open(path, "pt"):
        return True  # it compared the file's size with its header
    return False
