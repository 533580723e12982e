"""What an evaluation found, and the file that it is kept in."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tune.errors import TuneError
from tune.metrics import Interval
from tune.rows.row import Message

BASE, TUNED, PROMPTED = "base", "tuned", "prompted"  # prompted: an API's model that sees examples


@dataclass(frozen=True)
class System:
    """One of the models that were compared, and how well it did."""

    label: str
    rows: int
    metrics: dict[str, Interval]  # by their names in tune/metrics.py, 0 to 100
    seconds: Interval  # for one answer; in a batch its share
    characters: Interval  # of one answer
    cut: int = 0  # answers that ran into MAX_TOKENS


@dataclass(frozen=True)
class Sample:
    """One row: what was asked, what was wanted, what each system answered."""

    line: int
    question: tuple[Message, ...]
    expected: str
    answers: dict[str, str]
    scores: dict[str, float]  # of the headline metric, 0 to 100


@dataclass(frozen=True)
class Evaluation:
    """An evaluation as a whole. `differences`: how many points the tuned model is ahead."""

    run: str
    created: str  # ISO 8601, UTC
    rows: int
    verdict: str  # "better", "no proof" or "worse"
    headline: str  # the metric that decides
    because: str  # why this one
    why: str  # the verdict in a sentence
    notes: tuple[str, ...]
    systems: dict[str, System]
    differences: dict[str, Interval]  # from the base
    ahead_of_prompted: dict[str, Interval] = field(default_factory=dict)  # where one was asked
    settings: dict[str, str | int | float] = field(default_factory=dict)
    samples: tuple[Sample, ...] = ()


def to_json(evaluation: Evaluation) -> str:
    """The evaluation as it is kept."""
    return json.dumps(asdict(evaluation), indent=1, ensure_ascii=False) + "\n"


def read(file: Path) -> Evaluation:
    """The evaluation of a file. Raises TuneError where it is missing or cannot be understood."""
    try:
        return _evaluation(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        problem = f"{file.parent.name} was not evaluated yet."
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        problem = f"{file} cannot be read: {type(error).__name__}: {error}."
    raise TuneError(problem, f"uv run python -m tune evaluate {file.parent.name}")


def _evaluation(raw: dict[str, Any]) -> Evaluation:
    raw["systems"] = {name: _system(each) for name, each in raw["systems"].items()}
    raw["samples"] = tuple(
        Sample(**{**each, "question": tuple(each["question"])}) for each in raw["samples"]
    )
    raw["notes"] = tuple(raw["notes"])
    for name in ("differences", "ahead_of_prompted"):
        raw[name] = _intervals(raw[name])
    return Evaluation(**raw)


def _system(raw: dict[str, Any]) -> System:
    raw["metrics"] = _intervals(raw["metrics"])
    for name in ("seconds", "characters"):
        raw[name] = Interval(**raw[name])
    return System(**raw)


def _intervals(raw: dict[str, Any]) -> dict[str, Interval]:
    return {name: Interval(**each) for name, each in raw.items()}
