"""The only file that chooses a model: the agent's, and the one that summarises."""

from __future__ import annotations

import json
import logging
import re
import secrets
import string
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
from langchain_core.messages.tool import ToolCall, tool_call

from agent import offline, prompts
from agent.settings import SETTINGS, Settings
from plumbing import retries

log = logging.getLogger(__name__)

CONNECT_SECONDS = 5  # the connect timeout
MAX_DEPTH = 50  # of lists and objects in a call's arguments
AS_TEXT = "[TOOL_CALLS]"


@cache
def chat_model(settings: Settings = SETTINGS) -> BaseChatModel:
    """The agent's chat model for LangChain; without a key the offline model."""
    if settings.provider == "offline":
        return offline.OfflineModel()
    from langchain_mistralai import ChatMistralAI  # slow to import, and not needed without a key

    class Chat(ChatMistralAI):
        def completion_with_retry(self, *args: Any, **more: Any) -> Any:
            reply = super().completion_with_retry(*args, **more)
            return map(_with_text_arguments, reply) if more.get("stream") else reply

    if settings.provider == "server":
        address, key = settings.llm_base_url, settings.llm_api_key
    else:
        address, key = f"{settings.mistral_server_url.rstrip('/')}/v1", settings.mistral_api_key
    secret = key.get_secret_value().strip() or "none"  # local servers need no key
    return Chat(
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
    and splits calls that a server streams in pieces without ids. The ids are ours, as an approval
    belongs to one id: some servers send one id twice.
    """
    raw, content = message.additional_kwargs.get("tool_calls", []), message.content
    if not raw and message.text.lstrip().startswith(AS_TEXT):
        raw, content = _from_text(message.text), ""
    cut_off = message.response_metadata.get("finish_reason") == "length"
    calls = [_call(each.get("function") or {}, cut_off) for each in raw]
    if not (message.text.strip() or calls):
        raise retries.ModelUnavailable(prompts.EMPTY_ANSWER)
    changes = {"tool_calls": calls, "invalid_tool_calls": [], "additional_kwargs": {}}
    return message.model_copy(update={**changes, "content": encodable(content)})


def _call(function: dict[str, Any], cut_off: bool) -> ToolCall:
    try:
        args = json.loads(function.get("arguments") or "{}")
    except (ValueError, TypeError, RecursionError):
        args = None
    if not isinstance(args, dict) or _is_deeper(args, MAX_DEPTH):
        raise MalformedCall(prompts.CUT_OFF if cut_off else prompts.NOT_JSON)
    if not isinstance(function.get("name"), str) or not function["name"].strip():
        raise MalformedCall(prompts.NO_NAME)
    return tool_call(name=encodable(function["name"].strip()), args=encodable(args), id=new_id())


def _is_deeper(value: Any, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return not levels or any(_is_deeper(each, levels - 1) for each in inner)


def _from_text(text: str) -> list[dict[str, Any]]:
    """The calls in a text, as a model writes them if its server does not parse them.

    `[TOOL_CALLS]name[ARGS]{…}`, or `[TOOL_CALLS][{"name": …, "arguments": {…}}]`.
    """
    calls = []
    for part in filter(str.strip, text.split(AS_TEXT)):
        name, _, arguments = re.sub(r"\[CALL_ID\]\w*", "", part).partition("[ARGS]")
        try:
            given = json.loads(part) if part.lstrip().startswith("[") else []
            calls += [{**each, "arguments": json.dumps(each["arguments"])} for each in given]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise MalformedCall(prompts.NOT_JSON) from None
        calls += [] if given else [{"name": name, "arguments": arguments}]
    return [{"function": each} for each in calls]


def repair_messages(message: AIMessage, problem: str) -> list[AnyMessage]:
    """The reply without its arguments, and for each call a message with the problem."""
    text = prompts.REPAIR.format(problem=problem)
    raw = message.additional_kwargs.get("tool_calls")
    if not raw:
        return [AIMessage(message.text), HumanMessage(text)]
    named = [((each.get("function") or {}).get("name") or "unknown", new_id()) for each in raw]
    emptied: Any = [{"name": name, "args": {}, "id": id} for name, id in named]
    answers = [ToolMessage(text, tool_call_id=id, name=name, status="error") for name, id in named]
    return [AIMessage("", tool_calls=emptied), *answers]


def new_id() -> str:
    """The id of a call: random, and as long as Mistral's API demands."""
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(9))


def _with_text_arguments(chunk: dict[str, Any]) -> dict[str, Any]:
    """A streamed chunk; some servers send a call's arguments as an object."""
    for choice in chunk.get("choices") or ():
        for call in (choice.get("delta") or {}).get("tool_calls") or ():
            function = call.get("function") or {}
            if isinstance(function.get("arguments"), dict | list):
                function["arguments"] = json.dumps(function["arguments"])
    return chunk


def thinking(message: AIMessage) -> str:
    """The thoughts of a reasoning model, which are separate chunks of its reply."""
    chunks = [chunk for chunk in message.content if isinstance(chunk, dict)]
    thoughts = [part for chunk in chunks for part in chunk.get("thinking") or ()]
    texts = (part if isinstance(part, str) else part.get("text", "") for part in thoughts)
    return "".join(texts).strip()


def encodable(value: Any) -> Any:
    """The same value, with half characters (lone surrogates) replaced: they cannot be saved."""
    return json.loads(json.dumps(value, ensure_ascii=False).encode(errors="replace"))
