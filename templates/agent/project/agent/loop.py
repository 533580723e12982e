"""The loop: a task goes in, typed steps come out, and a person can stop or approve on the way."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

from langchain.agents.middleware import SummarizationMiddleware
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command
from pydantic import BaseModel, ValidationError

from agent import llm, mcp, media, memory, prompts, team
from agent.run import NOW, Ended, Run
from agent.settings import SETTINGS, Settings
from agent.steps import Answer, Approval, Call, Decision, Notice, Result, Spent, Step, Task, pending
from plumbing import retries

log = logging.getLogger(__name__)

KEEP = 12  # messages that a summary of the talk leaves as they are
FOREVER = 10_000  # LangGraph's own limit of steps: ours is MAX_STEPS, which ends with a summary
Wish = Task | Sequence[Decision]

_at_work: dict[str, Run] = {}


def run(chat: str, wish: Wish, settings: Settings = SETTINGS, **how: Any) -> Iterator[Step]:
    """Do a task, or go on after decisions on calls that waited; tells every step as it happens.

    The files of a task are paths. `how` may say `yes=True` (approve everything) and whose
    conversation it is (`owner=`). Ends with an Answer, or with an Approval or more, and what was
    Spent; it never raises. Whoever stops listening stops the run.
    """
    this = Run(chat, settings, **how)
    if _at_work.setdefault(chat, this) is not this:
        yield Notice(prompts.BUSY)
        return
    threading.Thread(target=_work, args=(this, wish), daemon=True).start()
    try:
        while (step := this.heard.get()) is not None:
            yield step
    finally:
        this.stopped.set()


def stop(chat: str) -> bool:
    """Stop what a conversation is doing, at once; False when it does nothing."""
    this = _at_work.get(chat)
    if this:
        this.stopped.set()
    return this is not None


def stop_all(seconds: float) -> None:
    """Stop every run, and wait at most so long until their last words are written down."""
    end = time.monotonic() + seconds
    while _at_work and time.monotonic() < end:
        for chat in list(_at_work):  # also one that begins meanwhile
            stop(chat)
        time.sleep(0.02)


def waiting(chat: str, settings: Settings = SETTINGS) -> list[Approval]:
    """The calls that wait for a person, also after a restart."""
    return [_approval(each.value) for each in _asked(_graph(settings), chat).values()]


def is_busy(chat: str) -> bool:
    """Whether a run of this conversation is under way."""
    return chat in _at_work


# The run, in a thread of its own, so that its listener can stop it at any time


def _work(this: Run, wish: Wish) -> None:
    NOW.set(this)
    try:
        graph = _graph(this.settings)
        try:
            told = _new(this, graph, wish) if isinstance(wish, Task) else _more(this, graph, wish)
            if told:
                _finish(this, graph.invoke(told, _config(this.chat), durability="exit"))
        except Ended as ended:
            this.tell(_close(this, graph, str(ended)))
    except Exception:
        log.error("the run failed: %s", retries.without_keys(traceback.format_exc(), this.settings))
        this.heard.put(Answer(prompts.SORRY))
    finally:
        this.spent = this.now()
        memory.add(this.settings.memory, this.chat, this.spent)
        this.heard.put(this.spent)
        _at_work.pop(this.chat, None)
        this.heard.put(None)


def _new(this: Run, graph: CompiledStateGraph[Any], task: Task) -> dict[str, Any]:
    """Take a new task in. Raises Ended when there is none."""
    if _open_calls(_messages(graph, this.chat)):  # an approval nobody gave, or a power cut
        _close(this, graph, prompts.UNANSWERED)
    first = not memory.steps(this.settings.memory, this.chat)
    this.tell(replace(task, files=tuple(_name(file) for file in task.files)))
    for problem in mcp.toolbox(this.settings)[1] if first else ():
        this.tell(Notice(problem))
    taken = this.watch(partial(media.take, task.text, task.files, this.settings))
    for notice in taken.notices:
        this.tell(Notice(notice))
    if not taken.text.strip() and not taken.images:
        raise Ended(prompts.NO_TASK)
    if not taken.images:
        return {"messages": [HumanMessage(taken.text)]}
    parts: list[Any] = [{"type": "text", "text": taken.text or prompts.LOOK_AT_THIS}]
    parts += [{"type": "image_url", "image_url": {"url": url}} for url in taken.images]
    return {"messages": [HumanMessage(parts)]}


def _name(path: str) -> str:
    return path.replace("\\", "/").rsplit("/", 1)[-1]


def _more(
    this: Run, graph: CompiledStateGraph[Any], decisions: Sequence[Decision]
) -> Command[Any] | None:
    """Take in what a person decided; None when nothing waits for it, or it does not fit."""
    before = memory.steps(this.settings.memory, this.chat)
    this.told = {step.id for step in before if isinstance(step, Call)}
    this.spent = next((step for step in reversed(before) if isinstance(step, Spent)), Spent())
    asked, answers = _asked(graph, this.chat), dict[str, Any]()
    for decision in decisions:
        if decision.id not in asked:
            this.heard.put(Notice(prompts.NOT_WAITING))
            continue
        call = asked[decision.id].value
        if problem := _misfit(decision, call["name"], this.settings):
            this.heard.put(Notice(problem))
            continue
        this.tell(decision)
        answers[asked[decision.id].id] = _answer(decision, call["name"])
    return Command(resume=answers) if answers else None


def _misfit(decision: Decision, name: str, settings: Settings) -> str:
    """What is wrong with edited arguments, in one line."""
    if decision.choice not in {"approve", "edit", "refuse"}:
        return prompts.NO_SUCH_CHOICE
    tool = next((tool for tool in mcp.toolbox(settings)[0] if tool.name == name), None)
    schema = tool.tool_call_schema if tool else None
    if decision.choice != "edit" or not isinstance(schema, type):
        return ""
    try:
        if issubclass(schema, BaseModel):
            schema.model_validate(dict(decision.args or {}))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        return prompts.BAD_EDIT.format(problem=f"{place}: {first['msg']}")
    return ""


def _answer(decision: Decision, name: str) -> dict[str, Any]:
    """A decision as LangChain's HumanInTheLoopMiddleware takes it."""
    if decision.choice == "edit":
        edited = {"name": name, "args": dict(decision.args or {})}
        return {"type": "edit", "edited_action": edited}
    if decision.choice == "approve":
        return {"type": "approve"}
    return {"type": "reject", **({"message": decision.reason} if decision.reason else {})}


def _finish(this: Run, state: dict[str, Any]) -> None:
    """Tell how the run ended: with the calls that wait now, or with the answer."""
    asked = [_approval(each.value) for each in state.get("__interrupt__", ())]
    if asked:
        order = [call["id"] for call in _open_calls(state["messages"])]
        asked.sort(key=lambda each: order.index(each.id) if each.id in order else len(order))
        known = pending(memory.steps(this.settings.memory, this.chat))
        for approval in asked:
            if approval not in known:  # of several, one was decided, and the others wait on
                this.tell(approval)
        return
    last = state["messages"][-1]
    model = prompts.STAND_IN if this.notice else this.settings.chat or prompts.STAND_IN
    this.tell(Answer(last.text, model, this.notice))


def _close(this: Run, graph: CompiledStateGraph[Any], why: str) -> Answer:
    """End a run before its task is done: every open call gets an answer, the talk a summary.

    Without them the API would refuse the conversation from here on.
    """
    messages = _messages(graph, this.chat)
    unanswered = _open_calls(messages)
    done = [f"{result.tool}: {_line(result)}" for result in this.results.values()]
    missing = [call["name"] for call in unanswered if call["id"] not in this.results]
    summary = prompts.ended(why, done, missing)
    answers = [_last_word(call, this.results.get(call["id"] or ""), why) for call in unanswered]
    closing = {"messages": [*answers, AIMessage(summary)]}
    graph.update_state(_config(this.chat), closing, as_node="model")
    return Answer(summary, "" if this.settings.chat else prompts.STAND_IN, this.notice)


def _last_word(call: Any, result: Result | None, why: str) -> ToolMessage:
    text = prompts.marked(call["name"], result.text) if result else prompts.NOT_RUN.format(why=why)
    return ToolMessage(text, tool_call_id=call["id"], name=call["name"])


def _line(result: Result) -> str:
    first = next((line for line in result.text.splitlines() if line.strip()), "")
    return f"{first[:100]}" if result.ok else f"failed ({first[:100]})"


# What LangGraph keeps of a conversation


def _config(chat: str) -> Any:
    return {"configurable": {"thread_id": chat}, "recursion_limit": FOREVER}


def _messages(graph: CompiledStateGraph[Any], chat: str) -> list[AnyMessage]:
    found: list[AnyMessage] = graph.get_state(_config(chat)).values.get("messages", [])
    return found


def _open_calls(messages: Sequence[AnyMessage]) -> list[Any]:
    """The tool calls that have no result yet."""
    answered = {message.tool_call_id for message in messages if isinstance(message, ToolMessage)}
    asked = (
        call
        for message in messages
        if isinstance(message, AIMessage)
        for call in message.tool_calls
    )
    return [call for call in asked if call["id"] not in answered]


def _asked(graph: CompiledStateGraph[Any], chat: str) -> dict[str, Any]:
    """LangGraph's interrupts, by the id of the call that waits."""
    interrupts = graph.get_state(_config(chat)).interrupts
    return {each.value["tool_call_id"]: each for each in interrupts}


def _approval(value: dict[str, Any]) -> Approval:
    return Approval(value["tool_call_id"], value["name"], value["args"])


@cache
def _graph(settings: Settings) -> CompiledStateGraph[Any]:
    model = llm.chat_model(settings)
    shorten = SummarizationMiddleware(
        model,
        trigger=("tokens", settings.context_tokens),
        keep=("messages", KEEP),
        summarizer=partial(llm.summarize, settings),
        trim_tokens_to_summarize=None,
    )
    return team.build(model, mcp.toolbox(settings)[0], shorten, memory.saver(settings.memory))
