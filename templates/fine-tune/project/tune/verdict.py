"""Decides whether the tuned model is better, and how certain that is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tune.metrics import METRICS, Floats, Interval, Scores, all_json, words

FEW = 20  # rows that prove little
# Rows on which two systems must differ: with fewer, even winning all of them happens by chance more
# often than once in 20 times, and the bootstrap, which draws only from these rows, is too narrow.
LEAST = 6
SHORT = 5  # words; an answer of no more is right or wrong as a whole
SURE = 1.96 + 0.84  # standard errors: seen in 4 of 5 evaluations, at 95 % confidence

Word = Literal["better", "no proof", "worse"]


@dataclass(frozen=True)
class Verdict:
    """One word, one sentence, and notes."""

    word: Word
    why: str
    notes: tuple[str, ...] = ()


def headline(expected: Sequence[str]) -> tuple[str, str]:
    """The metric that decides, and why it fits these answers."""
    if all_json(expected):
        return "exact_match", "the expected answers are JSON: a value is right or wrong"
    short = sum(len(words(text)) <= SHORT for text in expected)
    if short >= 0.9 * len(expected):
        return "exact_match", f"the expected answers are short: {SHORT} words at most"
    return "rouge_l", "the expected answers are sentences, which can be right in different words"


def judge(metric: str, systems: Mapping[str, Scores], ahead: Interval) -> Verdict:
    """Whether "tuned" beats "base"; `ahead` is the difference of the headline metric in points."""
    tuned, base = (systems[name].rows[metric] for name in ("tuned", "base"))
    rows, differ = len(tuned), apart(tuned - base)
    found = decide(ahead, differ)
    against = f"{_figure(metric, tuned.mean())} against {points(base.mean())}"
    against += " %" if metric == "exact_match" else ""
    on = f"on {rows:,} row{'s' if rows != 1 else ''}"
    if found == "better":
        why = f"Better: {against}, a gain of {_range(ahead.low, ahead.high)} points {on}."
    elif found == "worse":
        why = f"Worse: {against}, a loss of {_range(-ahead.high, -ahead.low)} points {on}."
    else:
        but = "it may be chance"
        if ahead.low > 0 or ahead.high < 0:
            but += f", as they differ on only {differ} of them"
        spread = f"{signed(ahead.low)} to {signed(ahead.high)}"
        why = f"No proof: {against}, a difference of {spread} points {on}: {but}."
    return Verdict(found, why, _notes(found, tuned - base))


def apart(differences: Floats) -> int:
    """The number of rows on which two systems differ."""
    return int(np.count_nonzero(differences))


def decide(ahead: Interval, differ: int) -> Word:
    """The verdict on a difference in points that comes from `differ` rows.

    No proof unless the whole interval is on one side of 0, and enough rows differ.
    """
    if differ >= LEAST and ahead.low > 0:
        return "better"
    return "worse" if differ >= LEAST and ahead.high < 0 else "no proof"


def needed(differences: Floats) -> int | None:
    """How many rows would show a difference of this size, if it is real; None if it is 0."""
    mean, spread = float(np.mean(differences)), float(np.std(differences))
    if abs(mean) < 1e-9:
        return None
    rows = math.ceil((SURE * spread / mean) ** 2)
    return max(rows, len(differences) + 1, LEAST)


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


def _figure(metric: str, value: float) -> str:
    if metric == "exact_match":
        return f"{points(value)} % {spoken(metric)}"
    return f"{spoken(metric)} {points(value)}"


def _range(low: float, high: float) -> str:
    return points(low) if points(low) == points(high) else f"{points(low)} to {points(high)}"


def _notes(found: Word, differences: Floats) -> tuple[str, ...]:
    rows, notes = len(differences), []
    if rows < FEW:
        notes.append(f"{rows} row{'s prove' if rows != 1 else ' proves'} little: add test rows.")
    if found == "no proof":
        enough = needed(differences)
        mean = points(abs(float(np.mean(differences))))
        notes.append(
            f"If the difference of {mean} points is real, about {rounded(enough):,} rows would "
            "show it."
            if enough
            else "Both do equally well on these rows: more rows of this kind will not change that."
        )
    return tuple(notes)


def rounded(rows: int) -> int:
    """A number of rows, rounded up to two significant digits."""
    unit = int(10 ** max(0, len(str(rows)) - 2))
    return -(-rows // unit) * unit
