"""Retrieval and answer, the whole app on one screen: search, prompt, model, citations."""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from plumbing import clients
from plumbing.retries import ModelUnavailable
from rag import bm25, llm, offline, prompts
from rag.chunks import Chunk, Citation
from rag.settings import SETTINGS, Settings

log = logging.getLogger(__name__)

DEPTH = 50  # hits of each search that are fused
RANK_OFFSET = 10  # k of reciprocal rank fusion (Cormack et al., 2009); measured
HISTORY = 6  # earlier messages that the model sees
FOLLOW_UP_WORDS = 4  # a question this short is searched with the previous one
QUESTION_CHARS = 8000  # a longer question is cut
CORRUPTED = "The index is damaged. To rebuild it, restart the app or press “Read docs/ again”."


@dataclass(frozen=True)
class Retrieved:
    """A chunk and its score: higher is better, only the order matters."""

    chunk: Chunk
    score: float


@dataclass(frozen=True)
class Answer:
    """The answer so far. `notice` says why it is an offline answer although a model is set."""

    text: str
    citations: tuple[Citation, ...] = ()
    model: str = offline.NAME
    seconds: float = 0.0
    notice: str = ""
    tokens_in: int = 0
    tokens_out: int = 0


# Retrieval: BM25 and dense search, fused


def retrieve(question: str, limit: int = 0, settings: Settings = SETTINGS) -> list[Retrieved]:
    """The best chunks for a question, best first; any text is a valid question.

    The ranks of both searches are combined by weight (reciprocal rank fusion). Raises
    bm25.IndexCorrupted.
    """
    folder, scores = settings.index, dict[str, float]()
    bm25_weight, dense_weight = settings.weights
    searches = (
        (bm25_weight, bm25.search(folder, question, DEPTH)),
        (dense_weight, _dense(question, settings)),
    )
    for weight, ids in searches:
        for rank, name in enumerate(ids, start=1):
            scores[name] = scores.get(name, 0.0) + weight / (RANK_OFFSET + rank)
    best = sorted(scores, key=lambda id: -scores[id])[: limit or settings.top_k]
    return [Retrieved(chunk, scores[chunk.id]) for chunk in bm25.fetch(folder, best)]


def _dense(question: str, settings: Settings) -> list[str]:
    if not settings.embedder or not question.strip():
        return []
    from rag import vector_store

    try:
        [[vector]] = llm.embed([question[:QUESTION_CHARS]], settings)
        return vector_store.search(settings.index, vector, DEPTH)
    except ModelUnavailable:
        return []  # already logged; keyword search still works
    except Exception as error:  # the app must work even with a damaged store
        log.warning("the vector store failed, using keywords: %s: %s", type(error).__name__, error)
        return []


# Answer: chunks → prompt → model (or offline answer) → text with citations


def answer(
    question: str, history: Sequence[prompts.Message] = (), settings: Settings = SETTINGS
) -> Answer:
    """The complete answer, without streaming."""
    return list(stream(question, history, settings))[-1]


def stream(
    question: str, history: Sequence[prompts.Message] = (), settings: Settings = SETTINGS
) -> Iterator[Answer]:
    """Stream the answer; the last one is complete. Never raises for a model or a damaged index."""
    started, question = time.perf_counter(), question.strip()[:QUESTION_CHARS]
    if not question:
        yield Answer(prompts.NO_QUESTION)
        return
    try:
        found = retrieve(with_context(question, history), 0, settings)
    except bm25.IndexCorrupted as error:
        log.warning("the index is damaged: %s", error)
        yield Answer(CORRUPTED)
        return
    for step in _steps(question, [each.chunk for each in found], history, settings):
        yield replace(step, seconds=time.perf_counter() - started)


def _steps(
    question: str, chunks: list[Chunk], history: Sequence[prompts.Message], settings: Settings
) -> Iterator[Answer]:
    """The model's answer; if the model fails, the offline answer with a notice."""
    notice = ""
    if settings.provider != "offline":
        try:
            yield from _ask(prompts.build(question, chunks, history[-HISTORY:]), chunks, settings)
            return
        except ModelUnavailable as error:
            notice = str(error)
    text, citations = prompts.cited(offline.answer(question, chunks), chunks)
    yield Answer(text, citations, notice=notice)


def _ask(
    messages: Sequence[prompts.Message], chunks: Sequence[Chunk], settings: Settings
) -> Iterator[Answer]:
    said = Answer("", model=settings.chat)
    raw = ""
    for piece in llm.chat(messages, settings):
        raw += piece.text
        text, citations = prompts.cited(raw, chunks, whole=False)
        said = replace(said, text=text, citations=citations,
                       tokens_in=said.tokens_in + piece.tokens_in,
                       tokens_out=said.tokens_out + piece.tokens_out)  # fmt: skip
        yield said
    text, citations = prompts.cited(raw, chunks)
    if not text.strip():
        raise ModelUnavailable("The model returned an empty answer.")
    yield replace(said, text=text, citations=citations)


def with_context(question: str, history: Sequence[prompts.Message]) -> str:
    """Add the previous question to a short follow-up ("and the second one?")."""
    if len(question.split()) > FOLLOW_UP_WORDS:
        return question
    earlier = [turn["content"] for turn in history if turn["role"] == "user"]
    return " ".join([question, *earlier[-1:]])


def warm_up(settings: Settings = SETTINGS) -> None:
    """Import the model's client and open the store, so that the first question is fast, too."""
    if settings.provider != "offline":
        clients.client(settings)
    if settings.embedder:
        from rag import vector_store

        vector_store.count(settings.index)
