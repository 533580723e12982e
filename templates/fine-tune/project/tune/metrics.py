"""Scores answers, and decides what the scores prove. Needs no PyTorch."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Scores = Mapping[str, Floats]  # by the metrics' names: one value per example, 0 to 100

SHORT = 5  # words; an answer of no more is right or wrong as a whole
RESAMPLES = 2000
SEED = 0  # the same answers always give the same intervals

# Each letter of Thai, Lao, Burmese, Khmer, Japanese and Chinese is a word; there are no spaces
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")


# The metrics: one answer against the expected one, 0 to 1; the table METRICS is at the end


def exact_match(expected: str, answer: str) -> float:
    """Whether both are the same text, apart from spaces, or the same JSON value."""
    return float(normal(expected) == normal(answer))


def normal(text: str) -> str:
    """A text in the form that is compared: JSON without layout, else single spaces."""
    text = unicodedata.normalize("NFC", text).strip()
    try:
        # Not the values themselves: in Python, true equals 1
        return json.dumps(json.loads(text), sort_keys=True)
    except (ValueError, RecursionError):
        return " ".join(text.split())


def json_valid(expected: str, answer: str) -> float:
    """Whether a program can read the answer."""
    return float(isinstance(parsed(answer), dict | list))


def json_fields(expected: str, answer: str) -> float:
    """The share of the expected values that are in their place."""
    wanted, given = set(_fields(parsed(expected))), set(_fields(parsed(answer)))
    return len(wanted & given) / len(wanted)


def parsed(text: str) -> Any:
    """The JSON value of a text; None if it is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _fields(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Each single value with the keys that lead to it."""
    if not isinstance(value, dict | list) or not value:
        yield *path, json.dumps(value)
        return
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield from _fields(inner, (*path, key))


def token_f1(expected: str, answer: str) -> float:
    """The F1 of shared words (Rajpurkar et al. 2016). Articles count: not all texts are English."""
    wanted, given = words(expected), words(answer)
    shared = sum((Counter(wanted) & Counter(given)).values())
    if not wanted or not given:
        return float(wanted == given)
    return 2 * shared / (len(wanted) + len(given))


def rouge_l(expected: str, answer: str) -> float:
    """The words that both share in the same order, gaps allowed (Lin 2004, F-measure)."""
    wanted, given = words(expected), words(answer)
    if not wanted or not given:
        return float(wanted == given)
    # The longest common subsequence by Hunt and Szymanski (1977): linear memory, and fast
    places: dict[str, list[int]] = {}
    for at, word in enumerate(wanted):
        places.setdefault(word, []).append(at)
    ends: list[int] = []  # where the earliest common subsequence of 1, 2, 3 … words ends
    for word in given:
        for at in reversed(places.get(word, [])):
            longer = bisect_left(ends, at)
            ends[longer : longer + 1] = [at]
    return 2 * len(ends) / (len(wanted) + len(given))


def words(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation."""
    return WORD.findall(unicodedata.normalize("NFC", text).casefold())


class Metric(NamedTuple):
    """A metric's name, description and function. Higher is better."""

    label: str
    about: str
    measure: Callable[[str, str], float]  # of the expected answer and the answer: 0 to 1
    only_json: bool = False  # only if all expected answers are JSON


# For a metric of your own, write a function, and add a line.
METRICS = {
    "exact_match": Metric("Exact match", "% of answers equal to the expected one", exact_match),
    "json_valid": Metric("Valid JSON", "% of answers that a program can read", json_valid, True),
    "json_fields": Metric("Right fields", "% of values as expected", json_fields, True),
    "token_f1": Metric("Word F1", "words shared with the expected answer", token_f1),
    "rouge_l": Metric("ROUGE-L", "longest run of shared words in order, gaps allowed", rouge_l),
}


def score(expected: Sequence[str], answers: Sequence[str]) -> Scores:
    """Score answers with every metric that fits: 0 to 100 for each."""
    pairs, is_json = list(zip(expected, answers, strict=True)), all_json(expected)
    return {
        name: 100 * np.array([metric.measure(*pair) for pair in pairs], dtype=float)
        for name, metric in METRICS.items()
        if is_json or not metric.only_json
    }


def all_json(texts: Sequence[str]) -> bool:
    """Whether every text is a JSON object or list; a bare number or word does not count."""
    return bool(texts) and all(isinstance(parsed(text), dict | list) for text in texts)


def headline(expected: Sequence[str]) -> tuple[str, str]:
    """The metric that decides, and why it fits these answers."""
    if all_json(expected):
        return "exact_match", "the expected answers are JSON: a value is right or wrong"
    short = sum(len(words(text)) <= SHORT for text in expected)
    if short >= 0.9 * len(expected):
        return "exact_match", f"the expected answers are short: {SHORT} words at most"
    return "rouge_l", "the expected answers are sentences, which can be right in different words"


# How certain a figure is

FEW = 20  # examples that prove little
LEAST = 6  # examples on which two systems must differ: fewer can all be won by chance
SURE = 1.96 + 0.84  # standard errors: seen in 4 of 5 evaluations, at 95 % confidence

Word = Literal["better", "no proof", "worse"]


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % confidence interval."""

    mean: float
    low: float
    high: float


def interval(values: Sequence[float] | Floats) -> Interval:
    """The mean of one value per example, with its interval: a bootstrap (Efron 1979).

    For the differences of two systems on the same examples it is a paired one (Koehn 2004).
    """
    each, chance = np.array(values, dtype=float), np.random.default_rng(SEED)
    means = [chance.choice(each, len(each)).mean() for _ in range(RESAMPLES)]
    bounds = (each.mean(), *np.percentile(means, [2.5, 97.5]))
    return Interval(*(round(float(bound), 4) for bound in bounds))


def decide(differences: Floats) -> Word:
    """The verdict on the points that a system is ahead by, one for each example."""
    ahead = interval(differences)
    if np.count_nonzero(differences) < LEAST:
        return "no proof"
    return "better" if ahead.low > 0 else "worse" if ahead.high < 0 else "no proof"


def sentence(metric: str, tuned: Floats, base: Floats) -> str:
    """The verdict in a sentence, with the figures of both systems."""
    ahead, found = interval(tuned - base), decide(tuned - base)
    figure, unit = points(tuned.mean()), " %" if metric == "exact_match" else ""
    ours = f"{figure} % {spoken(metric)}" if unit else f"{spoken(metric)} {figure}"
    against, on = f"{ours} against {points(base.mean())}{unit}", f"on {counted(len(tuned))}"
    if found == "no proof":
        spread = f"{signed(ahead.low)} to {signed(ahead.high)}"
        return f"No proof: {against}, a difference of {spread} points {on}: it may be chance."
    low, high = map(points, sorted((abs(ahead.low), abs(ahead.high))))
    size = low if low == high else f"{low} to {high}"
    change = "gain" if found == "better" else "loss"
    return f"{found.capitalize()}: {against}, a {change} of {size} points {on}."


def doubts(differences: Floats) -> list[str]:
    """Notes on how much these differences prove, and how many examples would prove more."""
    count, mean = len(differences), float(differences.mean())
    notes = [f"{counted(count)} prove{'s' * (count == 1)} little: add some."] if count < FEW else []
    if decide(differences) != "no proof":
        return notes
    if abs(mean) < 1e-9:
        return [*notes, "Both do equally well: more examples of this kind will not change that."]
    least = max((SURE * float(differences.std()) / mean) ** 2, count + 1, LEAST)
    enough = math.ceil(float(f"{least:.2g}"))
    size = points(abs(mean))
    return [*notes, f"If {size} points are real, about {enough:,} examples would show it."]


# How figures are written


def points(value: float) -> str:
    """A figure from 0 to 100, without a trailing zero."""
    return f"{value:.1f}".removesuffix(".0")


def signed(value: float) -> str:
    """Points ahead or behind."""
    figure = points(abs(value))
    return figure if figure == "0" else f"{'+' if value > 0 else '−'}{figure}"


def spoken(metric: str) -> str:
    """A metric's name inside a sentence."""
    label = METRICS[metric].label
    return label if label.isupper() else label.lower()


def counted(count: int, thing: str = "example") -> str:
    """A number of things: "1 example", "60 examples"."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"
