"""The quiz: the questions of quiz.jsonl, and how an answer compares with the course's own."""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass

from plumbing.retries import ModelUnavailable
from rag import keywords, llm, prompts
from rag.passages import Passage
from rag.settings import ROOT, SETTINGS, Settings

LANGUAGE = "english"  # the course's: an answer of two words is too short to guess it from
FILLER = set(keywords.stems("another because can must one those while whose yet", LANGUAGE))
VERDICTS = ((0.6, "Looks right"), (0.3, "Partly there"), (0.0, "Not yet"))  # by share of words
UNREAD = "Compared word by word with the course's answer; no model has read yours."


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


def mark(card: Card, said: str) -> tuple[str, list[str]]:
    """A verdict, and the words that are missing. To repeat the question is no answer."""
    given, told = (set(keywords.stems(text, LANGUAGE)) for text in (card.question, said))
    wanted = set(keywords.content(card.answer, LANGUAGE)) - given - FILLER
    share = len(wanted & told) / len(wanted)
    words = dict.fromkeys(re.findall(r"\w+", card.answer))
    missing = [word for word in words if (wanted - told) & set(keywords.stems(word, LANGUAGE))]
    return next(verdict for least, verdict in VERDICTS if share >= least), missing


def passage(card: Card, settings: Settings = SETTINGS) -> Passage | None:
    """The passage of the card's document that fits best; None if it is not indexed."""
    try:
        hits = keywords.search(settings.index, f"{card.question} {card.answer}", 50)
        found = keywords.fetch(settings.index, [hit.id for hit in hits])
    except keywords.Damaged:  # the chat says what to do
        return None
    return next((each for each in found if each.source == card.source), None)


def comment(card: Card, said: str, settings: Settings = SETTINGS) -> str:
    """What the model says to an answer, or plainly that none has read it."""
    if settings.provider == "offline":
        return UNREAD
    said = said.replace("<", "‹")  # it must not step out of its tag
    text = prompts.QUIZ.format(question=card.question, answer=card.answer, said=said)
    try:
        pieces = llm.chat([{"role": "user", "content": text}], settings)
        return f"{settings.chat}: {''.join(piece.text for piece in pieces).strip()}"
    except ModelUnavailable as error:
        return f"{error} {UNREAD}"
