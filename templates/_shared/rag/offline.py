"""The stand-in that answers without a model: it quotes the sentences that fit the question."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rag import prompts
from rag.keywords import content, guess_language
from rag.passages import Passage, sentences

NAME = "offline stand-in"  # shown wherever a model's name would be
QUOTES = 3  # sentences in an answer
ENOUGH = 0.34  # share of the question's words that a passage must hold, or it is no answer
# What one sentence draws from its surroundings, beside its own share of the question's words.
FROM_HEADING, FROM_BEFORE, FROM_QUESTION, FROM_AFTER = 0.5, 0.3, 0.8, 0.15

_FURNITURE = re.compile(r"^\s*(?:[#>]+|[-*+]|\d+[.)])\s+|[*`]+|\b_+|_+\b|\s?\[[\d,; -]+\]")


@dataclass(frozen=True)
class _Sentence:
    text: str
    passage: int  # its number in the answer
    score: float


def answer(question: str, passages: Sequence[Passage]) -> str:
    """The best sentences of the passages with their citations, or a plain "not found"."""
    shares = [_share(question, f"{p.section} {p.text}", guess_language(p.text)) for p in passages]
    enough = max([ENOUGH, *(share * 0.7 for share in shares)])
    rated: list[_Sentence] = []
    for number, (passage, share) in enumerate(zip(passages, shares, strict=True), start=1):
        if share >= enough:
            rated += _rate(question, passage, number)
    best = sorted(rated, key=lambda sentence: -sentence.score)[:QUOTES]
    chosen = [each for each in best if each.score > 0.5 * best[0].score]
    if not chosen:
        return prompts.NOTHING_FOUND
    lines = [f"> {sentence.text} [{sentence.passage}]" for sentence in chosen]
    return "\n\n".join([prompts.STAND_IN, *lines])


def _rate(question: str, passage: Passage, number: int) -> list[_Sentence]:
    """A passage's sentences, each with a score for how well it may answer the question."""
    written = sentences(passage.text)
    texts = [" ".join(_FURNITURE.sub("", text).split()).strip("| ") for text in written]
    language = guess_language(passage.text)  # a sentence alone is too short to tell
    own = [_share(question, text, language) for text in texts]
    heading = FROM_HEADING * _share(question, passage.section, language)
    rated = []
    for i, text in enumerate(texts):
        if text.endswith("?") or len(text.split()) < 3 or written[i].startswith("#"):
            continue  # a question or a heading: it lends its words to the sentence after it
        score = own[i] + heading + FROM_AFTER * (own[i + 1] if i + 1 < len(own) else 0)
        if i:
            score += own[i - 1] * (FROM_QUESTION if texts[i - 1].endswith("?") else FROM_BEFORE)
        rated.append(_Sentence(text, number, score * (1 - 0.05 * number)))
    return rated


def _share(question: str, text: str, language: str) -> float:
    """The share of the question's words that a text holds, 0 to 1."""
    asked, said = set(content(question, language)), set(content(text, language))
    return sum(_holds(said, word) for word in asked) / len(asked) if asked else 0.0


def _holds(said: set[str], word: str) -> bool:
    # A long word also counts at the head of a longer one: Netzwerk, Netzwerkadministratorin.
    return word in said or (len(word) > 4 and any(each.startswith(word) for each in said))
