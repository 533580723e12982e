"""Middleware around every call of the model (retry, repair, fallback) and of a tool (approval)."""

from __future__ import annotations

import json
import logging
import secrets
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    HumanInTheLoopMiddleware,
    ModelRequest,
    ModelResponse,
    ToolCallRequest,
    wrap_model_call,
    wrap_tool_call,
)
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, ToolMessage
from langchain_core.messages.tool import tool_call
from langchain_core.tools import BaseTool
from langgraph.errors import GraphBubbleUp
from langgraph.graph.state import CompiledStateGraph

from agent import offline, prompts
from agent.run import CURRENT_RUN, Ended, Run
from agent.steps import Call, Draft, Notice, Result, Thought
from agent.tools import ToolError, needs_approval
from plumbing import retries

log = logging.getLogger(__name__)

CallModel = Callable[[ModelRequest[Any]], ModelResponse[Any]]


def agent(
    model: BaseChatModel, tools: Sequence[BaseTool], prompt: str, name: str = "", **more: Any
) -> CompiledStateGraph[Any]:
    """An agent with these tools; in a team, `name` marks the specialist's steps.

    `more`: `first` (middleware that runs before ours) and `checkpointer` (saves the conversation).
    """
    return create_agent(
        model,
        list(tools),
        system_prompt=prompt,
        middleware=[
            *more.pop("first", ()),
            _approval(tools),
            _model_calls(name),
            _tool_calls(name),
        ],
        name=name or None,
        **more,
    )


def _approval(tools: Sequence[BaseTool]) -> AgentMiddleware[Any, Any]:
    """Interrupts a call that needs approval, before any other middleware handles it."""
    gate: Any = {
        "allowed_decisions": ["approve", "edit", "reject"],
        "when": lambda _: not CURRENT_RUN.get().yes,
    }
    gates = {tool.name: gate for tool in tools if needs_approval(tool)}
    return HumanInTheLoopMiddleware(gates, interrupt_mode="per_call")


# The model


def _model_calls(agent: str) -> AgentMiddleware[Any, Any]:
    @wrap_model_call
    def call_model(request: ModelRequest[Any], handler: CallModel) -> ModelResponse[Any]:
        run = CURRENT_RUN.get()
        run.start_step()
        reply = _reply(request, handler, run)
        message = _message(reply)
        run.add_usage(message)
        text = message.text.strip() if message.tool_calls else ""  # else it is the answer
        if thought := "\n\n".join(filter(None, [_thinking(message), text])):
            run.emit(Thought(thought, agent))
        return reply

    return call_model


def _reply(request: ModelRequest[Any], handler: CallModel, run: Run) -> ModelResponse[Any]:
    """The model's reply. When the model fails, the rest of the task runs offline."""
    settings = run.settings
    if settings.provider != "offline" and not run.notice:
        model = request.model.model_copy(update={"callbacks": [_TokenHandler(run)]})
        try:
            return run.cancellable(partial(_repaired, request.override(model=model), handler, run))
        except retries.ModelUnavailable as error:
            run.notice = str(error)
            run.emit(Notice(f"{error} {prompts.CONTINUES_OFFLINE}"))
    return handler(request.override(model=offline.OfflineModel()))


class MalformedCall(Exception):
    """A tool call that cannot be parsed; the text is the problem."""


def _repaired(request: ModelRequest[Any], handler: CallModel, run: Run) -> ModelResponse[Any]:
    """Call the model with retries; a malformed tool call goes back to it once."""
    settings = run.settings

    def ask(request: ModelRequest[Any]) -> ModelResponse[Any]:
        call = partial(_complete, request, handler, run)
        with retries.polite_errors(settings.chat, settings):
            return retries.retry(call, settings.chat, settings, stop=run.check)

    reply = ask(request)
    try:
        return _parsed(reply)
    except MalformedCall as problem:
        log.info("a malformed call is sent back to the model: %s", problem)
        run.add_usage(_message(reply))
        again = [*request.messages, *_repair_messages(_message(reply), str(problem))]
    reply = ask(request.override(messages=again))
    try:
        return _parsed(reply)
    except MalformedCall:
        run.add_usage(_message(reply))
        return ModelResponse(result=[AIMessage(prompts.MALFORMED)])


def _complete(request: ModelRequest[Any], handler: CallModel, run: Run) -> ModelResponse[Any]:
    """One reply. Raises ConnectionError when the stream ends without a finish reason."""
    run.events.put(Draft(""))
    reply = handler(request)
    finished = _message(reply).response_metadata.get("finish_reason")
    if run.settings.provider == "mistral" and not finished:
        raise ConnectionError("the stream ended early")
    return reply


def _parsed(reply: ModelResponse[Any]) -> ModelResponse[Any]:
    """The reply with its calls as the model sent them. Raises MalformedCall or ModelUnavailable.

    The calls are parsed again from the raw reply: LangChain completes arguments that are cut off,
    and splits calls that a server streams in pieces without ids.
    """
    message = _message(reply)
    calls = []
    for raw in _raw_calls(message):
        try:
            args = _encodable(json.loads(raw["function"]["arguments"] or "{}"))
        except (ValueError, KeyError, TypeError):
            args = None
        if not isinstance(args, dict):
            cut_off = message.response_metadata.get("finish_reason") == "length"
            raise MalformedCall(prompts.CUT_OFF if cut_off else prompts.NOT_JSON)
        calls.append(tool_call(name=raw["function"]["name"], args=args, id=raw["id"]))
    if not (message.text.strip() or calls):
        raise retries.ModelUnavailable(prompts.EMPTY_ANSWER)
    changes = {"tool_calls": calls, "invalid_tool_calls": [], "additional_kwargs": {}}
    changes["content"] = _encodable(message.content)
    return ModelResponse(result=[message.model_copy(update=changes)])


def _encodable(value: Any) -> Any:
    """The same value, with half characters (lone surrogates) replaced: they cannot be saved."""
    return json.loads(json.dumps(value, ensure_ascii=False).encode(errors="replace"))


def _raw_calls(message: AIMessage) -> list[dict[str, Any]]:
    """The calls as the server sent them, each with an id."""
    raw = message.additional_kwargs.get("tool_calls", [])
    return [{**call, "id": call.get("id") or secrets.token_hex(5)[:9]} for call in raw]


def _repair_messages(message: AIMessage, problem: str) -> list[AnyMessage]:
    """The reply without its arguments, and for each call a message with the problem."""
    raw = _raw_calls(message)
    named = [(call.get("function", {}).get("name") or "unknown", call["id"]) for call in raw]
    emptied: Any = [{"name": name, "args": {}, "id": id} for name, id in named]
    text = prompts.REPAIR.format(problem=problem)
    answers = [ToolMessage(text, tool_call_id=id, name=name, status="error") for name, id in named]
    return [AIMessage("", tool_calls=emptied), *answers]


def _message(reply: ModelResponse[Any]) -> AIMessage:
    message = reply.result[0]
    assert isinstance(message, AIMessage)
    return message


def _thinking(message: AIMessage) -> str:
    """The thoughts of a reasoning model, which are separate chunks of its reply."""
    if isinstance(message.content, str):
        return ""
    chunks = (part for part in message.content if isinstance(part, dict))
    inner = (part.get("thinking") or "" for part in chunks if part.get("type") == "thinking")
    texts = ([{"text": each}] if isinstance(each, str) else each for each in inner)
    return "".join(part.get("text", "") for each in texts for part in each).strip()


class _TokenHandler(BaseCallbackHandler):
    """Streams tokens to the run, and cancels the call when the run ends."""

    raise_error = True
    run_inline = True

    def __init__(self, run: Run) -> None:
        self.run, self.text = run, ""

    def on_llm_new_token(self, token: Any, *, chunk: Any = None, **_: Any) -> None:
        self.run.check()
        if chunk and (text := chunk.message.text):
            self.text += text
            self.run.events.put(Draft(_encodable(self.text)))


# Tools


def _tool_calls(agent: str) -> AgentMiddleware[Any, Any]:
    @wrap_tool_call
    def call_tool(request: ToolCallRequest, handler: Callable[[ToolCallRequest], Any]) -> Any:
        run, call = CURRENT_RUN.get(), request.tool_call
        run.check()
        id, name = call["id"] or "", call["name"]
        if id not in run.emitted:  # after an approval inside it, a specialist's call starts again
            run.emitted.add(id)
            run.emit(Call(id, name, call["args"], agent))
        started = time.monotonic()
        text, ok = _call(request, handler, run)
        text = _encodable(retries.without_keys(text, run.settings))
        text = _truncated(text, run.settings.result_chars)
        result = Result(id, name, text, ok, time.monotonic() - started, agent)
        run.results[id] = result
        run.emit(result)
        status: Any = "success" if ok else "error"
        content = prompts.marked(name, text)
        return ToolMessage(content, tool_call_id=id, name=name, status=status)

    return call_tool


def _call(
    request: ToolCallRequest, handler: Callable[[ToolCallRequest], Any], run: Run
) -> tuple[str, bool]:
    """A tool's result as text, and whether it worked. An exception becomes a text, too."""
    patient = request.tool and (request.tool.metadata or {}).get("patient")
    seconds = float("inf") if patient else run.settings.tool_seconds
    try:
        message = run.cancellable(partial(handler, request), seconds)
        return message.text, message.status != "error"
    except (GraphBubbleUp, Ended):
        raise
    except ToolError as error:
        return str(error), False
    except Exception as error:  # its message may contain anything: the model reads only the type
        cause = retries.without_keys(traceback.format_exc(), run.settings)
        log.warning("%s failed: %s", request.tool_call["name"], cause)
        return prompts.TOOL_FAILED.format(kind=type(error).__name__), False


def _truncated(text: str, most: int) -> str:
    left = len(text) - most
    return text[:most] + prompts.TOO_LONG.format(left=left) if left > 0 else text
