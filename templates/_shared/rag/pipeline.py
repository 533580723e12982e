"""The whole app on one screen: search the documents, answer from what was found."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from plumbing.retries import ModelUnavailable
from rag import keywords, llm, offline, prompts
from rag.passages import Citation, Hit, Passage
from rag.settings import SETTINGS, Settings

log = logging.getLogger(__name__)

DEPTH = 50  # hits of each half of search that are fused
RANK_OFFSET = 10  # the k of reciprocal rank fusion (Cormack and others, 2009), by measurement
HISTORY = 6  # earlier messages that the model sees
FOLLOW_UP_WORDS = 4  # a question this short is searched together with the one before it
QUESTION_CHARS = 8000  # what a model reads of a question
DAMAGED = "The index is damaged. Restart the app, or press “Read docs/ again”: it is made anew."


@dataclass(frozen=True)
class Found:
    """A passage and how well it fits the question: higher is better, only the order counts."""

    passage: Passage
    score: float


@dataclass(frozen=True)
class Answer:
    """The answer so far. `notice` says why the stand-in speaks when a model should have."""

    text: str
    citations: tuple[Citation, ...] = ()
    model: str = offline.NAME
    seconds: float = 0.0
    notice: str = ""
    tokens_in: int = 0
    tokens_out: int = 0


# Search: by words and by meaning, fused


def search(question: str, limit: int = 0, settings: Settings = SETTINGS) -> list[Found]:
    """The passages that fit a question best, best first; any text is a valid question.

    Both halves rank, and the ranks are added up by weight: reciprocal rank fusion. Raises
    keywords.Damaged.
    """
    folder, scores = settings.index, dict[str, float]()
    halves = (
        (settings.keyword_weight, keywords.search(folder, question, DEPTH)),
        (settings.meaning_weight, _by_meaning(question, settings)),
    )
    for weight, hits in halves:
        for rank, hit in enumerate(hits, start=1):
            scores[hit.id] = scores.get(hit.id, 0.0) + weight / (RANK_OFFSET + rank)
    best = sorted(scores, key=lambda id: -scores[id])[: limit or settings.passages]
    return [Found(passage, scores[passage.id]) for passage in keywords.fetch(folder, best)]


def _by_meaning(question: str, settings: Settings) -> list[Hit]:
    if not settings.embedder or not question.strip():
        return []
    from rag import store

    try:
        [[vector]] = llm.embed([question[:QUESTION_CHARS]], settings)
        return store.search(settings.index, vector, DEPTH)
    except ModelUnavailable:
        return []  # logged where it happened; the keywords alone still find
    except Exception as error:  # a damaged store must not take the demo down
        log.warning("the vector store failed, keywords alone: %s: %s", type(error).__name__, error)
        return []


# Answer: passages → prompt → model (or the stand-in) → text with citations


def answer(
    question: str, history: Sequence[prompts.Message] = (), settings: Settings = SETTINGS
) -> Answer:
    """The whole answer at once."""
    return list(stream(question, history, settings))[-1]


def stream(
    question: str, history: Sequence[prompts.Message] = (), settings: Settings = SETTINGS
) -> Iterator[Answer]:
    """The answer as it grows; the last one is whole. No model and no damage makes it raise."""
    started = time.perf_counter()
    question, notice = question.strip()[:QUESTION_CHARS], ""
    if not question:
        yield Answer(prompts.NO_QUESTION)
        return
    try:
        found = search(_with_context(question, history), 0, settings)
    except keywords.Damaged as error:
        log.warning("the index is damaged: %s", error)
        yield Answer(DAMAGED)
        return
    passages = [each.passage for each in found]
    if settings.provider != "offline":
        messages = prompts.build(question, passages, history[-HISTORY:])
        try:
            for step in _ask(messages, passages, settings):
                yield replace(step, seconds=time.perf_counter() - started)
            return
        except ModelUnavailable as error:
            notice = str(error)
    text, citations = prompts.cited(offline.answer(question, passages), passages)
    yield Answer(text, citations, seconds=time.perf_counter() - started, notice=notice)


def _ask(
    messages: Sequence[prompts.Message], passages: Sequence[Passage], settings: Settings
) -> Iterator[Answer]:
    said = Answer("", model=settings.chat)
    raw = ""
    for piece in llm.chat(messages, settings):
        raw += piece.text
        text, citations = prompts.cited(raw, passages, whole=False)
        said = replace(said, text=text, citations=citations,
                       tokens_in=said.tokens_in + piece.tokens_in,
                       tokens_out=said.tokens_out + piece.tokens_out)  # fmt: skip
        yield said
    text, citations = prompts.cited(raw, passages)
    if not text.strip():
        raise ModelUnavailable("The model had nothing to say.")
    yield replace(said, text=text, citations=citations)


def _with_context(question: str, history: Sequence[prompts.Message]) -> str:
    """A short follow-up ("and the second one?") is searched together with what it follows."""
    if len(question.split()) > FOLLOW_UP_WORDS:
        return question
    earlier = [turn["content"] for turn in history if turn["role"] == "user"]
    return " ".join([question, *earlier[-1:]])


def warm_up(settings: Settings = SETTINGS) -> None:
    """Load what the first question needs, so that it is as fast as the second."""
    if settings.provider != "offline":
        llm.client(settings)
    if settings.embedder:
        from rag import store

        store.count(settings.index)
