"""Reads the data files and the recorded evaluations, cached until the files change."""

from __future__ import annotations

import logging
from collections import Counter
from functools import lru_cache
from pathlib import Path

from tune import dataset, offline, results, runs
from tune.dataset import Example, last_words
from tune.errors import TuneError
from tune.results import Evaluation, Sample
from tune.runs import Run
from tune.settings import SETTINGS, Settings, named

log = logging.getLogger(__name__)


def shown_run(settings: Settings = SETTINGS) -> Run | None:
    """The run that the app shows: TUNED_MODEL, or the latest finished run."""
    named = Run(settings.runs / settings.tuned_model)
    is_run = bool(settings.tuned_model) and (named.folder / "run.json").is_file()
    return named if is_run else runs.latest(settings.runs)


def evaluation(run: Run | None) -> Evaluation | None:
    """A run's evaluation; None if it was not evaluated."""
    return _evaluation(run.evaluation, _stamp(run.evaluation)) if run else None


def recorded(question: str, settings: Settings = SETTINGS) -> Sample | None:
    """The models' recorded answers to this question, from `evaluate`."""
    run = shown_run(settings)
    if not run:
        return None
    return _samples(run.evaluation, _stamp(run.evaluation)).get(_key(question))


def test_row(question: str, settings: Settings = SETTINGS) -> Example | None:
    """The test row with this question, which has the expected answer."""
    return _by_question(settings.test, _stamp(settings.test)).get(_key(question))


def rows(path: Path) -> tuple[Example, ...]:
    """A file's rows; empty if it cannot be read (`check` explains why)."""
    return _rows(path, _stamp(path))


def nearest(path: Path) -> offline.Nearest:
    """A search index of a file's rows."""
    return _nearest(path, _stamp(path))


def habit(path: Path) -> str:
    """The most common system message of a file's rows; empty if most have none."""
    first = [row.messages[0] for row in nearest(path).rows]
    said = Counter(str(each["content"]) if each["role"] == "system" else "" for each in first)
    return said.most_common(1)[0][0] if said else ""


def place(row: Example) -> str:
    """A row's file and line, as text."""
    return f"{named(Path(row.file).resolve())}, line {row.line}"


def _key(question: str) -> str:
    return " ".join(question.casefold().split())


def _stamp(path: Path) -> int:
    """A file's time of change, as a key for the caches below; 0 if it does not exist."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=8)
def _evaluation(path: Path, stamp: int) -> Evaluation | None:
    try:
        return results.read(path) if stamp else None
    except TuneError as error:
        log.warning("%s", error)
        return None


@lru_cache(maxsize=2)
def _samples(path: Path, stamp: int) -> dict[str, Sample]:
    found = _evaluation(path, stamp)
    return {_key(last_words(each.question)): each for each in (found.samples if found else ())}


@lru_cache(maxsize=4)
def _rows(path: Path, stamp: int) -> tuple[Example, ...]:
    try:
        return tuple(dataset.load(path)) if stamp else ()
    except TuneError as error:
        log.warning("%s", error)
        return ()


@lru_cache(maxsize=2)
def _nearest(path: Path, stamp: int) -> offline.Nearest:
    return offline.Nearest(_rows(path, stamp))


@lru_cache(maxsize=2)
def _by_question(path: Path, stamp: int) -> dict[str, Example]:
    return {_key(last_words(row.question)): row for row in _rows(path, stamp)}
