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
    with polite_errors(model, settings):
        yield from retry(partial(_ask, messages, settings, model), model, settings)


def _ask(messages: Any, settings: ModelSettings, model: str) -> Iterator[Token]:
    wanted: dict[str, Any] = {"model": model, "messages": list(messages)}
    wanted |= {"temperature": settings.temperature, "max_tokens": settings.max_tokens}
    if settings.provider == "server":
        chunks: Any = server(settings).chat.completions.create(**wanted, stream=True)
        return _tokens(chunks, chunks.close, must_finish=False)
    events: Any = mistral(settings).chat.stream(**wanted)
    return _tokens((event.data for event in events), events.close, must_finish=True)


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


def _tokens(
    chunks: Iterator[Any], close: Callable[[], object], must_finish: bool
) -> Iterator[Token]:
    """The text of each streamed chunk; local servers may omit the finish reason."""
    some = finished = False
    try:
        for chunk in chunks:
            some = True
            if usage := getattr(chunk, "usage", None):
                yield Token("", usage.prompt_tokens or 0, usage.completion_tokens or 0)
            for choice in chunk.choices[:1]:
                finished = finished or bool(choice.finish_reason)
                if words := _words(getattr(getattr(choice, "delta", None), "content", None)):
                    yield Token(words)
    finally:
        close()
    if not some:  # this is no model, but a log-in page or the like
        raise ValueError("the response has no chunks")
    if must_finish and not finished:  # the connection was dropped
        raise ConnectionError("the stream ended early")


def _words(content: Any) -> str:
    """The text of the answer: a string, or a list of parts when the model reasons before it."""
    if content is None or isinstance(content, str):
        return content or ""
    parts = (part if isinstance(part, dict) else vars(part) for part in content)
    return "".join(part.get("text") or "" for part in parts)
