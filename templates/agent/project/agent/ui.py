"""The page: its components, their layout, and what they show of a run's events."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from functools import partial
from types import ModuleType
from typing import Any

import gradio as gr

from agent import downloads, prompts
from agent.events import Answer, Approval, Decision, Event, Task, Usage, last, pending
from agent.settings import SETTINGS
from agent.timeline import counter, render
from plumbing.page import sanitize

NO_STEPS = '<p class="empty">Every step appears here: the tool, its arguments, its result.</p>'
ASKING = "I would like to do this. Please approve or reject it."
FIELDS = 4  # arguments of a call that can be edited on the approval card
THEME = gr.themes.Soft(
    primary_hue="orange",
    neutral_hue="stone",
    font=["system-ui", "Segoe UI", "Roboto", "sans-serif"],  # no web font: it works offline
    font_mono=["ui-monospace", "Consolas", "monospace"],
)
BIDI = re.compile("[\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069]")  # hide an ending
Update = dict[str, Any]
PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
Parts = list[Any]  # components, in the order of a function's return values


# Layout


def build(app: ModuleType) -> gr.Blocks:
    """The page: chat on the left; steps, files and conversations on the right.

    Its components call the functions of app.py.
    """
    with gr.Blocks(title=SETTINGS.title, fill_height=True, delete_cache=(3600, 86400)) as page:
        with gr.Row(elem_id="head"):
            gr.HTML(f"<h1>{html.escape(SETTINGS.title)}</h1><p>{html.escape(SETTINGS.tagline)}</p>")
            count = gr.HTML(elem_id="counter")
            who = gr.HTML(badge(), elem_id="who")
        with gr.Row(equal_height=False):
            with gr.Column(scale=3, min_width=320):
                chatbot, card, buttons, box = _chat_column()
            with gr.Column(scale=2, min_width=300):
                with gr.Tab("Steps"):
                    timeline = gr.HTML(NO_STEPS, elem_id="steps")
                    export = gr.DownloadButton("Save this run as HTML", visible=False, size="sm")
                with gr.Tab("Files"):
                    files = _files_tab()
                with gr.Tab("Conversations"):
                    chats = _chats_tab()
        state = [chatbot, box, timeline, count, who, export, *card]
        _connect(page, app, state, buttons, files, chats)
    return page


def _connect(
    page: gr.Blocks, app: Any, state: Parts, buttons: Parts, files: Parts, chats: Parts
) -> None:
    """Connect the components with the functions of app.py."""
    chat = gr.State("")
    visitor = gr.BrowserState("", storage_key="agent-visitor", secret="a name, no secret")
    (past, new, delete), (chatbot, box), card = chats, state[:2], state[-FIELDS - 2 :]
    page.load(app.load_page, visitor, [visitor, chat, past, *files, *state], **PRIVATE)
    runs = [
        box.submit(app.do, [box, chat, visitor], state, **PRIVATE),
        chatbot.example_select(app.do_example, [chat, visitor], state, **PRIVATE),
    ]
    for button, choice in zip(buttons, ("approve", "refuse"), strict=True):
        decide = partial(app.decide, choice)
        runs.append(button.click(decide, [chat, visitor, *card], state, **PRIVATE))
    for run in runs:
        listed = run.then(downloads.files, None, files, **PRIVATE)
        listed.then(app.past_chats, visitor, past, **PRIVATE)
    box.stop(app.stop, [chat, visitor], None, queue=False, **PRIVATE)
    files[0].input(downloads.preview, files[0], files[1:], **PRIVATE)
    past.input(app.reopen, [past, chat, visitor], [chat, *state], **PRIVATE)
    new.click(app.new_chat, [chat, visitor], [past, chat, *state], **PRIVATE)
    delete.click(app.delete_chat, [chat, visitor], [past, chat, *state], **PRIVATE)
    for function in (app.ask, app.follow, app.go_on, app.answer):
        gr.api(function, api_name=function.__name__)


def _chat_column() -> tuple[gr.Chatbot, Parts, Parts, gr.MultimodalTextbox]:
    """The chat, the approval card, its two buttons, and the box for the next task."""
    chatbot = gr.Chatbot(
        show_label=False,
        layout="panel",
        height="calc(100dvh - 17rem)",
        buttons=["copy"],
        placeholder=f"## {SETTINGS.welcome}",
        examples=[{"text": text} for text in SETTINGS.examples],
        elem_id="chat",
    )
    with gr.Group(visible=False, elem_id="approval") as group:
        head = gr.HTML()
        fields = [gr.Textbox(visible=False, max_lines=8) for _ in range(FIELDS)]
        reason = gr.Textbox(label="Reason, if you reject", placeholder="The agent reads it")
        call = gr.Textbox(visible="hidden")  # what the buttons decide on
        with gr.Row():
            reject = gr.Button("Reject", elem_id="refuse")
            approve = gr.Button("Approve", variant="primary", elem_id="approve")
    return chatbot, [group, head, call, reason, *fields], [approve, reject], _box()


def _box() -> gr.MultimodalTextbox:
    return gr.MultimodalTextbox(
        placeholder="Give it a task",
        show_label=False,
        file_count="multiple",
        sources=["upload", "microphone"],
        submit_btn=True,
        interactive=False,  # until the page is loaded and the conversation has an id
        elem_id="box",
    )


def _files_tab() -> Parts:
    names = gr.Radio(show_label=False, container=False, elem_id="files")
    shown = gr.HTML(elem_id="preview")
    return [names, shown, gr.DownloadButton("Download", visible=False, size="sm")]


def _chats_tab() -> Parts:
    with gr.Row():
        new = gr.Button("New", size="sm", variant="primary")
        delete = gr.Button("Delete this one", size="sm")
    return [gr.Radio(show_label=False, container=False, elem_id="past"), new, delete]


# What the components show, which depends only on the events


def page_state(events: Sequence[Event], busy: bool = False) -> tuple[Any, ...]:
    """Chat, box, timeline, counter, badge, report; the card: head, call, reason, fields."""
    waits = [] if busy else pending(events)
    buttons: Update = {"submit_btn": not busy, "stop_btn": busy, "interactive": True}
    return (
        messages(events, "…" if busy else ""),
        gr.update(**buttons, value=None) if busy else gr.update(**buttons),
        render(events, live=busy) or NO_STEPS,
        f'<span class="counter">{counter(last(Usage, events))}</span>',
        badge(events),
        gr.skip() if busy else downloads.report(events),
        *_card(waits[0] if waits else None),
    )


def messages(events: Sequence[Event], draft: str = "") -> list[dict[str, str]]:
    """The chat's messages."""
    shown = []
    for event in events:
        if isinstance(event, Task):
            files = "".join(f"\n\n📎 {name}" for name in event.files)
            shown.append({"role": "user", "content": sanitize(event.text + files) or "…"})
        elif isinstance(event, Answer):
            shown.append({"role": "assistant", "content": _answer(event)})
    if draft:
        shown.append({"role": "assistant", "content": sanitize(draft)})
    elif pending(events):
        shown.append({"role": "assistant", "content": ASKING})
    return shown


def _answer(answer: Answer) -> str:
    """The answer as safe Markdown, below a line with the model's name."""
    by = f"{answer.notice} Finished by the {prompts.OFFLINE}" if answer.notice else answer.model
    by = f'<span class="by">{sanitize(html.escape(by))}</span>\n\n' if by else ""
    return by + sanitize(answer.text)


def badge(events: Sequence[Event] = ()) -> str:
    """The model's name, or the label of offline mode."""
    answer = last(Answer, events)
    offline = SETTINGS.provider == "offline" or bool(answer and answer.notice)
    name = "Offline stand-in" if offline else SETTINGS.chat
    return f'<span class="badge {"off" if offline else "on"}">{html.escape(name)}</span>'


def _card(call: Approval | None) -> tuple[Any, ...]:
    """The approval card: the waiting call, and its arguments to check and to edit."""
    if call is None:
        return gr.update(visible=False), "", "", "", *[gr.update(visible=False)] * FIELDS
    who = f"{html.escape(call.agent)} wants" if call.agent else "The agent wants"
    head = f"<p>{who} to run <b>{html.escape(call.tool)}</b>. It has not run yet.</p>"
    args = list(call.args.items())
    fields = [_field(name, value) for name, value in args[:FIELDS]]
    if args[FIELDS:]:  # they cannot be edited, but must be seen before the approval
        head += f"<pre>{html.escape(as_text(dict(args[FIELDS:])))}</pre>"
    hidden = [gr.update(visible=False)] * (FIELDS - len(fields))
    return gr.update(visible=True), head, call.id, "", *fields, *hidden


def decision(call: Approval, choice: str, reason: str, fields: Sequence[str]) -> Decision:
    """The decision on a call, with the arguments on its card. Raises ValueError."""
    args = dict(call.args)
    for (name, before), text in zip(call.args.items(), fields, strict=False):
        if text != as_text(before):
            args[name] = text if isinstance(before, str) else json.loads(text)
    if choice == "approve" and args != dict(call.args):
        return Decision(call.id, "edit", reason.strip(), args)
    return Decision(call.id, choice, reason.strip())


def _field(name: str, value: Any) -> Update:
    text = as_text(value)
    lines = min(8, max(1, text.count("\n") + 1 + len(text) // 80))
    return gr.update(label=name, value=text, lines=lines, visible=True)


def as_text(value: Any) -> str:
    """An argument in a field: a text as it is, anything else as JSON; no mark reverses a part."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return BIDI.sub(lambda mark: f"\\u{ord(mark[0]):04x}", text)
