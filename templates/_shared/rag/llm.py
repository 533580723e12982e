"""Chooses the models, here only: one for chat, one for embeddings."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from plumbing import clients
from plumbing.clients import Token, stream
from plumbing.retries import polite_errors, retry
from rag.chunks import Vector
from rag.prompts import Message
from rag.settings import SETTINGS, Settings

BATCH_CHARS = 24_000  # below the API's 16,384 tokens per request, in the languages we tried
BATCH_TEXTS = 64


def chat(messages: Sequence[Message], settings: Settings = SETTINGS) -> Iterator[Token]:
    """Stream the model's answer. Raises ModelUnavailable, also in the middle of an answer."""
    return stream(messages, settings, settings.chat)


def embed(
    texts: Sequence[str], settings: Settings = SETTINGS, patience: float | None = None
) -> Iterator[list[Vector]]:
    """Vectors for the texts, in order, one list per request (the API limits its size).

    `patience`: how long one request may wait for the rate limit, in seconds. Raises
    ModelUnavailable.
    """
    # Optional: without embeddings, search uses keywords alone.
    with polite_errors(settings.embedder, settings, optional=True):
        for batch in batches(texts):
            vectors = retry(
                partial(_vectors, batch, settings), settings.embedder, settings, patience
            )
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


def _vectors(texts: Sequence[str], settings: Settings) -> list[Vector]:
    reply: Any
    if settings.provider == "server":
        create = clients.server(settings).embeddings.create
        reply = create(model=settings.embedder, input=list(texts), encoding_format="float")
    else:
        create_ours = clients.mistral(settings).embeddings.create
        reply = create_ours(model=settings.embedder, inputs=list(texts))
    return [list(item.embedding or []) for item in reply.data]
