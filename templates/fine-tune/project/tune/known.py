"""What the app has on file: examples, runs, and recorded answers. Read again when files change."""

from __future__ import annotations

import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tune import dataset, report, runs
from tune.dataset import Example, last_words
from tune.errors import TuneError
from tune.report import Evaluation
from tune.runs import Run
from tune.settings import ROOT, SETTINGS, Settings, named

Side = Literal["base", "tuned"]
SIDES: tuple[Side, Side] = ("base", "tuned")
log = logging.getLogger(__name__)
RECORDED = Run(ROOT / "data" / "recorded")  # came with the template; a run of your own replaces it
MOST = 5_000  # examples that are searched
STAMPED = re.compile(r"(?P<name>.*?)-?(?P<day>\d{4}-\d\d-\d\d)-(?P<time>\d{4})\d*-?(?P<base>.*)")


class Quote(NamedTuple):
    """A recorded answer, the model that gave it, and where it was recorded."""

    text: str
    by: str
    source: str


def shown_run(settings: Settings = SETTINGS) -> Run | None:
    """The run that the app shows: TUNED_MODEL, the latest finished run, or the recorded one."""
    chosen = Run(settings.runs / settings.tuned_model)
    if settings.tuned_model and (chosen.folder / "run.json").is_file():
        return chosen
    recorded = RECORDED if (RECORDED.folder / "run.json").is_file() else None
    return runs.latest(settings.runs) or recorded


def title(run: Run) -> str:
    """A run's name as people say it: "Rehearsal, today 14:05"."""
    if run == RECORDED and run.record.started:
        day = datetime.fromisoformat(run.record.started)
        return f"Recorded, {day.day} {day:%b %Y}"
    return spoken(run.name)


def spoken(name: str) -> str:
    """A name with a date in it, as people say it; any other name stays as it is."""
    if not (found := STAMPED.fullmatch(name)):
        return name
    title = (found["name"] or found["base"] or "Run").capitalize()
    day = date.fromisoformat(found["day"])
    when = "today" if day == date.today() else f"{day.day} {day:%b %Y}"
    return f"{title}, {when} {found['time'][:2]}:{found['time'][2:]}"


def evaluation(run: Run | None) -> Evaluation | None:
    """A run's evaluation; None if it was not evaluated."""
    return _fresh(report.read, run.evaluation) if run else None


def recorded(question: str, settings: Settings = SETTINGS) -> dict[Side, Quote]:
    """The models' recorded answers to this question, from `evaluate`."""
    found = evaluation(shown_run(settings))
    for sample in found.samples if found else ():
        if found and _key(last_words(sample.question)) == _key(question):
            source = f"recorded by evaluate, test example {sample.line}"
            return {
                side: Quote(sample.answers[side], found.systems[side].label, source)
                for side in SIDES
            }
    return {}


def test_row(question: str, settings: Settings = SETTINGS) -> Example | None:
    """The test example with this question, which has the expected answer."""
    asked = _key(question)
    every = rows(settings.test)
    return next((row for row in every if _key(last_words(row.question)) == asked), None)


def rows(path: Path) -> list[Example]:
    """A file's examples; empty if it cannot be read (`check` explains why)."""
    return _fresh(dataset.load, path) or []


def habit(path: Path) -> str:
    """The most common system message of a file's examples; empty if most have none."""
    first = [row.messages[0] for row in rows(path)]
    said = Counter(str(each["content"]) if each["role"] == "system" else "" for each in first)
    return said.most_common(1)[0][0] if said else ""


def place(row: Example) -> str:
    """An example's file and line, as text."""
    return f"{named(Path(row.file).resolve())}, line {row.line}"


def nearest(question: str, path: Path) -> Example | None:
    """The example with the most similar question; None if none has anything in common."""
    index = _fresh(_Index, path)
    return index.find(question) if index else None


class _Index:
    """Search over the questions of a file (character n-grams, the rare ones count more)."""

    def __init__(self, path: Path) -> None:
        self.rows = rows(path)[:MOST]
        self.ngrams = [set(_ngrams(last_words(row.question))) for row in self.rows]
        seen = Counter(ngram for each in self.ngrams for ngram in each)
        self.weight = {ngram: math.log(1 + len(self.rows) / n) ** 2 for ngram, n in seen.items()}
        self.length = [math.sqrt(sum(map(self.weight.__getitem__, each))) for each in self.ngrams]

    def find(self, question: str) -> Example | None:
        asked = self.weight.keys() & set(_ngrams(question))
        scores = [
            sum(map(self.weight.__getitem__, asked & ngrams)) / (length or 1)
            for ngrams, length in zip(self.ngrams, self.length, strict=True)
        ]
        best = max(range(len(scores)), key=scores.__getitem__, default=0)
        return self.rows[best] if asked else None


def _ngrams(text: str) -> Iterator[str]:
    """Three to five letters of a word: "delivered" matches "delivery", "lampe" matches "lamp"."""
    for word in re.findall(r"\w+", text.casefold()):
        whole = f" {word} "
        for size in range(3, 6):
            yield from (whole[start : start + size] for start in range(len(whole) - size + 1))


def _key(question: str) -> str:
    return " ".join(question.casefold().split())


def _fresh(read: Callable[[Path], Any], path: Path) -> Any:
    """What `read` makes of a file, cached until it changes; None if it cannot be read."""
    try:
        return _cached(read, path, path.stat().st_mtime_ns)
    except OSError:
        return None


@lru_cache(maxsize=16)
def _cached(read: Callable[[Path], Any], path: Path, stamp: int) -> Any:
    try:
        return read(path)
    except TuneError as error:
        log.warning("%s", error)
        return None
