"""The only file that chooses a model: the one that thinks, and the one that summarises."""

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

CONNECT = 5  # seconds: who does not pick up by then is not there


@cache
def chat_model(settings: Settings = SETTINGS) -> BaseChatModel:
    """The model that thinks, as LangChain knows it; without a key the offline stand-in."""
    if settings.provider == "offline":
        return offline.StandIn()
    # Here, not above: without a key nobody waits for the import.
    from langchain_mistralai import ChatMistralAI

    if settings.provider == "server":
        address, key = settings.llm_base_url, settings.llm_api_key
    else:
        address, key = f"{settings.mistral_server_url.rstrip('/')}/v1", settings.mistral_api_key
    secret = key.get_secret_value().strip() or "none"  # local servers want no key
    # A client of our own: theirs would wait as long for a connection as for an answer.
    client = httpx.Client(
        base_url=address,
        headers={"Authorization": f"Bearer {secret}", "Accept": "application/json"},
        timeout=httpx.Timeout(settings.timeout, connect=min(CONNECT, settings.timeout)),
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
    """What these tokens cost in US dollars; None where the price is not known."""
    if model not in PRICES:
        return None
    price_in, price_out = PRICES[model]
    return (tokens_in * price_in + tokens_out * price_out) / 1e6


def summarize(settings: Settings, messages: Sequence[AnyMessage]) -> str:
    """The talk so far in short, for a conversation that outgrows the model's memory."""
    talk = get_buffer_string(messages)
    if settings.provider != "offline":
        question = [HumanMessage(prompts.SUMMARY.format(talk=prompts.marked("talk", talk)))]
        # Not streamed: its words are no answer to anybody.
        model = chat_model(settings).model_copy(update={"streaming": False, "callbacks": None})
        try:
            with retries.polite_errors(settings.chat, settings):
                ask = partial(model.invoke, question)
                return retries.retry(ask, settings.chat, settings).text
        except retries.ModelUnavailable as error:
            log.warning("summarised without the model: %s", error)
    return offline.summarize(messages)
