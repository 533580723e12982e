"""Calls the models, here only: chat and embeddings, with two clients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from plumbing.retries import polite_errors, retry
from rag.passages import Vector
from rag.prompts import Message
from rag.settings import SETTINGS, Settings

if TYPE_CHECKING:  # imported on the first call, so that the app starts faster
    from mistralai.client import Mistral
    from openai import OpenAI

BATCH_CHARS = 24_000  # below the API's 16,384 tokens per request, in the languages we tried
BATCH_TEXTS = 64
CONNECT = 5  # connect timeout, seconds


@dataclass(frozen=True)
class Piece:
    """A streamed token; the token counts arrive once, at the end."""

    text: str = ""
    tokens_in: int = 0
    tokens_out: int = 0


def chat(messages: Sequence[Message], settings: Settings = SETTINGS) -> Iterator[Piece]:
    """Stream the model's answer. Raises ModelUnavailable, also in the middle of an answer."""
    start = _chat_server if settings.provider == "server" else _chat_mistral
    with polite_errors(settings.chat, settings):
        yield from retry(partial(start, messages, settings), settings.chat, settings)


def embed(
    texts: Sequence[str], settings: Settings = SETTINGS, patience: float | None = None
) -> Iterator[list[Vector]]:
    """Vectors for the texts, in order, one list per request (the API limits its size).

    `patience`: how long one request may wait for the rate limit, in seconds. Raises
    ModelUnavailable.
    """
    call = _embed_server if settings.provider == "server" else _embed_mistral
    # Optional: without embeddings, search uses keywords alone.
    with polite_errors(settings.embedder, settings, optional=True):
        for batch in batches(texts):
            vectors = retry(partial(call, batch, settings), settings.embedder, settings, patience)
            if len(vectors) != len(batch):
                raise ValueError(f"{len(batch)} texts gave {len(vectors)} vectors")
            yield vectors


def batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Split a list of texts into batches that fit into one embedding request."""
    start = size = 0
    for end, text in enumerate(texts):
        if end > start and (size + len(text) > BATCH_CHARS or end - start == BATCH_TEXTS):
            yield texts[start:end]
            start, size = end, 0
        size += len(text)
    if texts:
        yield texts[start:]


# Mistral's API, through its SDK


def _chat_mistral(messages: Sequence[Message], settings: Settings) -> Iterator[Piece]:
    events: Any = _mistral(settings).chat.stream(
        model=settings.chat,
        messages=list(messages),  # type: ignore[arg-type]
        temperature=settings.temperature,
        max_tokens=settings.max_tokens,
    )
    return _pieces(_whole(events), events.close)


def _whole(events: Iterator[Any]) -> Iterator[Any]:
    """The chunks of a stream; without a finish reason the connection was dropped."""
    finished = False
    for event in events:
        finished = finished or any(choice.finish_reason for choice in event.data.choices)
        yield event.data
    if not finished:
        raise ConnectionError("the stream ended early")


def _embed_mistral(texts: Sequence[str], settings: Settings) -> list[Vector]:
    reply = _mistral(settings).embeddings.create(model=settings.embedder, inputs=list(texts))
    return [list(item.embedding or []) for item in reply.data]


def client(settings: Settings = SETTINGS) -> Mistral | OpenAI:
    """The client for the model. The first call imports it, which takes a moment."""
    return _server(settings) if settings.provider == "server" else _mistral(settings)


@cache
def _mistral(settings: Settings) -> Mistral:
    from httpx2 import Client, Request, Response
    from mistralai.client import Mistral

    def shorten(request: Request) -> None:  # the SDK has a single timeout for everything
        request.extensions["timeout"]["connect"] = min(CONNECT, settings.timeout)

    def read_errors(response: Response) -> None:  # the SDK crashes on an error without a body
        if response.is_error:
            response.read()

    hooks: Any = {"request": [shorten], "response": [read_errors]}
    return Mistral(
        api_key=settings.mistral_api_key.get_secret_value().strip(),
        server_url=settings.mistral_server_url,
        client=Client(follow_redirects=True, event_hooks=hooks),
        timeout_ms=round(settings.timeout * 1000),
    )


# Any server with the same API. It gets OpenAI's client, which is less strict: local servers omit
# fields (finish_reason, ids, usage) that Mistral's SDK requires.


def _chat_server(messages: Sequence[Message], settings: Settings) -> Iterator[Piece]:
    chunks: Any = _server(settings).chat.completions.create(
        model=settings.chat,
        messages=list(messages),  # type: ignore[arg-type]
        temperature=settings.temperature,
        max_tokens=settings.max_tokens,
        stream=True,
    )
    return _pieces(chunks, chunks.close)


def _embed_server(texts: Sequence[str], settings: Settings) -> list[Vector]:
    reply = _server(settings).embeddings.create(
        model=settings.embedder, input=list(texts), encoding_format="float"
    )
    return [list(item.embedding) for item in reply.data]


@cache
def _server(settings: Settings) -> OpenAI:
    from httpx2 import Timeout
    from openai import OpenAI

    key = settings.llm_api_key.get_secret_value().strip() or "none"  # local servers need no key
    timeout = Timeout(settings.timeout, connect=CONNECT)
    return OpenAI(base_url=settings.llm_base_url, api_key=key, timeout=timeout, max_retries=0)


def _pieces(chunks: Iterator[Any] | Any, close: Callable[[], object]) -> Iterator[Piece]:
    """The text of each streamed chunk: a string, or a list of chunks when the model reasons."""
    try:
        for chunk in chunks:
            if usage := getattr(chunk, "usage", None):
                yield Piece("", usage.prompt_tokens or 0, usage.completion_tokens or 0)
            if not chunk.choices:
                continue
            delta = getattr(chunk.choices[0], "delta", None)
            if words := _words(getattr(delta, "content", None)):
                yield Piece(words)
    finally:
        close()


def _words(content: Any) -> str:
    """The answer's text, without the reasoning before it."""
    if content is None or isinstance(content, str):
        return content or ""
    parts = (part if isinstance(part, dict) else vars(part) for part in content)
    return "".join(part.get("text") or "" for part in parts)
