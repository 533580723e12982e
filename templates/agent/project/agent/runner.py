"""Runs a task with the agent, and streams its events; a run can be stopped, or wait."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from langchain.agents.middleware import SummarizationMiddleware
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command

from agent import attachments, llm, memory, prompts
from agent.approvals import as_langchain, misfit
from agent.events import (
    CURRENT_RUN,
    Answer,
    Approval,
    Decision,
    Ended,
    Event,
    Notice,
    Result,
    Run,
    Task,
    Usage,
    last,
    pending,
)
from agent.graph import build
from agent.settings import SETTINGS, Settings
from agent.toolbox import toolbox
from plumbing import retries

log = logging.getLogger(__name__)

KEEP_MESSAGES = 12  # the latest messages, which are not summarised
RECURSION_LIMIT = 10_000  # of LangGraph, out of the way: MAX_STEPS is ours, it ends with a summary
Request = Task | Sequence[Decision]
Graph = CompiledStateGraph[Any]

_running: dict[str, Run] = {}


def run(
    chat: str, request: Request, settings: Settings = SETTINGS, owner: str = "", **more: Any
) -> Iterator[Event]:
    """Do a task, or continue after decisions on calls; yields every event as it happens.

    The files of a task are paths. `owner` is the browser that owns the conversation; `yes=True`
    approves everything. The last events are an Answer or one Approval or more, and the Usage; it
    never raises. Closing the generator stops the run.
    """
    save = partial(memory.add, settings.memory, chat, owner=owner)
    this = Run(settings, save, partial(memory.events, settings.memory, chat), **more)
    if _running.setdefault(chat, this) is not this:
        yield Notice(prompts.BUSY)
        return
    threading.Thread(target=_work, args=(this, chat, request), daemon=True).start()
    try:
        while (event := this.queue.get()) is not None:
            yield event
    finally:
        this.stopped.set()


def stop(chat: str) -> bool:
    """Stop the run of a conversation; False when there is none."""
    this = _running.get(chat)
    if this:
        this.stopped.set()
    return this is not None


def stop_all(seconds: float) -> None:
    """Stop every run, and wait at most so many seconds until their last events are saved."""
    end = time.monotonic() + seconds
    while _running and time.monotonic() < end:
        for chat in list(_running):  # again: a run may have started in the meantime
            stop(chat)
        time.sleep(0.02)


def waiting(chat: str, settings: Settings = SETTINGS) -> list[Approval]:
    """The calls that wait for approval, also after a restart."""
    return [_approval(each.value) for each in _interrupts(_graph(settings), chat).values()]


def is_busy(chat: str) -> bool:
    """Whether this conversation has a run in progress."""
    return chat in _running


# The run, in its own thread, so that it can be stopped at any time


def _work(this: Run, chat: str, request: Request) -> None:
    CURRENT_RUN.set(this)
    try:
        prepare: Any = _start if isinstance(request, Task) else _resume
        toolbox(wait=prepare is _resume)  # an approved call may need the tool of a slow server
        graph = _graph(this.settings)
        try:
            if state := prepare(this, chat, graph, request):
                _finish(this, chat, graph.invoke(state, _config(chat), durability="exit"))
        except Ended as ended:
            this.emit(_close(this, chat, graph, str(ended)))
    except Exception:
        log.error("the run failed: %s", retries.without_keys(traceback.format_exc(), this.settings))
        this.queue.put(Answer(prompts.SORRY))
    finally:
        this.usage = this.usage_now()
        this.save(this.usage)
        this.queue.put(this.usage)
        _running.pop(chat, None)
        this.queue.put(None)


def _start(this: Run, chat: str, graph: Graph, task: Task) -> dict[str, Any]:
    """The graph's input for a new task. Raises Ended when the task is empty."""
    if _open_calls(_messages(graph, chat)):  # no decision was made, or the app was killed
        _close(this, chat, graph, prompts.NOT_APPROVED)
    first = not this.history()
    this.emit(replace(task, files=tuple(Path(file).name for file in task.files)))
    for problem in toolbox()[1] if first else ():
        this.emit(Notice(problem))
    prepared = this.cancellable(partial(attachments.prepare, task.text, task.files, this.settings))
    for notice in prepared.notices:
        this.emit(Notice(notice))
    if not prepared.text.strip() and not prepared.images:
        raise Ended(prompts.NO_TASK)
    if not prepared.images:
        return {"messages": [HumanMessage(prepared.text)]}
    parts: list[Any] = [{"type": "text", "text": prepared.text or prompts.LOOK_AT_THIS}]
    parts += [{"type": "image_url", "image_url": {"url": url}} for url in prepared.images]
    return {"messages": [HumanMessage(parts)]}


def _resume(
    this: Run, chat: str, graph: Graph, decisions: Sequence[Decision]
) -> Command[Any] | None:
    """The graph's input for a person's decisions; None when no call waits for one."""
    this.usage = last(Usage, this.history()) or Usage()
    tools = {tool.name: tool for tool in toolbox()[0]}
    asked, answers = _interrupts(graph, chat), dict[str, Any]()
    for decision in decisions:
        call = asked[decision.id].value if decision.id in asked else {}
        problem = misfit(decision, tools.get(call["name"])) if call else prompts.NOT_WAITING
        if problem or not memory.decide(this.settings.memory, chat, decision):
            this.queue.put(Notice(problem or prompts.NOT_WAITING))
            continue
        this.queue.put(decision)
        answers[asked[decision.id].id] = as_langchain(decision, call["name"])
    return Command(resume=answers) if answers else None


def _finish(this: Run, chat: str, state: dict[str, Any]) -> None:
    """Emit how the run ended: the calls that wait for approval, or the answer."""
    asked = [_approval(each.value) for each in state.get("__interrupt__", ())]
    order = [call["id"] for call in _open_calls(state["messages"])]
    asked.sort(key=lambda each: order.index(each.id) if each.id in order else len(order))
    known = pending(this.history())
    for approval in asked:
        if approval not in known:  # when one of several is decided, the others are known
            this.emit(approval)
    if asked:
        return
    model = prompts.OFFLINE if this.notice else this.settings.chat or prompts.OFFLINE
    this.emit(Answer(state["messages"][-1].text, model, this.notice))


def _close(this: Run, chat: str, graph: Graph, why: str) -> Answer:
    """End a run early: every open call gets a result, and the conversation gets a summary.

    Without the results the API would refuse every later request of this conversation.
    """
    messages = _messages(graph, chat)
    unanswered = _open_calls(messages)
    done = [f"{result.tool}: {_first_line(result)}" for result in this.results.values()]
    missing = [call["name"] for call in unanswered if call["id"] not in this.results]
    summary = prompts.ended(why, done, missing)
    answers = [_last_result(call, this.results.get(call["id"] or ""), why) for call in unanswered]
    closing = {"messages": [*answers, AIMessage(summary)]}
    graph.update_state(_config(chat), closing, as_node="model")
    return Answer(summary, "" if this.settings.chat else prompts.OFFLINE, this.notice)


def _last_result(call: Any, result: Result | None, why: str) -> ToolMessage:
    text = prompts.marked(call["name"], result.text) if result else prompts.NOT_RUN.format(why=why)
    return ToolMessage(text, tool_call_id=call["id"], name=call["name"])


def _first_line(result: Result) -> str:
    first = next((line for line in result.text.splitlines() if line.strip()), "")
    return f"{first[:100]}" if result.ok else f"failed ({first[:100]})"


# The conversation that LangGraph saves


def _config(chat: str) -> Any:
    return {"configurable": {"thread_id": chat}, "recursion_limit": RECURSION_LIMIT}


def _messages(graph: Graph, chat: str) -> list[AnyMessage]:
    found: list[AnyMessage] = graph.get_state(_config(chat)).values.get("messages", [])
    return found


def _open_calls(messages: Sequence[AnyMessage]) -> list[Any]:
    """The tool calls that have no result yet."""
    answered = {message.tool_call_id for message in messages if isinstance(message, ToolMessage)}
    replies = (message for message in messages if isinstance(message, AIMessage))
    return [call for reply in replies for call in reply.tool_calls if call["id"] not in answered]


def _interrupts(graph: Graph, chat: str) -> dict[str, Any]:
    """LangGraph's interrupts, by the id of the call that waits."""
    interrupts = graph.get_state(_config(chat)).interrupts
    return {each.value["tool_call_id"]: each for each in interrupts}


def _approval(value: dict[str, Any]) -> Approval:
    return Approval(value["tool_call_id"], value["name"], value["args"])


def _graph(settings: Settings) -> Graph:
    """The graph with the tools that are ready now."""
    return _build(settings, tuple(tool.name for tool in toolbox()[0]))


@cache
def _build(settings: Settings, names: tuple[str, ...]) -> Graph:  # built again for other names
    model = llm.chat_model(settings)
    shorten = SummarizationMiddleware(
        model,
        trigger=("tokens", settings.context_tokens),
        keep=("messages", KEEP_MESSAGES),
        summarizer=partial(llm.summarize, settings),
        trim_tokens_to_summarize=None,
    )
    return build(model, toolbox()[0], shorten, memory.saver(settings.memory))
