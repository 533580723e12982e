"""The results of an evaluation, and the file that they are saved in."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tune.dataset import Message
from tune.errors import TuneError
from tune.metrics import Interval

BASE, TUNED, PROMPTED = "base", "tuned", "prompted"  # prompted: an API model with examples


@dataclass(frozen=True)
class System:
    """One of the compared models, and its scores."""

    label: str
    rows: int
    metrics: dict[str, Interval]  # by their names in tune/metrics.py, 0 to 100
    seconds: Interval  # per answer; in a batch its share
    characters: Interval  # per answer
    cut: int = 0  # answers that were cut off at MAX_TOKENS


@dataclass(frozen=True)
class Sample:
    """One row: the question, the expected answer, and the answer of each system."""

    line: int
    question: tuple[Message, ...]
    expected: str
    answers: dict[str, str]
    scores: dict[str, float]  # of the headline metric, 0 to 100


@dataclass(frozen=True)
class Evaluation:
    """A whole evaluation. `differences`: how many points the tuned model is ahead."""

    run: str
    created: str  # ISO 8601, UTC
    rows: int
    verdict: str  # "better", "no proof" or "worse"
    headline: str  # the metric that decides
    because: str  # why this one
    why: str  # the verdict in a sentence
    notes: tuple[str, ...]
    systems: dict[str, System]
    differences: dict[str, Interval]  # to the base
    ahead_of_prompted: dict[str, Interval] = field(default_factory=dict)  # if one was asked
    settings: dict[str, str | int | float] = field(default_factory=dict)
    samples: tuple[Sample, ...] = ()


def to_json(evaluation: Evaluation) -> str:
    """The evaluation as text for its file."""
    return json.dumps(asdict(evaluation), indent=1, ensure_ascii=False) + "\n"


def read(file: Path) -> Evaluation:
    """The evaluation in a file. Raises TuneError if it is missing or cannot be read."""
    try:
        return _evaluation(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        problem = f"{file.parent.name} has not been evaluated yet."
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
