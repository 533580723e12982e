"""How good answers are, in figures, and how sure the figures are. Needs no PyTorch."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tune import tone

Floats = npt.NDArray[np.float64]

RESAMPLES = 2000
SEED = 0  # the same answers always give the same intervals


class Metric(NamedTuple):
    """What people read of a metric. All run from 0 to 100, and more is better."""

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
    """A mean, and between which bounds it lies with 95 % confidence."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Scores:
    """One system's answers, measured row by row (0 to 100)."""

    rows: dict[str, Floats]
    ngrams: npt.NDArray[np.int64] = field(repr=False)  # rows × 10: what BLEU is computed from

    def first(self, count: int) -> Scores:
        """Those of the first rows alone."""
        rows = {name: values[:count] for name, values in self.rows.items()}
        return Scores(rows, self.ngrams[:count])

    def of(self, weights: Floats) -> dict[str, Floats]:
        """Each metric, once for each line of `weights` (how often every row counts)."""
        found = {name: weights @ rows / weights.sum(axis=1) for name, rows in self.rows.items()}
        found["bleu"] = np.array([_bleu(total) for total in weights @ self.ngrams])
        return {name: found[name] for name in METRICS if name in found}


def score(expected: Sequence[str], answers: Sequence[str]) -> Scores:
    """Measure answers against what was expected. JSON is looked for where all expected is JSON."""
    pairs = list(zip(expected, answers, strict=True))
    metrics: dict[str, Any] = {"exact_match": exact_match, "token_f1": token_f1}
    metrics |= {"in_tone": tone.in_tone}
    if all_json(expected):
        metrics |= {"json_valid": _json_valid, "json_shape": _json_shape}
    rows = {name: [measure(*pair) for pair in pairs] for name, measure in metrics.items()}
    rows["rouge_l"], (rows["chrf"], ngrams) = _rouge_l(pairs), _sacre(pairs)
    floats = {name: 100 * np.array(values, dtype=float) for name, values in rows.items()}
    return Scores(floats, np.array(ngrams))


def intervals(scores: Scores) -> dict[str, Interval]:
    """Each metric, with the bounds that hold in 95 of 100 resamplings of the rows."""
    rows = len(scores.ngrams)
    return _bounds(scores.of(np.ones((1, rows))), scores.of(resamples(rows)))


def differences(ours: Scores, theirs: Scores) -> dict[str, Interval]:
    """How many points ours is ahead, row by row: a paired bootstrap (Koehn 2004).

    Both systems are resampled with the same rows, so hard rows do not blur the difference.
    """
    rows = len(ours.ngrams)

    def ahead(weights: Floats) -> dict[str, Floats]:
        other = theirs.of(weights)
        return {name: values - other[name] for name, values in ours.of(weights).items()}

    return _bounds(ahead(np.ones((1, rows))), ahead(resamples(rows)))


def resamples(rows: int) -> Floats:
    """How often each row is drawn, when as many rows are drawn as there are, with replacement."""
    return np.random.default_rng(SEED).multinomial(rows, [1 / rows] * rows, RESAMPLES).astype(float)


def interval(values: Sequence[float]) -> Interval:
    """The mean of one value for each row, with its bounds."""
    rows = np.array(values, dtype=float)
    means = resamples(len(rows)) @ rows / len(rows)
    return _bounds({"": rows.mean(keepdims=True)}, {"": means})[""]


def _bounds(once: dict[str, Floats], often: dict[str, Floats]) -> dict[str, Interval]:
    found = {}
    for name, values in often.items():
        low, high = np.percentile(values, [2.5, 97.5])
        found[name] = Interval(*(round(float(x), 4) for x in (once[name][0], low, high)))
    return found


# One answer against one expected answer, 0 to 1


def exact_match(expected: str, answer: str) -> float:
    """Whether both are the same text but for space, or the same JSON value."""
    return float(normal(expected) == normal(answer))


def normal(text: str) -> str:
    """A text as it is compared: JSON without its layout, else one space between words."""
    text = unicodedata.normalize("NFC", text).strip()
    try:
        # Not the values themselves: in Python, true equals 1
        return json.dumps(json.loads(text), sort_keys=True)
    except (ValueError, RecursionError):
        return " ".join(text.split())


def words(text: str) -> list[str]:
    """The words of a text in small letters, without punctuation, in any script."""
    return re.findall(r"\w+", unicodedata.normalize("NFC", text).casefold())


def token_f1(expected: str, answer: str) -> float:
    """The words that both share (Rajpurkar et al. 2016). Articles count: not all is English."""
    wanted, given = words(expected), words(answer)
    shared = sum((Counter(wanted) & Counter(given)).values())
    if not wanted or not given:
        return float(wanted == given)
    return 2 * shared / (len(wanted) + len(given))


def all_json(texts: Sequence[str]) -> bool:
    """Whether every text is a JSON object or list; a bare number or word does not count."""
    return bool(texts) and all(isinstance(_parsed(text), dict | list) for text in texts)


def _json_valid(expected: str, answer: str) -> float:
    return float(isinstance(_parsed(answer), dict | list))


def _json_shape(expected: str, answer: str) -> float:
    return float(_shape(_parsed(expected)) == _shape(_parsed(answer)))


def _shape(value: Any) -> Any:
    """Keys and types without the values; of a list, the shapes that occur in it."""
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


class _Words:
    """How rouge-score is to find words: its own way knows the letters a to z alone."""

    def tokenize(self, text: str) -> list[str]:
        return words(text)


def _rouge_l(pairs: Sequence[tuple[str, str]]) -> list[float]:
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], tokenizer=_Words())
    return [scorer.score(*pair)["rougeL"].fmeasure for pair in pairs]


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
