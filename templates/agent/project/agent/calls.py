"""What happens around every call: of the model (patience, repair, stand-in) and of a tool."""

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
from agent.run import NOW, Ended, Run
from agent.steps import Call, Draft, Notice, Result, Thought
from agent.tools import ToolError, needs_approval
from plumbing import retries

log = logging.getLogger(__name__)

Ask = Callable[[ModelRequest[Any]], ModelResponse[Any]]


def agent(
    model: BaseChatModel, tools: Sequence[BaseTool], prompt: str, name: str = "", **more: Any
) -> CompiledStateGraph[Any]:
    """An agent with these tools; `name` tells whose steps they are in a team.

    `more`: `first` (middleware that comes before ours) and `checkpointer` (who keeps the talk).
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
    """Stops a call that needs a person, before anything else sees it."""
    gate: Any = {
        "allowed_decisions": ["approve", "edit", "reject"],
        "when": lambda _: not NOW.get().yes,
    }
    gates = {tool.name: gate for tool in tools if needs_approval(tool)}
    return HumanInTheLoopMiddleware(gates, interrupt_mode="per_call")


# The model


def _model_calls(agent: str) -> AgentMiddleware[Any, Any]:
    @wrap_model_call
    def call_model(request: ModelRequest[Any], handler: Ask) -> ModelResponse[Any]:
        run = NOW.get()
        run.begin_step()
        reply = _reply(request, handler, run)
        message = _message(reply)
        run.pay(message)
        said = message.text.strip() if message.tool_calls else ""  # else it is the answer
        if thought := "\n\n".join(filter(None, [_thinking(message), said])):
            run.tell(Thought(thought, agent))
        return reply

    return call_model


def _reply(request: ModelRequest[Any], handler: Ask, run: Run) -> ModelResponse[Any]:
    """The model's reply; when it fails, the stand-in's, from here to the end of the task."""
    settings = run.settings
    if settings.provider != "offline" and not run.notice:
        heard = request.model.model_copy(update={"callbacks": [_Ear(run)]})
        try:
            return run.watch(partial(_repaired, request.override(model=heard), handler, run))
        except retries.ModelUnavailable as error:
            run.notice = str(error)
            run.tell(Notice(f"{error} {prompts.STAND_IN_GOES_ON}"))
    return handler(request.override(model=offline.StandIn()))


class Malformed(Exception):
    """What is wrong with a reply's tool calls."""


def _repaired(request: ModelRequest[Any], handler: Ask, run: Run) -> ModelResponse[Any]:
    """Ask with patience; a call that cannot be read goes back to the model once."""
    settings = run.settings

    def ask(request: ModelRequest[Any]) -> ModelResponse[Any]:
        call = partial(_whole, request, handler, run)
        with retries.polite_errors(settings.chat, settings):
            return retries.retry(call, settings.chat, settings, stop=run.check)

    reply = ask(request)
    try:
        return _readable(reply)
    except Malformed as problem:
        log.info("a malformed call goes back to the model: %s", problem)
        run.pay(_message(reply))
        again = [*request.messages, *_sent_back(_message(reply), str(problem))]
    reply = ask(request.override(messages=again))
    try:
        return _readable(reply)
    except Malformed:
        run.pay(_message(reply))
        return ModelResponse(result=[AIMessage(prompts.MALFORMED)])


def _whole(request: ModelRequest[Any], handler: Ask, run: Run) -> ModelResponse[Any]:
    """One reply. A stream that ends before the model said so is a dropped connection."""
    run.heard.put(Draft(""))
    reply = handler(request)
    finished = _message(reply).response_metadata.get("finish_reason")
    if run.settings.provider == "mistral" and not finished:
        raise ConnectionError("the stream ended early")
    return reply


def _readable(reply: ModelResponse[Any]) -> ModelResponse[Any]:
    """The reply with its calls as the model sent them. Raises Malformed or ModelUnavailable.

    Made anew from what came over the wire: LangChain completes arguments that break off, and
    takes calls apart that a server streams in pieces without their ids.
    """
    message = _message(reply)
    calls = []
    for raw in _raw_calls(message):
        try:
            args = _sound(json.loads(raw["function"]["arguments"] or "{}"))
        except (ValueError, KeyError, TypeError):
            args = None
        if not isinstance(args, dict):
            cut_off = message.response_metadata.get("finish_reason") == "length"
            raise Malformed(prompts.CUT_OFF if cut_off else prompts.NO_JSON)
        calls.append(tool_call(name=raw["function"]["name"], args=args, id=raw["id"]))
    if not (message.text.strip() or calls):
        raise retries.ModelUnavailable(prompts.SILENT)
    changes = {"tool_calls": calls, "invalid_tool_calls": [], "additional_kwargs": {}}
    changes["content"] = _sound(message.content)
    return ModelResponse(result=[message.model_copy(update=changes)])


def _sound(value: Any) -> Any:
    """The same, without the halves of characters that a model may write: nothing can keep them."""
    return json.loads(json.dumps(value, ensure_ascii=False).encode(errors="replace"))


def _raw_calls(message: AIMessage) -> list[dict[str, Any]]:
    """The calls as they came over the wire, each with an id."""
    raw = message.additional_kwargs.get("tool_calls", [])
    return [{**call, "id": call.get("id") or secrets.token_hex(5)[:9]} for call in raw]


def _sent_back(message: AIMessage, problem: str) -> list[AnyMessage]:
    """The reply with its calls emptied, and under each one what was wrong."""
    raw = _raw_calls(message)
    named = [(call.get("function", {}).get("name") or "unknown", call["id"]) for call in raw]
    emptied: Any = [{"name": name, "args": {}, "id": id} for name, id in named]
    said = prompts.REPAIR.format(problem=problem)
    answers = [ToolMessage(said, tool_call_id=id, name=name, status="error") for name, id in named]
    return [AIMessage("", tool_calls=emptied), *answers]


def _message(reply: ModelResponse[Any]) -> AIMessage:
    message = reply.result[0]
    assert isinstance(message, AIMessage)
    return message


def _thinking(message: AIMessage) -> str:
    """The thoughts of a model that reasons: chunks of their own beside the text."""
    if isinstance(message.content, str):
        return ""
    chunks = (part for part in message.content if isinstance(part, dict))
    inner = (part.get("thinking") or "" for part in chunks if part.get("type") == "thinking")
    texts = ([{"text": each}] if isinstance(each, str) else each for each in inner)
    return "".join(part.get("text", "") for each in texts for part in each).strip()


class _Ear(BaseCallbackHandler):
    """Hears the words of a reply as they come, and breaks it off when the run has ended."""

    raise_error = True
    run_inline = True

    def __init__(self, run: Run) -> None:
        self.run, self.text = run, ""

    def on_llm_new_token(self, token: Any, *, chunk: Any = None, **_: Any) -> None:
        self.run.check()
        if chunk and (words := chunk.message.text):
            self.text += words
            self.run.heard.put(Draft(_sound(self.text)))


# Tools


def _tool_calls(agent: str) -> AgentMiddleware[Any, Any]:
    @wrap_tool_call
    def call_tool(request: ToolCallRequest, handler: Callable[[ToolCallRequest], Any]) -> Any:
        run, call = NOW.get(), request.tool_call
        run.check()
        id, name = call["id"] or "", call["name"]
        if id not in run.told:  # a specialist's call begins anew after an approval inside it
            run.told.add(id)
            run.tell(Call(id, name, call["args"], agent))
        started = time.monotonic()
        text, ok = _call(request, handler, run)
        text = _sound(retries.without_keys(text, run.settings))
        text = _short(text, run.settings.result_chars)
        result = Result(id, name, text, ok, time.monotonic() - started, agent)
        run.results[id] = result
        run.tell(result)
        status: Any = "success" if ok else "error"
        said = prompts.marked(name, text)
        return ToolMessage(said, tool_call_id=id, name=name, status=status)

    return call_tool


def _call(
    request: ToolCallRequest, handler: Callable[[ToolCallRequest], Any], run: Run
) -> tuple[str, bool]:
    """What a tool gave, and whether it worked; whatever happens in it comes out as words."""
    patient = request.tool and (request.tool.metadata or {}).get("patient")
    seconds = float("inf") if patient else run.settings.tool_seconds
    try:
        message = run.watch(partial(handler, request), seconds)
        return message.text, message.status != "error"
    except (GraphBubbleUp, Ended):
        raise
    except ToolError as error:
        return str(error), False
    except Exception as error:  # anybody's code, with anything in its message: the type has to do
        cause = retries.without_keys(traceback.format_exc(), run.settings)
        log.warning("%s failed: %s", request.tool_call["name"], cause)
        return prompts.TOOL_BROKE.format(kind=type(error).__name__), False


def _short(text: str, most: int) -> str:
    left = len(text) - most
    return text[:most] + prompts.TOO_LONG.format(left=left) if left > 0 else text
