"""The only file that calls a model elsewhere: Mistral's API, or a server of your own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from plumbing.retries import polite_errors, retry
from tune.rows.row import Message
from tune.settings import SETTINGS, Settings

if TYPE_CHECKING:  # the real imports wait for the first call: the page is up sooner
    from mistralai.client import Mistral
    from openai import OpenAI

CONNECT = 5  # seconds: who does not pick up by then is not there


def chat(
    messages: Sequence[Message], settings: Settings = SETTINGS, model: str = ""
) -> Iterator[str]:
    """Stream the answer of `model` (else the settings' own), word by word.

    Raises plumbing.retries.ModelUnavailable, before the first word or after it.
    """
    model = model or settings.chat
    start = _ask_server if settings.provider == "server" else _ask_mistral
    with polite_errors(model, settings):
        yield from retry(partial(start, messages, settings, model), model, settings)


def api(settings: Settings = SETTINGS) -> Settings | None:
    """The settings with which `chat` asks Mistral's API, also beside a server; None without key."""
    if settings.provider == "server":
        settings = settings.model_copy(update={"llm_base_url": ""})
    return settings if settings.provider == "mistral" else None


def prepare(settings: Settings = SETTINGS) -> None:
    """Load the clients that will be asked: it takes a moment, which no visitor should wait."""
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
    """The stream's chunks; one that ends before the model said so is a dropped connection."""
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


# A server of your own. Its client is the lenient one: local servers leave out fields
# (finish_reason, ids, usage) that Mistral's SDK insists on.


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
    """The chunks. Not even one: it was no model, but the Wi-Fi's log-in page or the like."""
    none = True
    for chunk in chunks:
        none = False
        yield chunk
    if none:
        raise ValueError("the answer has no part that a model sends")


@cache
def _server(settings: Settings) -> OpenAI:
    from httpx2 import Timeout
    from openai import OpenAI

    key = settings.llm_api_key.get_secret_value().strip() or "none"  # local servers want no key
    timeout = Timeout(settings.timeout, connect=CONNECT)
    return OpenAI(base_url=settings.llm_base_url, api_key=key, timeout=timeout, max_retries=0)


def _words(chunks: Iterator[Any] | Any, close: Callable[[], object]) -> Iterator[str]:
    """The text of each streamed chunk: a string, or a list of chunks when the model reasons."""
    try:
        for chunk in chunks:
            for choice in chunk.choices[:1]:
                if words := _text(getattr(choice.delta, "content", None)):
                    yield words
    finally:
        close()


def _text(content: Any) -> str:
    """What is meant to be read, without the thoughts before it."""
    if content is None or isinstance(content, str):
        return content or ""
    parts = (part if isinstance(part, dict) else vars(part) for part in content)
    return "".join(part.get("text") or "" for part in parts)
