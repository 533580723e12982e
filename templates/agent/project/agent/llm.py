"""The only file that chooses a model: the agent's, and the one that summarises."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache, partial

import httpx
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AnyMessage, HumanMessage, get_buffer_string

from agent import offline, prompts
from agent.settings import PRICES, SETTINGS, Settings
from plumbing import retries

log = logging.getLogger(__name__)

CONNECT_SECONDS = 5  # the connect timeout


@cache
def chat_model(settings: Settings = SETTINGS) -> BaseChatModel:
    """The agent's chat model for LangChain; without a key the offline model."""
    if settings.provider == "offline":
        return offline.OfflineModel()
    # Imported here, because it is slow and not needed without a key.
    from langchain_mistralai import ChatMistralAI

    if settings.provider == "server":
        address, key = settings.llm_base_url, settings.llm_api_key
    else:
        address, key = f"{settings.mistral_server_url.rstrip('/')}/v1", settings.mistral_api_key
    secret = key.get_secret_value().strip() or "none"  # local servers need no key
    # Our own client: the default one waits for a connection as long as for an answer.
    client = httpx.Client(
        base_url=address,
        headers={"Authorization": f"Bearer {secret}", "Accept": "application/json"},
        timeout=httpx.Timeout(settings.timeout, connect=min(CONNECT_SECONDS, settings.timeout)),
    )
    return ChatMistralAI(
        model_name=settings.chat,
        api_key=key,
        base_url=address,
        client=client,
        temperature=settings.temperature,
        max_tokens=settings.max_tokens,
        streaming=True,
    )


def cost(tokens_in: int, tokens_out: int, model: str) -> float | None:
    """The price of these tokens in US dollars; None if the model's price is unknown."""
    if model not in PRICES:
        return None
    price_in, price_out = PRICES[model]
    return (tokens_in * price_in + tokens_out * price_out) / 1e6


def summarize(settings: Settings, messages: Sequence[AnyMessage]) -> str:
    """A summary of a conversation that is too long for the model's context window."""
    text = get_buffer_string(messages)
    if settings.provider != "offline":
        data = prompts.marked("conversation", text)
        question = [HumanMessage(prompts.SUMMARY.format(conversation=data))]
        # Not streamed: the summary is not shown to the user.
        model = chat_model(settings).model_copy(update={"streaming": False, "callbacks": None})
        try:
            with retries.polite_errors(settings.chat, settings):
                ask = partial(model.invoke, question)
                return retries.retry(ask, settings.chat, settings).text
        except retries.ModelUnavailable as error:
            log.warning("summarised without the model, because: %s", error)
    return offline.summarize(messages)
