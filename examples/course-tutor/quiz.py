"""The quiz: its questions (quiz.jsonl), and the comparison of answers with the course's own."""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass

from plumbing.retries import ModelUnavailable
from rag import bm25, llm, prompts
from rag.chunks import Chunk
from rag.settings import ROOT, SETTINGS, Settings
from rag.text import content, stems

LANGUAGE = "english"  # of the course; a short answer is not enough to guess it from
FILLER = set(stems("another because can must one those while whose yet", LANGUAGE))
VERDICTS = ((0.6, "Looks right"), (0.3, "Partly there"), (0.0, "Not yet"))  # minimum share
NOT_READ = "Compared word by word with the course's answer; no model has read yours."


@dataclass(frozen=True)
class Card:
    """A question, the course's answer, and the document that it comes from."""

    question: str
    answer: str
    source: str


def deck() -> list[Card]:
    """All cards, shuffled."""
    lines = (ROOT / "quiz.jsonl").read_text(encoding="utf-8").splitlines()
    return [Card(**json.loads(line)) for line in random.sample(lines, len(lines))]


def mark(card: Card, answer: str) -> tuple[str, list[str]]:
    """A verdict, and the missing words. Words of the question do not count."""
    asked, present = (set(stems(text, LANGUAGE)) for text in (card.question, answer))
    expected = set(content(card.answer, LANGUAGE)) - asked - FILLER
    share = len(expected & present) / len(expected)
    words = dict.fromkeys(re.findall(r"\w+", card.answer))
    absent = expected - present
    missing = [word for word in words if absent & set(stems(word, LANGUAGE))]
    return next(verdict for least, verdict in VERDICTS if share >= least), missing


def retrieve(card: Card, settings: Settings = SETTINGS) -> Chunk | None:
    """The best chunk from the card's document; None if it is not indexed."""
    try:
        ids = bm25.search(settings.index, f"{card.question} {card.answer}", 50)
        found = bm25.fetch(settings.index, ids)
    except bm25.IndexCorrupted:  # the chat shows how to fix it
        return None
    return next((each for each in found if each.source == card.source), None)


def comment(card: Card, answer: str, settings: Settings = SETTINGS) -> str:
    """The model's comment on an answer, or a note that no model has read it."""
    if settings.provider == "offline":
        return NOT_READ
    answer = answer.replace("<", "‹")  # it must not be able to close its tag
    text = prompts.QUIZ.format(question=card.question, answer=card.answer, given=answer)
    try:
        pieces = llm.chat([{"role": "user", "content": text}], settings)
        return f"{settings.chat}: {''.join(piece.text for piece in pieces).strip()}"
    except ModelUnavailable as error:
        return f"{error} {NOT_READ}"
