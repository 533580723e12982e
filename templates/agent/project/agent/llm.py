"""The only file that chooses a model: the agent's, and the one that summarises."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import httpx
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    HumanMessage,
    ToolMessage,
    get_buffer_string,
)
from langchain_core.messages.tool import tool_call

from agent import offline, prompts
from agent.settings import SETTINGS, Settings
from plumbing import retries

log = logging.getLogger(__name__)

CONNECT_SECONDS = 5  # the connect timeout


@cache
def chat_model(settings: Settings = SETTINGS) -> BaseChatModel:
    """The agent's chat model for LangChain; without a key the offline model."""
    if settings.provider == "offline":
        return offline.OfflineModel()
    from langchain_mistralai import ChatMistralAI  # slow to import, and not needed without a key

    if settings.provider == "server":
        address, key = settings.llm_base_url, settings.llm_api_key
    else:
        address, key = f"{settings.mistral_server_url.rstrip('/')}/v1", settings.mistral_api_key
    secret = key.get_secret_value().strip() or "none"  # local servers need no key
    return ChatMistralAI(
        model_name=settings.chat,
        api_key=key,
        base_url=address,
        client=_client(address, secret, settings.timeout),
        temperature=settings.temperature,
        max_tokens=settings.max_tokens,
        streaming=True,
    )


def _client(address: str, secret: str, timeout: float) -> httpx.Client:
    """Our own client: the default one waits for a connection as long as for an answer."""
    return httpx.Client(
        base_url=address,
        headers={"Authorization": f"Bearer {secret}", "Accept": "application/json"},
        timeout=httpx.Timeout(timeout, connect=min(CONNECT_SECONDS, timeout)),
    )


def summarize(settings: Settings, messages: Sequence[AnyMessage]) -> str:
    """A summary of a conversation that is too long for the model's context window."""
    if settings.provider != "offline":
        data = prompts.marked("conversation", get_buffer_string(messages))
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


# Replies, as LangChain's Mistral client returns them


class MalformedCall(Exception):
    """A tool call that cannot be parsed; the text is the problem."""


def parsed(message: AIMessage) -> AIMessage:
    """The reply with its calls as the model sent them. Raises MalformedCall or ModelUnavailable.

    The calls are parsed again from the raw reply: LangChain completes arguments that are cut off,
    and splits calls that a server streams in pieces without ids.
    """
    calls = []
    for raw in _raw_calls(message):
        try:
            args = encodable(json.loads(raw["function"]["arguments"] or "{}"))
        except (ValueError, KeyError, TypeError):
            args = None
        if not isinstance(args, dict):
            cut_off = message.response_metadata.get("finish_reason") == "length"
            raise MalformedCall(prompts.CUT_OFF if cut_off else prompts.NOT_JSON)
        calls.append(tool_call(name=raw["function"]["name"], args=args, id=raw["id"]))
    if not (message.text.strip() or calls):
        raise retries.ModelUnavailable(prompts.EMPTY_ANSWER)
    changes = {"tool_calls": calls, "invalid_tool_calls": [], "additional_kwargs": {}}
    return message.model_copy(update={**changes, "content": encodable(message.content)})


def repair_messages(message: AIMessage, problem: str) -> list[AnyMessage]:
    """The reply without its arguments, and for each call a message with the problem."""
    raw = _raw_calls(message)
    named = [(call.get("function", {}).get("name") or "unknown", call["id"]) for call in raw]
    emptied: Any = [{"name": name, "args": {}, "id": id} for name, id in named]
    text = prompts.REPAIR.format(problem=problem)
    answers = [ToolMessage(text, tool_call_id=id, name=name, status="error") for name, id in named]
    return [AIMessage("", tool_calls=emptied), *answers]


def _raw_calls(message: AIMessage) -> list[dict[str, Any]]:
    """The calls as the server sent them, each with an id."""
    raw = message.additional_kwargs.get("tool_calls", [])
    return [{**call, "id": call.get("id") or secrets.token_hex(5)[:9]} for call in raw]


def thinking(message: AIMessage) -> str:
    """The thoughts of a reasoning model, which are separate chunks of its reply."""
    chunks = [chunk for chunk in message.content if isinstance(chunk, dict)]
    thoughts = [part for chunk in chunks for part in chunk.get("thinking") or ()]
    texts = (part if isinstance(part, str) else part.get("text", "") for part in thoughts)
    return "".join(texts).strip()


def encodable(value: Any) -> Any:
    """The same value, with half characters (lone surrogates) replaced: they cannot be saved."""
    return json.loads(json.dumps(value, ensure_ascii=False).encode(errors="replace"))
