"""Scores answers, with confidence intervals. Needs no PyTorch."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tune import tone

Floats = npt.NDArray[np.float64]

RESAMPLES = 2000
SEED = 0  # the same answers always give the same intervals
DRAWN = 2**20  # numbers in memory at a time

# The letters of Thai, Lao, Burmese, Khmer, Japanese and Chinese
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"


class Metric(NamedTuple):
    """A metric's name and description. All run from 0 to 100; higher is better."""

    label: str
    about: str


METRICS = {
    "in_tone": Metric("In our tone", "% of answers that break no rule of tune/tone.py"),
    "exact_match": Metric("Exact match", "% of answers equal to the expected one; JSON by value"),
    "json_valid": Metric("Valid JSON", "% of answers that a program can read"),
    "json_shape": Metric("Right keys", "% of answers with the expected keys and types of values"),
    "token_f1": Metric("Word F1", "words shared with the expected answer, as SQuAD counts them"),
    "rouge_l": Metric("ROUGE-L", "longest run of shared words in order, gaps allowed"),
    "bleu": Metric("BLEU", "shared runs of one to four words, over all rows together"),
    "chrf": Metric("chrF", "shared runs of one to six characters, mean over the rows"),
}


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % confidence interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Scores:
    """The scores of one system's answers, row by row (0 to 100)."""

    rows: dict[str, Floats]
    ngrams: npt.NDArray[np.int64] = field(repr=False)  # rows × 10: what BLEU is computed from

    def first(self, count: int) -> Scores:
        """The scores of the first rows only."""
        rows = {name: values[:count] for name, values in self.rows.items()}
        return Scores(rows, self.ngrams[:count])

    def of(self, weights: Floats) -> dict[str, Floats]:
        """Each metric's mean, once for each line of `weights` (how often every row counts)."""
        found = {name: weights @ rows / weights.sum(axis=1) for name, rows in self.rows.items()}
        found["bleu"] = np.array([_bleu(total) for total in weights @ self.ngrams])
        return {name: found[name] for name in METRICS if name in found}


def score(expected: Sequence[str], answers: Sequence[str]) -> Scores:
    """Score answers. JSON metrics are added if all expected answers are JSON."""
    pairs = list(zip(expected, answers, strict=True))
    metrics: dict[str, Any] = {each.__name__: each for each in (exact_match, token_f1, rouge_l)}
    metrics |= {"in_tone": tone.in_tone}
    if all_json(expected):
        metrics |= {"json_valid": _json_valid, "json_shape": _json_shape}
    rows = {name: [measure(*pair) for pair in pairs] for name, measure in metrics.items()}
    rows["chrf"], ngrams = _sacre(pairs)
    floats = {name: 100 * np.array(values, dtype=float) for name, values in rows.items()}
    return Scores(floats, np.array(ngrams))


def intervals(scores: Scores) -> dict[str, Interval]:
    """Each metric with its confidence interval, from resampled rows."""
    return _bounds(len(scores.ngrams), scores.of)


def differences(ours: Scores, theirs: Scores) -> dict[str, Interval]:
    """How many points ours is ahead, row by row: a paired bootstrap (Koehn 2004).

    Both systems are resampled with the same rows, so hard rows do not blur the difference.
    """

    def ahead(weights: Floats) -> dict[str, Floats]:
        other = theirs.of(weights)
        return {name: values - other[name] for name, values in ours.of(weights).items()}

    return _bounds(len(ours.ngrams), ahead)


def interval(values: Sequence[float]) -> Interval:
    """The mean of one value per row, with its confidence interval."""
    rows = np.array(values, dtype=float)
    return _bounds(len(rows), lambda weights: {"": weights @ rows / len(rows)})[""]


def resamples(rows: int) -> Iterator[Floats]:
    """Bootstrap samples: how often each row is drawn, with replacement.

    One line for each sample, some lines at a time: memory does not grow with the rows.
    """
    chance, left = np.random.default_rng(SEED), RESAMPLES
    while left:
        lines = min(left, max(1, DRAWN // rows))
        yield chance.multinomial(rows, [1 / rows] * rows, lines).astype(float)
        left -= lines


def _bounds(rows: int, measure: Callable[[Floats], dict[str, Floats]]) -> dict[str, Interval]:
    """The value of each metric on all rows, and its bounds on resampled rows."""
    once, tail = measure(np.ones((1, rows))), 100 * _tail(rows)
    often = [measure(weights) for weights in resamples(rows)]
    found = {}
    for name, (mean,) in once.items():
        values = np.concatenate([each[name] for each in often])
        low, high = np.percentile(values, [tail, 100 - tail])
        found[name] = Interval(*(round(float(each), 4) for each in (mean, low, high)))
    return found


def _tail(rows: int) -> float:
    """The share of samples beyond each bound: 1 in 40 for many rows, less for few rows.

    A few rows vary less than the data that they are drawn from, so plain percentiles would be too
    narrow (Hesterberg 2015, "expanded percentile interval"). The quantile of Student's
    t is Cornish and Fisher's series: right to 0.1 % from 6 rows on.
    """
    if rows < 2:
        return 0
    z, freedom = NormalDist().inv_cdf(0.975), rows - 1
    series = (z, _odd(z, 1, 1) / 4, _odd(z, 5, 16, 3) / 96, _odd(z, 3, 19, 17, -15) / 384)
    t = sum(term / freedom**power for power, term in enumerate(series))
    return NormalDist().cdf(-t * math.sqrt(rows / freedom))


def _odd(z: float, *factors: int) -> float:
    """A polynomial of odd powers, the highest first."""
    return sum(each * z ** (2 * power + 1) for power, each in enumerate(reversed(factors)))


# One answer against one expected answer, 0 to 1


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


def words(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation, in any script.

    In scripts without spaces, such as Chinese and Thai, each letter counts as a word.
    """
    return _word().findall(unicodedata.normalize("NFC", text).casefold())


@cache
def _word() -> re.Pattern[str]:
    every = map(chr, range(0x300, 0xFFFF))
    marks = "".join(each for each in every if unicodedata.category(each)[0] == "M")  # not in \w
    return re.compile(rf"[{UNSPACED}][{marks}]*|(?:(?![{UNSPACED}])[\w{marks}])+")


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
    # The longest common subsequence by Hunt and Szymanski (1977): only pairs of equal words are
    # looked at, which is 20 times as fast as a table of all pairs, and takes linear memory.
    places: dict[str, list[int]] = {}
    for at, word in enumerate(wanted):
        places.setdefault(word, []).append(at)
    ends: list[int] = []  # where the earliest common subsequence of 1, 2, 3 … words ends
    for word in given:
        for at in reversed(places.get(word, [])):
            longer = bisect_left(ends, at)
            ends[longer : longer + 1] = [at]
    return 2 * len(ends) / (len(wanted) + len(given))


def all_json(texts: Sequence[str]) -> bool:
    """Whether every text is a JSON object or list; a bare number or word does not count."""
    return bool(texts) and all(isinstance(_parsed(text), dict | list) for text in texts)


def _json_valid(expected: str, answer: str) -> float:
    return float(isinstance(_parsed(answer), dict | list))


def _json_shape(expected: str, answer: str) -> float:
    return float(_shape(_parsed(expected)) == _shape(_parsed(answer)))


def _shape(value: Any) -> Any:
    """Keys and types without the values; for a list, the shapes that occur in it."""
    if isinstance(value, dict):
        return {key: _shape(each) for key, each in value.items()}
    if isinstance(value, list):
        return sorted({repr(_shape(each)) for each in value})
    return "number" if type(value) in (int, float) else type(value).__name__


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _sacre(pairs: Sequence[tuple[str, str]]) -> tuple[list[float], list[list[int]]]:
    """chrF of each row, and the counts that BLEU of all rows is computed from."""
    from sacrebleu import BLEU, CHRF

    bleu, chrf = BLEU(effective_order=True), CHRF()
    ngrams = []
    for expected, answer in pairs:
        found = bleu.sentence_score(answer, [expected])
        ngrams.append([found.sys_len, found.ref_len, *found.counts, *found.totals])
    return [chrf.sentence_score(text, [wanted]).score / 100 for wanted, text in pairs], ngrams


def _bleu(ngrams: Floats) -> float:
    from sacrebleu import BLEU

    answer, expected, *counts = ngrams.astype(int).tolist()
    found = BLEU.compute_bleu(
        counts[:4], counts[4:], answer, expected, smooth_method="exp", effective_order=True
    )
    return float(found.score)
