"""The only file that calls remote models: Mistral's API, or your own server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from plumbing import clients
from tune.dataset import Message
from tune.settings import SETTINGS, Settings


def chat(
    messages: Sequence[Message], settings: Settings = SETTINGS, model: str = ""
) -> Iterator[str]:
    """Stream the answer of `model` (by default the one in the settings).

    Raises plumbing.retries.ModelUnavailable, before the first token or after it.
    """
    tokens = clients.stream(messages, settings, model or settings.chat)
    return (token.text for token in tokens if token.text)


def api(settings: Settings = SETTINGS) -> Settings | None:
    """The settings for Mistral's API, even if a server is set; None without a key."""
    if settings.provider == "server":
        settings = settings.model_copy(update={"llm_base_url": ""})
    return settings if settings.provider == "mistral" else None


def prepare(settings: Settings = SETTINGS) -> None:
    """Create the clients in advance, so that the first question is not slower."""
    if settings.provider == "server":
        clients.server(settings)
    if online := api(settings):
        clients.mistral(online)
