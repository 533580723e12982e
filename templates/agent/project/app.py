"""The web app: `uv run app.py`. Starts the page, and runs what its buttons ask for."""

from __future__ import annotations

import html
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # Gradio sends no usage data

import gradio as gr

from agent import downloads, memory, prompts, ui
from agent.events import Answer, Decision, Draft, Event, Notice, Task, as_dict, last, pending
from agent.memory import PROGRAMS
from agent.settings import ROOT, SETTINGS
from plumbing.guard import VisitorLimit, serving
from plumbing.page import run, wait_for_shutdown

log = logging.getLogger(__name__)
STOP_SECONDS = 3  # that a stopped run may take to end
QUESTIONS = VisitorLimit(SETTINGS.visitor_limit)
State = tuple[Any, ...]  # as ui.page_state returns it

_abandoned: set[str] = set()  # conversations that the user left during a run


def _runner() -> Any:
    from agent import runner  # imported here: the page is served before LangChain is loaded

    return runner


def _events(chat: str) -> list[Event]:
    return memory.events(SETTINGS.memory, chat)


def do(message: Mapping[str, Any], chat: str, visitor: str) -> Iterator[State]:
    """Do a task, and show every step as it happens."""
    _check(chat, visitor)
    QUESTIONS.count()
    files = tuple(str(file) for file in message.get("files") or ())
    task = Task((message.get("text") or "").strip(), files)
    yield from follow_run(chat, _runner().run(chat, task, owner=visitor))


def do_example(data: gr.SelectData, chat: str, visitor: str) -> Iterator[State]:
    """Do one of the example tasks."""
    yield from do({"text": data.value["text"]}, chat, visitor)  # only a text: no path of a file


def decide(
    choice: str, chat: str, visitor: str, call: str, reason: str, *fields: str
) -> Iterator[State]:
    """Approve the call on the card with the arguments there, or reject it, and continue."""
    _check(chat, visitor)
    events = _events(chat)
    shown = [each for each in pending(events) if each.id == call]
    try:
        decisions = [ui.decision(each, choice, reason, fields) for each in shown]
    except (ValueError, RecursionError) as error:
        gr.Warning(f"This is not valid JSON: {error}")
    else:
        if decisions:
            yield from follow_run(chat, _runner().run(chat, decisions))
            return
        gr.Warning(prompts.NOT_WAITING)
    yield ui.page_state(events, _runner().is_busy(chat))


def _check(chat: str, owner: str) -> None:
    """Raise an error if the conversation is not this owner's."""
    if not memory.is_owner(SETTINGS.memory, chat, owner):
        raise gr.Error(prompts.NOT_YOURS, print_exception=False)


def follow_run(chat: str, run: Iterator[Event]) -> Iterator[State]:
    """The whole page after each event; while text is streamed, only the chat."""
    shown = _events(chat)
    _abandoned.discard(chat)
    try:
        for event in run:
            if chat in _abandoned:  # the page shows another conversation now
                return
            if isinstance(event, Draft):
                message = ui.messages(shown, event.text or "…")
                yield message, *[gr.skip()] * (len(ui.page_state([])) - 1)
                continue
            if isinstance(event, Notice):
                gr.Warning(html.escape(event.text))
            shown.append(event)
            yield ui.page_state(shown, busy=True)
    except Exception:
        log.exception("the page could not show the run")
        shown.append(Answer(prompts.SORRY))
    if chat not in _abandoned:  # still busy if the task came during a run
        yield ui.page_state(shown, _runner().is_busy(chat))


def stop(chat: str, visitor: str) -> None:
    """Stop the run of this conversation."""
    _check(chat, visitor)
    _runner().stop(chat)


# Files and conversations; each browser sees only its own conversations


def load_page(visitor: str) -> State:
    """The start of a page: an id for this browser, a new conversation, the lists."""
    visitor = visitor if memory.is_visitor(visitor) else memory.new_visitor()
    return visitor, memory.new_id(), past_chats(visitor), *downloads.files(), *ui.page_state([])


def past_chats(visitor: str) -> ui.Update:
    """The list of this browser's conversations."""
    known = memory.chats_of(SETTINGS.memory, visitor)
    times = [time.strftime("%d %b, %H:%M", time.localtime(chat.changed)) for chat in known]
    rows = [(f"{when}  {chat.title}", chat.id) for when, chat in zip(times, known, strict=True)]
    return gr.update(choices=rows, value=None)


def reopen(chat: str | None, current: str, visitor: str) -> State:
    """Continue a conversation where it stopped, also with a call that waits for approval."""
    chat = chat or current
    _check(chat, visitor)
    _leave(current, visitor)
    return chat, *ui.page_state(_events(chat))


def new_chat(chat: str, visitor: str) -> State:
    """Leave this conversation, and start a new one."""
    _leave(chat, visitor)
    return past_chats(visitor), memory.new_id(), *ui.page_state([])


def delete_chat(chat: str, visitor: str) -> State:
    """Delete this conversation permanently, and start a new one."""
    _leave(chat, visitor)
    memory.delete(SETTINGS.memory, chat)
    return new_chat(chat, visitor)


def _leave(chat: str, visitor: str) -> None:
    """Stop a conversation's run, and wait until its last events are saved."""
    _check(chat, visitor)
    runner = _runner()
    if runner.stop(chat):
        _abandoned.add(chat)
    end = time.monotonic() + STOP_SECONDS
    while runner.is_busy(chat) and time.monotonic() < end:
        time.sleep(0.02)


# The same for programs: REST (gradio_client)


def ask(task: str) -> dict[str, Any]:
    """Do a task in a new conversation: answer, steps, calls that wait for approval."""
    QUESTIONS.count()
    return _summary(chat := memory.new_id(), _runner().run(chat, Task(task), owner=PROGRAMS))


def follow(task: str) -> Iterator[dict[str, Any]]:
    """Do a task in a new conversation, and yield each step as it happens."""
    QUESTIONS.count()
    for event in _runner().run(memory.new_id(), Task(task), owner=PROGRAMS):
        if not isinstance(event, Draft):
            yield _plain(event)


def go_on(chat: str, task: str) -> dict[str, Any]:
    """Do a task in a conversation that `ask` started."""
    QUESTIONS.count()
    _check(chat, PROGRAMS)
    return _summary(chat, _runner().run(chat, Task(task)))


def answer(chat: str, call: str, choice: str, reason: str, args: str) -> dict[str, Any]:
    """Decide on a waiting call: approve, edit (with args as JSON) or refuse."""
    _check(chat, PROGRAMS)
    if choice not in ("approve", "edit", "refuse") or (args and choice != "edit"):
        raise gr.Error("choice is approve, refuse, or edit with args.", print_exception=False)
    try:
        edited = json.loads(args) if args else None
    except ValueError as error:
        raise gr.Error(f"args is not JSON: {error}", print_exception=False) from None
    return _summary(chat, _runner().run(chat, [Decision(call, choice, reason, edited)]))


def _summary(chat: str, run: Iterable[Event]) -> dict[str, Any]:
    events = [event for event in run if not isinstance(event, Draft)]
    final = last(Answer, events) or Answer("")
    waits = pending(_events(chat))
    return {
        "answer": final.text or (ui.ASKING if waits else ""),
        "model": final.model,
        "notice": final.notice,
        "chat": chat,
        "waiting": [_plain(call) for call in waits],
        "steps": [_plain(event) for event in events],
    }


def _plain(event: Event) -> dict[str, Any]:
    """An event as plain values; arguments as JSON: Gradio takes a `path` in them for a file."""
    values = as_dict(event)
    return {key: ui.as_text(value) if key == "args" else value for key, value in values.items()}


def warm_up() -> None:
    """Load LangChain, and the tools in the background."""
    from agent.toolbox import toolbox

    for problem in toolbox(wait=True)[1]:
        print(problem, flush=True)
    _runner().waiting("none")  # builds the graph


def main() -> None:
    """Serve the page until Ctrl-C."""
    SETTINGS.workspace.mkdir(parents=True, exist_ok=True)
    style = ROOT / "style.css"
    page = ui.build(sys.modules[__name__])
    with serving(page, SETTINGS, theme=ui.THEME, css_paths=style) as address:
        print(f"Open {address}", flush=True)
        threading.Thread(target=warm_up, daemon=True).start()
        wait_for_shutdown()
        _runner().stop_all(STOP_SECONDS)


if __name__ == "__main__":
    run(main)
