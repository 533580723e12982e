"""The only file that calls remote models: Mistral's API, or your own server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from plumbing.retries import polite_errors, retry
from tune.rows.row import Message
from tune.settings import SETTINGS, Settings

if TYPE_CHECKING:  # imported at the first call, so that the app starts faster
    from mistralai.client import Mistral
    from openai import OpenAI

CONNECT = 5  # seconds, the connect timeout


def chat(
    messages: Sequence[Message], settings: Settings = SETTINGS, model: str = ""
) -> Iterator[str]:
    """Stream the answer of `model` (by default the one in the settings).

    Raises plumbing.retries.ModelUnavailable, before the first token or after it.
    """
    model = model or settings.chat
    start = _ask_server if settings.provider == "server" else _ask_mistral
    with polite_errors(model, settings):
        yield from retry(partial(start, messages, settings, model), model, settings)


def api(settings: Settings = SETTINGS) -> Settings | None:
    """The settings for Mistral's API, even if a server is set; None without a key."""
    if settings.provider == "server":
        settings = settings.model_copy(update={"llm_base_url": ""})
    return settings if settings.provider == "mistral" else None


def prepare(settings: Settings = SETTINGS) -> None:
    """Create the clients in advance, so that the first question is not slower."""
    if settings.provider == "server":
        _server(settings)
    if online := api(settings):
        _mistral(online)


def _ask_mistral(messages: Sequence[Message], settings: Settings, model: str) -> Iterator[str]:
    events: Any = _mistral(settings).chat.stream(
        model=model,
        messages=list(messages),  # type: ignore[arg-type]
        temperature=settings.temperature,
        max_tokens=settings.max_tokens,
    )
    return _words(_whole(events), events.close)


def _whole(events: Iterator[Any]) -> Iterator[Any]:
    """The stream's chunks. Without a finish reason, the connection was dropped."""
    finished = False
    for event in events:
        finished = finished or any(choice.finish_reason for choice in event.data.choices)
        yield event.data
    if not finished:
        raise ConnectionError("the stream ended early")


@cache
def _mistral(settings: Settings) -> Mistral:
    from httpx2 import Client, Request, Response
    from mistralai.client import Mistral

    def shorten(request: Request) -> None:  # the SDK has one timeout for everything
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


# Your own server. OpenAI's client is less strict: local servers leave out fields (finish_reason,
# ids, usage) that Mistral's SDK requires.


def _ask_server(messages: Sequence[Message], settings: Settings, model: str) -> Iterator[str]:
    chunks: Any = _server(settings).chat.completions.create(
        model=model,
        messages=list(messages),  # type: ignore[arg-type]
        temperature=settings.temperature,
        max_tokens=settings.max_tokens,
        stream=True,
    )
    return _words(_some(chunks), chunks.close)


def _some(chunks: Iterator[Any]) -> Iterator[Any]:
    """The chunks. No chunk at all means that this is no model, but a log-in page or the like."""
    none = True
    for chunk in chunks:
        none = False
        yield chunk
    if none:
        raise ValueError("the response has no chunks")


@cache
def _server(settings: Settings) -> OpenAI:
    from httpx2 import Timeout
    from openai import OpenAI

    key = settings.llm_api_key.get_secret_value().strip() or "none"  # local servers need no key
    timeout = Timeout(settings.timeout, connect=CONNECT)
    return OpenAI(base_url=settings.llm_base_url, api_key=key, timeout=timeout, max_retries=0)


def _words(chunks: Iterator[Any] | Any, close: Callable[[], object]) -> Iterator[str]:
    """The text of each streamed chunk: a string, or a list of parts if the model reasons."""
    try:
        for chunk in chunks:
            for choice in chunk.choices[:1]:
                if words := _text(getattr(choice.delta, "content", None)):
                    yield words
    finally:
        close()


def _text(content: Any) -> str:
    """The text of the answer, without the reasoning."""
    if content is None or isinstance(content, str):
        return content or ""
    parts = (part if isinstance(part, dict) else vars(part) for part in content)
    return "".join(part.get("text") or "" for part in parts)
