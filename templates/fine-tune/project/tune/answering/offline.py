"""The stand-in where no tuned model can run: it quotes the answer of the nearest training row."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from tune.rows.row import Row, last_words

MOST = 5_000  # rows that are looked through: a stand-in may be small
LETTERS = range(3, 6)  # pieces of so many: "delivered" meets "delivery", "lampe" meets "lamp"


class Nearest:
    """Training rows by the pieces of the words in their question (TF-IDF, cosine)."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.rows = list(islice(rows, MOST))
        counted = [Counter(pieces(last_words(row.question))) for row in self.rows]
        seen = Counter(piece for each in counted for piece in each)
        self.rarity = {piece: math.log(1 + len(counted) / rows) for piece, rows in seen.items()}
        self.places: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
        for place, each in enumerate(counted):
            for piece, weight in self._weights(each):
                self.places[piece].append((place, weight))

    def find(self, question: str) -> Row | None:
        """The row whose question shares the most and the rarest pieces; None where none does."""
        scores: defaultdict[int, float] = defaultdict(float)
        for piece, weight in self._weights(Counter(pieces(question))):
            for place, other in self.places[piece]:
                scores[place] += weight * other
        best = max(scores, key=lambda place: (scores[place], -place), default=None)
        return None if best is None else self.rows[best]

    def _weights(self, counts: Mapping[str, int]) -> Iterator[tuple[str, float]]:
        """Each known piece with its weight; the squares of all weights add up to 1."""
        known = ((piece, count) for piece, count in counts.items() if piece in self.rarity)
        weights = {piece: (1 + math.log(count)) * self.rarity[piece] for piece, count in known}
        length = math.hypot(*weights.values())
        return ((piece, weight / length) for piece, weight in weights.items())


def pieces(text: str) -> Iterator[str]:
    """The pieces of a text's words; a space marks where a word begins and ends."""
    for word in re.findall(r"\w+", text.casefold()):
        whole = f" {word} "
        for size in LETTERS:
            yield from (whole[start : start + size] for start in range(len(whole) - size + 1))
