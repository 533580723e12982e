"""A training run's folder: its record, its log, its model and its evaluation."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from tune.errors import TuneError

State = Literal["training", "done"]
Form = Literal["adapter", "merged", "gguf"]  # that a run can be exported in

REHEARSAL = "rehearsal-"  # the names of rehearsals start with it


@dataclass(frozen=True)
class Record:
    """The content of `run.json`: everything that the model card needs, and nothing secret."""

    base: str  # as `tune.models.find` takes it: a name, an id on the hub, or a folder
    method: str = "lora"
    state: State = "training"
    settings: dict[str, Any] = field(default_factory=dict)  # rank, learning rate, seed, …
    data: dict[str, Any] = field(default_factory=dict)  # file names, rows, dropped rows, digests
    figures: dict[str, Any] = field(default_factory=dict)  # steps, losses, seconds, memory
    versions: dict[str, str] = field(default_factory=dict)  # of the packages that trained it
    started: str = ""  # ISO 8601, UTC


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
        """The result: a PEFT adapter with its tokenizer, or all weights after a full tuning."""
        return self.folder / "model"

    @property
    def log(self) -> Path:
        """One JSON line for each logged step: step, loss or eval_loss, learning rate, seconds."""
        return self.folder / "log.jsonl"

    @property
    def plot(self) -> Path:
        return self.folder / "loss.png"

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
        try:
            return _record(json.loads((self.folder / "run.json").read_text("utf-8")))
        except FileNotFoundError:
            problem = f"{self.folder} is not a training run."
        except (OSError, ValueError, TypeError) as error:
            problem = f"{self.folder / 'run.json'} cannot be read: {error}."
            raise TuneError(problem, f"git restore it, or delete {self.folder}") from None
        raise TuneError(problem, "uv run python -m tune runs")

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


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a run's log, without a line that a crash cut off."""
    if not path.is_file():
        return []
    entries = []
    for line in path.read_text("utf-8", errors="replace").splitlines():
        try:
            entries.append(json.loads(line))
        except ValueError:
            continue
    return [entry for entry in entries if isinstance(entry, dict) and "step" in entry]


def write_whole(file: Path, text: str) -> None:
    """Replace a file in one step: readers see the old or the new one, even after a power cut."""
    part = file.with_name(f"{file.name}.part")
    part.write_text(text, encoding="utf-8", newline="\n")
    os.replace(part, file)


def every(folder: Path) -> list[Run]:
    """All runs of a folder, the latest first; by name if all have the same time, as in a clone."""
    found = [Run(path.parent) for path in folder.glob("*/run.json")]
    return sorted(found, key=lambda run: (_changed(run), run.name), reverse=True)


def latest(folder: Path) -> Run | None:
    """The latest run that is done; None if there is none.

    A rehearsal only if there is no other: one just before the pitch must not hide a real model.
    """
    done = (run for run in every(folder) if _is_done(run))
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


def _record(raw: Any) -> Record:
    """A record, without keys that a newer version may have added."""
    if not isinstance(raw, dict):
        raise TypeError("it is not a JSON object")
    kinds = {each.name: dict if each.default_factory is dict else str for each in fields(Record)}
    known = {name: value for name, value in raw.items() if name in kinds}
    wrong = [name for name, value in known.items() if not isinstance(value, kinds[name])]
    parts = {} if wrong else known.get("data", {})
    wrong += [part for part, about in parts.items() if not isinstance(about, dict)]
    if wrong or "base" not in known:
        raise TypeError(f'"{wrong[0] if wrong else "base"}" is missing or has the wrong type')
    return Record(**known)


def _changed(run: Run) -> float:
    try:
        return run.folder.joinpath("run.json").stat().st_mtime
    except OSError:  # deleted since it was found
        return 0.0


def _is_done(run: Run) -> bool:
    try:
        return run.record.state == "done"
    except TuneError:
        return False
