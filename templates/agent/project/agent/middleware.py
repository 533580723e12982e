"""Middleware around every call of the model (retry, repair, fallback) and of a tool (approval)."""

from __future__ import annotations

import json
import logging
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    ModelRequest,
    ModelResponse,
    ToolCallRequest,
    wrap_model_call,
    wrap_tool_call,
)
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import BaseTool
from langgraph.errors import GraphBubbleUp
from langgraph.graph.state import CompiledStateGraph

from agent import llm, offline, prompts
from agent.approvals import approval
from agent.events import (
    CURRENT_RUN,
    Approval,
    Call,
    Draft,
    Ended,
    Notice,
    Result,
    Run,
    Task,
    Thought,
    TooSlow,
)
from agent.tools import ToolError
from plumbing import retries

log = logging.getLogger(__name__)

MAX_REPEATS = 3  # of a call with the same arguments, in one task
CallModel = Callable[[ModelRequest[Any]], ModelResponse[Any]]
CallTool = Callable[[ToolCallRequest], Any]


def agent(
    model: BaseChatModel, tools: Sequence[BaseTool], prompt: str, name: str = "", **more: Any
) -> CompiledStateGraph[Any]:
    """An agent with these tools; in a team, `name` marks the specialist's events.

    `more`: `first` (middleware that runs before ours) and `checkpointer` (saves the conversation).
    """
    first = more.pop("first", ())
    ours = [approval(tools), _model_calls(name), _tool_calls(name)]
    return create_agent(
        model,
        list(tools),
        system_prompt=prompt,
        middleware=[*first, *ours],
        name=name or None,
        **more,
    )


# The model


def _model_calls(agent: str) -> AgentMiddleware[Any, Any]:
    @wrap_model_call
    def call_model(request: ModelRequest[Any], handler: CallModel) -> ModelResponse[Any]:
        run = CURRENT_RUN.get()
        run.start_step()
        message = _reply(request, handler, run)
        run.add_usage(message)
        _check_repeats(message, run)
        text = message.text.strip() if message.tool_calls else ""  # else it is the answer
        if thought := "\n\n".join(filter(None, [llm.thinking(message), text])):
            run.emit(Thought(thought, agent))
        return ModelResponse(result=[message])

    return call_model


def _check_repeats(message: AIMessage, run: Run) -> None:
    """Raise Ended if the model makes the same call more than MAX_REPEATS times in a task."""
    made: dict[str, tuple[str, str]] = {}
    for event in run.history():
        if isinstance(event, Task):
            made.clear()
        elif isinstance(event, Call | Approval):
            made[event.id] = (event.tool, json.dumps(event.args, sort_keys=True, default=str))
    new = [(call["name"], json.dumps(call["args"], sort_keys=True)) for call in message.tool_calls]
    for (name, _), times in Counter([*made.values(), *new]).items():
        if times > MAX_REPEATS:
            raise Ended(prompts.REPEATED.format(tool=name, times=times))


def _reply(request: ModelRequest[Any], handler: CallModel, run: Run) -> AIMessage:
    """The model's reply. When the model fails, the rest of the task runs offline."""
    if run.settings.provider != "offline" and not run.notice:
        model = request.model.model_copy(update={"callbacks": [TokenHandler(run)]})
        try:
            return run.cancellable(partial(_repaired, request.override(model=model), handler, run))
        except retries.ModelUnavailable as error:
            run.notice = str(error)
            run.emit(Notice(f"{error} {prompts.CONTINUES_OFFLINE}"))
    return _message(handler(request.override(model=offline.OfflineModel())))


def _repaired(request: ModelRequest[Any], handler: CallModel, run: Run) -> AIMessage:
    """Call the model with retries; a malformed tool call goes back to it once."""
    reply = _retried(request, handler, run)
    try:
        return llm.parsed(reply)
    except llm.MalformedCall as problem:
        log.info("a malformed call is sent back to the model: %s", problem)
        run.add_usage(reply)
        again = [*request.messages, *llm.repair_messages(reply, str(problem))]
    reply = _retried(request.override(messages=again), handler, run)
    try:
        return llm.parsed(reply)
    except llm.MalformedCall:
        run.add_usage(reply)
        return AIMessage(prompts.MALFORMED)


def _retried(request: ModelRequest[Any], handler: CallModel, run: Run) -> AIMessage:
    settings = run.settings
    with retries.polite_errors(settings.chat, settings):
        call = partial(_complete, request, handler, run)
        return retries.retry(call, settings.chat, settings, stop=run.check)


def _complete(request: ModelRequest[Any], handler: CallModel, run: Run) -> AIMessage:
    """One reply. Raises ConnectionError when the stream ends without a finish reason."""
    run.queue.put(Draft(""))
    message = _message(handler(request))
    if run.settings.provider == "mistral" and not message.response_metadata.get("finish_reason"):
        raise ConnectionError("the stream ended early")
    return message


def _message(reply: ModelResponse[Any]) -> AIMessage:
    message = reply.result[0]
    assert isinstance(message, AIMessage)
    return message


class TokenHandler(BaseCallbackHandler):
    """Streams tokens to the run, and cancels the call when the run ends."""

    raise_error = True
    run_inline = True

    def __init__(self, run: Run) -> None:
        self.run, self.text = run, ""

    def on_llm_new_token(self, token: Any, *, chunk: Any = None, **_: Any) -> None:
        self.run.check()
        if chunk and (text := chunk.message.text):
            self.text += text
            self.run.queue.put(Draft(llm.encodable(self.text)))


# Tools


def _tool_calls(agent: str) -> AgentMiddleware[Any, Any]:
    @wrap_tool_call
    def call_tool(request: ToolCallRequest, handler: CallTool) -> ToolMessage:
        run, call = CURRENT_RUN.get(), request.tool_call
        run.check()
        id, name = call["id"] or "", call["name"]
        started = (event.id for event in run.history() if isinstance(event, Call))
        if id not in started:  # after an approval inside it, a specialist's call starts again
            run.emit(Call(id, name, call["args"], agent))
        begin = time.monotonic()
        text, ok, images = _call(request, handler, run)
        text = _shown(text, run)
        result = Result(id, name, text, ok, time.monotonic() - begin, agent, images)
        run.results[id] = result
        run.emit(result)
        status: Any = "success" if ok else "error"
        content: list[Any] = [{"type": "text", "text": prompts.marked(name, text)}]
        if run.settings.provider == "mistral":  # whose models see images
            content += [{"type": "image_url", "image_url": {"url": url}} for url in images]
        answer = content if content[1:] else content[0]["text"]
        return ToolMessage(answer, tool_call_id=id, name=name, status=status)

    return call_tool


def _call(
    request: ToolCallRequest, handler: CallTool, run: Run
) -> tuple[str, bool, tuple[str, ...]]:
    """A tool's result as text, whether it worked, and images. An exception becomes a text, too."""
    patient = request.tool and (request.tool.metadata or {}).get("patient")
    seconds = float("inf") if patient else run.settings.tool_seconds
    try:
        message = run.cancellable(partial(handler, request), seconds)
        images = message.artifact if isinstance(message.artifact, tuple) else ()
        return message.text, message.status != "error", images
    except (GraphBubbleUp, Ended):
        raise
    except (ToolError, TooSlow) as error:
        return str(error), False, ()
    except Exception as error:  # its message may contain anything: the model reads only the type
        cause = retries.without_keys(traceback.format_exc(), run.settings)
        log.warning("%s failed: %s", request.tool_call["name"], cause)
        return prompts.TOOL_FAILED.format(kind=type(error).__name__), False, ()


def _shown(text: str, run: Run) -> str:
    """A result without our keys, cut to its longest length."""
    text = llm.encodable(retries.without_keys(text, run.settings))
    most = run.settings.result_chars
    more = len(text) - most
    return text[:most] + prompts.TOO_LONG.format(left=more) if more > 0 else text
