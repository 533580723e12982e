"""The stand-in that answers without a model: it quotes the sentences that fit the question."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rag import prompts
from rag.keywords import content
from rag.passages import Passage, sentences

NAME = "offline stand-in"  # shown wherever a model's name would be
QUOTES = 3  # sentences in an answer
ENOUGH = 0.4  # the share of the question that the best sentence must cover, or it is no answer
_FURNITURE = re.compile(r"^\s*(?:[#>]+|[-*+]|\d+[.)])\s+|[*_`]{1,3}|^\s*\|?[\s:|-]+\|?\s*$")


@dataclass(frozen=True)
class _Quote:
    text: str
    number: int  # of its passage
    order: int  # its place among all sentences
    score: float  # the share of the question that it covers, 0 to 1


def answer(question: str, passages: Sequence[Passage]) -> str:
    """The best sentences of the passages with their citations, or a plain "not found"."""
    quotes = _rate(question, passages)
    best = sorted(quotes, key=lambda quote: -quote.score)[:QUOTES]
    if not best or best[0].score < ENOUGH:
        return prompts.NOTHING_FOUND
    chosen = [quote for quote in best if quote.score >= best[0].score * 0.6]
    lines = (f"> {quote.text} [{quote.number}]" for quote in sorted(chosen, key=lambda q: q.order))
    return "\n\n".join([prompts.STAND_IN, *lines])


def _rate(question: str, passages: Sequence[Passage]) -> list[_Quote]:
    """Every sentence with the share of the question's words, rare ones counting more, it covers."""
    asked = set(content(question))
    found = []
    for number, passage in enumerate(passages, start=1):
        around = set(content(passage.section))
        for text in sentences(passage.text):
            plain = " ".join(_FURNITURE.sub("", text).split())
            words = set(content(plain))
            if len(words) > 2 and not text.startswith("#"):
                found.append((plain, number, asked & words, asked & around - words))
    often = Counter(word for *_, said, _ in found for word in said)
    weight = {word: math.log(1 + len(found) / (1 + often[word])) for word in asked}
    whole = sum(weight.values()) or 1.0

    def share(said: set[str], around: set[str]) -> float:
        return (sum(weight[w] for w in said) + 0.5 * sum(weight[w] for w in around)) / whole

    return [
        _Quote(text, number, order, share(said, around) * (1 - 0.02 * number))
        for order, (text, number, said, around) in enumerate(found)
    ]
