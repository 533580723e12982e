"""The offline fallback without a model: quotes the answer of the most similar training row."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from tune.dataset import Example, last_words

MOST = 5_000  # rows that are searched
LETTERS = range(3, 6)  # length of n-grams: "delivered" matches "delivery", "lampe" matches "lamp"


class Nearest:
    """Search over the questions of training rows (TF-IDF of character n-grams, cosine)."""

    def __init__(self, rows: Iterable[Example]) -> None:
        self.rows = list(islice(rows, MOST))
        counted = [Counter(ngrams(last_words(row.question))) for row in self.rows]
        seen = Counter(ngram for each in counted for ngram in each)
        self.idf = {ngram: math.log(1 + len(counted) / rows) for ngram, rows in seen.items()}
        self.places: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
        for place, each in enumerate(counted):
            for ngram, weight in self._weights(each):
                self.places[ngram].append((place, weight))

    def find(self, question: str) -> Example | None:
        """The row with the most similar question; None if no row shares an n-gram with it."""
        scores: defaultdict[int, float] = defaultdict(float)
        for ngram, weight in self._weights(Counter(ngrams(question))):
            for place, other in self.places[ngram]:
                scores[place] += weight * other
        best = max(scores, key=lambda place: (scores[place], -place), default=None)
        return None if best is None else self.rows[best]

    def _weights(self, counts: Mapping[str, int]) -> Iterator[tuple[str, float]]:
        """Each known n-gram with its TF-IDF weight, as a vector of length 1."""
        known = ((ngram, count) for ngram, count in counts.items() if ngram in self.idf)
        weights = {ngram: (1 + math.log(count)) * self.idf[ngram] for ngram, count in known}
        length = math.hypot(*weights.values())
        return ((ngram, weight / length) for ngram, weight in weights.items())


def ngrams(text: str) -> Iterator[str]:
    """The character n-grams of a text's words; a space marks the start and end of a word."""
    for word in re.findall(r"\w+", text.casefold()):
        whole = f" {word} "
        for size in LETTERS:
            yield from (whole[start : start + size] for start in range(len(whole) - size + 1))
