"""The only file that calls a model: chat and embeddings, with retries and a rate limit."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TypeVar

from rag.passages import Vector
from rag.prompts import Message
from rag.settings import SETTINGS, Settings

if TYPE_CHECKING:  # the real imports wait for the first call: the page is up sooner
    from mistralai.client import Mistral
    from openai import OpenAI

log = logging.getLogger(__name__)
T = TypeVar("T")

BATCH_CHARS = 24_000  # under the API's 16,384 tokens for one request, in any language we met
BATCH_TEXTS = 64
CONNECT = 5  # seconds: who does not pick up by then is not there


class ModelUnavailable(Exception):
    """The model did not answer. The text is fit for an audience; the log has the cause."""


@dataclass(frozen=True)
class Piece:
    """The next words of an answer; the token counts come once, when the server tells them."""

    text: str = ""
    tokens_in: int = 0
    tokens_out: int = 0


def chat(messages: Sequence[Message], settings: Settings = SETTINGS) -> Iterator[Piece]:
    """Stream the model's answer. Raises ModelUnavailable, before the first word or after it."""
    start = _chat_server if settings.provider == "server" else _chat_mistral
    with _polite_errors(settings.chat, settings):
        yield from _retry(partial(start, messages, settings), settings.chat, settings)


def embed(
    texts: Sequence[str], settings: Settings = SETTINGS, patience: float | None = None
) -> Iterator[list[Vector]]:
    """Vectors for the texts, in order, one list for each request that the API's limits allow.

    `patience`: seconds that the rate limit may hold up one request. Raises ModelUnavailable.
    """
    call = _embed_server if settings.provider == "server" else _embed_mistral
    with _polite_errors(settings.embedder, settings):
        for batch in batches(texts):
            vectors = _retry(partial(call, batch, settings), settings.embedder, settings, patience)
            if len(vectors) != len(batch):
                raise ValueError(f"{len(batch)} texts gave {len(vectors)} vectors")
            yield vectors


def batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Cut a list of texts into runs that fit into one embedding request."""
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
    """The stream's chunks; one that ends before the model said so is a dropped connection."""
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
    """The client that talks to the model; the first call imports it, which takes a moment."""
    return _server(settings) if settings.provider == "server" else _mistral(settings)


@cache
def _mistral(settings: Settings) -> Mistral:
    from httpx2 import Client, Request, Response
    from mistralai.client import Mistral

    def shorten(request: Request) -> None:  # the SDK has one time-out for everything
        request.extensions["timeout"]["connect"] = min(CONNECT, settings.timeout)

    def read_errors(response: Response) -> None:  # the SDK trips over an error without a body
        if response.is_error:
            response.read()

    hooks: Any = {"request": [shorten], "response": [read_errors]}
    return Mistral(
        api_key=settings.mistral_api_key.get_secret_value().strip(),
        server_url=settings.mistral_server_url,
        client=Client(follow_redirects=True, event_hooks=hooks),
        timeout_ms=round(settings.timeout * 1000),
    )


# Any server that speaks the same protocol. Its client is the lenient one: local servers leave
# out fields (finish_reason, ids, usage) that Mistral's SDK insists on.


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

    key = settings.llm_api_key.get_secret_value().strip() or "none"  # local servers want no key
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
    """What is meant to be read, without the thoughts before it."""
    if content is None or isinstance(content, str):
        return content or ""
    parts = (part if isinstance(part, dict) else vars(part) for part in content)
    return "".join(part.get("text") or "" for part in parts)


# Retries, the rate limit, and what to say when it fails all the same


def _retry(
    call: Callable[[], T], model: str, settings: Settings, patience: float | None = None
) -> T:
    """Try until it works; pause as the server asks (Retry-After), else longer each time.

    `patience` is for "too many requests"; a server that is not there is given up sooner.
    """
    gate = _gate(settings, model)
    started, pause = time.monotonic(), settings.backoff
    while True:
        gate.wait()
        try:
            return call()
        except Exception as error:
            wait = _retry_after(error, pause)
            longest = patience if patience and _status(error) == 429 else settings.patience
            if not _is_passing(error) or time.monotonic() + wait - started > longest:
                raise
            log.info("%s: trying again in %.1f s (%s)", model, wait, type(error).__name__)
        time.sleep(wait)
        pause = min(2 * pause, 30.0)


class _Gate:
    """Spaces out the requests to one model, and lets it rest after a failure."""

    def __init__(self, interval: float) -> None:
        self.interval, self.next_turn, self.closed_until = interval, 0.0, 0.0
        self.lock = threading.Lock()

    def wait(self) -> None:
        with self.lock:
            turn = max(self.next_turn, time.monotonic())
            self.next_turn = turn + self.interval
        time.sleep(max(0.0, turn - time.monotonic()))


@cache
def _gate(settings: Settings, model: str) -> _Gate:
    limited = settings.provider == "mistral" and settings.requests_per_second
    return _Gate(1 / settings.requests_per_second if limited else 0.0)


@contextmanager
def _polite_errors(model: str, settings: Settings) -> Iterator[None]:
    """Turn whatever goes wrong on the wire into ModelUnavailable, and the cause into the log."""
    gate = _gate(settings, model)
    if time.monotonic() < gate.closed_until:
        raise ModelUnavailable("The model did not answer a moment ago.")
    try:
        yield
    except Exception as error:
        if _is_passing(error):
            away = _status(error) is None  # then the server is, with all its models
            for name in {settings.chat, settings.embedder} if away else {model}:
                _gate(settings, name).closed_until = time.monotonic() + settings.cooldown
        elif model == settings.embedder and _status(error) == 404:
            gate.closed_until = math.inf  # a server without embeddings: keywords have to do
        cause = f"{type(error).__name__}: {error}"
        log.warning("%s failed: %s", model, without_keys(cause, settings))
        raise ModelUnavailable(_say(error, model)) from None


def without_keys(text: str, settings: Settings = SETTINGS) -> str:
    """The text with every API key blotted out (servers do quote a refused key)."""
    for secret in (settings.mistral_api_key, settings.llm_api_key):
        key = secret.get_secret_value().strip()
        text = text.replace(key, "***") if key else text
    return text


def _status(error: Exception) -> int | None:
    # Both SDKs put the HTTP status there; bodies come in several shapes and are not relied on.
    return getattr(error, "status_code", None)


def _is_passing(error: Exception) -> bool:
    """Worth another try: too many requests, the server's own trouble, or no connection."""
    status = _status(error)
    if status is not None:
        return status in {408, 425, 429} or status >= 500
    names = {base.__name__ for base in type(error).__mro__}
    return bool(names & {"TransportError", "APIConnectionError", "OSError"})


def _retry_after(error: Exception, default: float) -> float:
    headers = getattr(error, "headers", None) or getattr(
        getattr(error, "response", None), "headers", {}
    )
    try:
        return max(0.0, float(headers.get("retry-after", default)))
    except ValueError:  # an HTTP date: rare, and the pause serves as well
        return default


def _say(error: Exception, model: str) -> str:
    status = _status(error)
    if status in {401, 403}:
        return "The model refused the API key."
    if status == 429:
        return "The model is busy: too many requests."
    if status is not None and status >= 500:
        return "The model's service has a problem."
    if status is not None and status >= 400:
        return f"The model {model} did not accept the request."
    if _is_passing(error):
        return "The model could not be reached."
    return "The model's answer could not be read."
