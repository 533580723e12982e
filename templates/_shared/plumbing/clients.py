"""The two clients for models: Mistral's SDK, and OpenAI's for any server with the same API."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from plumbing.retries import polite_errors, retry
from plumbing.settings import ModelSettings

if TYPE_CHECKING:  # imported on the first call, so that the app starts faster
    from mistralai.client import Mistral
    from openai import OpenAI

CONNECT = 5  # connect timeout, seconds


@dataclass(frozen=True)
class Token:
    """A streamed token; the token counts arrive once, at the end."""

    text: str = ""
    tokens_in: int = 0
    tokens_out: int = 0


def stream(
    messages: Sequence[Mapping[str, object]], settings: ModelSettings, model: str
) -> Iterator[Token]:
    """Stream the model's answer. Raises ModelUnavailable, also in the middle of an answer."""
    start = _ask_server if settings.provider == "server" else _ask_mistral
    with polite_errors(model, settings):
        yield from retry(partial(start, messages, settings, model), model, settings)


def _ask_mistral(messages: Any, settings: ModelSettings, model: str) -> Iterator[Token]:
    events: Any = mistral(settings).chat.stream(
        model=model,
        messages=list(messages),
        temperature=settings.temperature,
        max_tokens=settings.max_tokens,
    )
    return _tokens(_whole(events), events.close)


def _ask_server(messages: Any, settings: ModelSettings, model: str) -> Iterator[Token]:
    chunks: Any = server(settings).chat.completions.create(
        model=model,
        messages=list(messages),
        temperature=settings.temperature,
        max_tokens=settings.max_tokens,
        stream=True,
    )
    return _tokens(_some(chunks), chunks.close)


def client(settings: ModelSettings) -> Mistral | OpenAI:
    """The client for the model. The first call imports it, which takes a moment."""
    return server(settings) if settings.provider == "server" else mistral(settings)


@cache
def mistral(settings: ModelSettings) -> Mistral:
    """The client for Mistral's API."""
    from httpx2 import Client, Request, Response
    from mistralai.client import Mistral

    def shorten(request: Request) -> None:  # the SDK has a single timeout for everything
        request.extensions["timeout"]["connect"] = min(CONNECT, settings.timeout)

    def read_errors(response: Response) -> None:  # the SDK fails on an error without a body
        if response.is_error:
            response.read()

    hooks: Any = {"request": [shorten], "response": [read_errors]}
    return Mistral(
        api_key=settings.mistral_api_key.get_secret_value().strip(),
        server_url=settings.mistral_server_url,
        client=Client(follow_redirects=True, event_hooks=hooks),
        timeout_ms=round(settings.timeout * 1000),
    )


@cache
def server(settings: ModelSettings) -> OpenAI:
    """The client for your own server.

    OpenAI's is less strict: local servers omit fields (finish_reason, ids, usage) that Mistral's
    SDK requires.
    """
    from httpx2 import Timeout
    from openai import OpenAI

    key = settings.llm_api_key.get_secret_value().strip() or "none"  # local servers need no key
    timeout = Timeout(settings.timeout, connect=CONNECT)
    return OpenAI(base_url=settings.llm_base_url, api_key=key, timeout=timeout, max_retries=0)


def _whole(events: Iterator[Any]) -> Iterator[Any]:
    """The chunks of a stream; without a finish reason the connection was dropped."""
    finished = False
    for event in events:
        finished = finished or any(choice.finish_reason for choice in event.data.choices)
        yield event.data
    if not finished:
        raise ConnectionError("the stream ended early")


def _some(chunks: Iterator[Any]) -> Iterator[Any]:
    """The chunks. No chunk at all means that this is no model, but a log-in page or the like."""
    none = True
    for chunk in chunks:
        none = False
        yield chunk
    if none:
        raise ValueError("the response has no chunks")


def _tokens(chunks: Iterator[Any], close: Callable[[], object]) -> Iterator[Token]:
    """The text of each streamed chunk: a string, or a list of parts when the model reasons."""
    try:
        for chunk in chunks:
            if usage := getattr(chunk, "usage", None):
                yield Token("", usage.prompt_tokens or 0, usage.completion_tokens or 0)
            for choice in chunk.choices[:1]:
                if words := _words(getattr(getattr(choice, "delta", None), "content", None)):
                    yield Token(words)
    finally:
        close()


def _words(content: Any) -> str:
    """The text of the answer, without the reasoning before it."""
    if content is None or isinstance(content, str):
        return content or ""
    parts = (part if isinstance(part, dict) else vars(part) for part in content)
    return "".join(part.get("text") or "" for part in parts)
