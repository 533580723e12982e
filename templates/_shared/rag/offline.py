"""Offline mode: answers without a model, by quoting the sentences that match the question."""

import re
from collections.abc import Sequence

from rag import prompts
from rag.chunks import Chunk
from rag.text import content, guess_language, sentences

NAME = "offline stand-in"  # shown in place of a model's name
QUOTES = 3  # sentences in an answer
ENOUGH = 0.34  # least share of the question's words that a chunk must contain
# How much the text around a sentence adds to its own score.
FROM_HEADING, FROM_BEFORE, FROM_QUESTION, FROM_AFTER = 0.5, 0.3, 0.8, 0.15

_MARKUP = re.compile(r"^\s*(?:[#>]+|[-*+]|\d+[.)])\s+|[*`]+|\b_+|_+\b|\s?\[[\d,; -]+\]")


def answer(question: str, chunks: Sequence[Chunk]) -> str:
    """The best sentences of the chunks with their citations, or "not found"."""
    shares = [_share(question, f"{c.section} {c.text}", guess_language(c.text)) for c in chunks]
    enough = max([ENOUGH, *(share * 0.7 for share in shares)])
    rated: list[tuple[float, str]] = []
    for number, (chunk, share) in enumerate(zip(chunks, shares, strict=True), start=1):
        if share >= enough:
            rated += _rate(question, chunk, number)
    best = sorted(rated, key=lambda each: -each[0])[:QUOTES]
    chosen = [f"> {text}" for score, text in best if score > 0.5 * best[0][0]]
    return "\n\n".join([prompts.OFFLINE_INTRO, *chosen]) if chosen else prompts.NOTHING_FOUND


def _rate(question: str, chunk: Chunk, number: int) -> list[tuple[float, str]]:
    """The sentences of a chunk with their citation, each with a score for the question."""
    written = sentences(chunk.text)
    texts = [" ".join(_MARKUP.sub("", text).split()).strip("| ") for text in written]
    language = guess_language(chunk.text)  # one sentence is too short to guess from
    own = [_share(question, text, language) for text in texts]
    heading = FROM_HEADING * _share(question, chunk.section, language)
    rated = []
    for i, text in enumerate(texts):
        if text.endswith("?") or len(text.split()) < 3 or written[i].startswith("#"):
            continue  # a question or a heading: it only adds to the next sentence
        score = own[i] + heading + FROM_AFTER * (own[i + 1] if i + 1 < len(own) else 0)
        if i:
            score += own[i - 1] * (FROM_QUESTION if texts[i - 1].endswith("?") else FROM_BEFORE)
        rated.append((score * (1 - 0.05 * number), f"{text} [{number}]"))
    return rated


def _share(question: str, text: str, language: str) -> float:
    """The share of the question's words that are in a text, 0 to 1."""
    asked, present = set(content(question, language)), set(content(text, language))
    return sum(_contains(present, word) for word in asked) / len(asked) if asked else 0.0


def _contains(present: set[str], word: str) -> bool:
    # A long word also matches the start of a longer one: Netzwerk, Netzwerkadministratorin.
    return word in present or (len(word) > 4 and any(each.startswith(word) for each in present))
