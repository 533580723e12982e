"""The web app: `uv run app.py`. Shows the chat, steps, approvals, files and conversations."""

from __future__ import annotations

import atexit
import html
import json
import logging
import mimetypes
import os
import secrets
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # Gradio sends no usage data

import gradio as gr

from agent import memory, prompts, report
from agent.settings import SETTINGS
from agent.steps import (
    Answer,
    Approval,
    Decision,
    Draft,
    Notice,
    Step,
    Task,
    Usage,
    as_dict,
    pending,
)
from agent.timeline import counter, render
from plumbing.page import catch_signals, sanitize, wait_for_shutdown

log = logging.getLogger(__name__)
HERE = Path(__file__).parent
PLACEHOLDER = "Give it a task"
NO_STEPS = "Every step appears here: the tool, its arguments and its result."
ASKING = "I would like to do this. Please approve or reject it."
FIELDS = 4  # arguments of a call that can be edited on the approval card
PREVIEW_CHARS = 6000
STOP_SECONDS = 3  # that a stopped run may take to end
Update = dict[str, Any]

_abandoned: set[str] = set()  # conversations that the user left during a run


# Event handlers: a task, a decision, Stop


def do(message: Mapping[str, Any], chat: str, visitor: str) -> Iterator[tuple[Any, ...]]:
    """Do a task, and show every step as it happens."""
    from agent import loop  # imported here: the page is served before LangChain is loaded

    files = tuple(str(file) for file in message.get("files") or ())
    task = Task((message.get("text") or "").strip(), files)
    yield from _follow(chat, loop.run(chat, task, owner=visitor))


def do_example(data: gr.SelectData, chat: str, visitor: str) -> Iterator[tuple[Any, ...]]:
    """Do one of the example tasks."""
    yield from do(data.value, chat, visitor)


def decide(choice: str, reason: str, chat: str, *fields: str) -> Iterator[tuple[Any, ...]]:
    """Approve the waiting call with the arguments on the card, or reject it, and continue."""
    from agent import loop

    waits = pending(memory.steps(SETTINGS.memory, chat))
    if not waits:
        yield _page_state(memory.steps(SETTINGS.memory, chat))
        return
    try:
        args = _edited(waits[0], fields)
    except ValueError as error:
        gr.Warning(f"This is not valid JSON: {error}")
        yield _page_state(memory.steps(SETTINGS.memory, chat))
        return
    edits = choice == "approve" and args != dict(waits[0].args)
    decision = Decision(
        waits[0].id, "edit" if edits else choice, reason.strip(), args if edits else None
    )
    yield from _follow(chat, loop.run(chat, [decision]))


def _edited(call: Approval, fields: Sequence[str]) -> dict[str, Any]:
    """The arguments on the card. Raises ValueError."""
    args = dict(call.args)
    for (name, before), text in zip(call.args.items(), fields, strict=False):
        if text != _as_text(before):
            args[name] = text if isinstance(before, str) else json.loads(text)
    return args


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _follow(chat: str, run: Iterator[Step]) -> Iterator[tuple[Any, ...]]:
    """The whole page after each step; while text is streamed, only the chat."""
    shown = memory.steps(SETTINGS.memory, chat)
    _abandoned.discard(chat)
    try:
        for step in run:
            if chat in _abandoned:  # the page shows another conversation now
                return
            if isinstance(step, Draft):
                yield _messages(shown, step.text or "…"), *[gr.skip()] * (OUTPUTS - 1)
                continue
            if isinstance(step, Notice):
                gr.Warning(html.escape(step.text))
            shown.append(step)
            yield _page_state(shown, busy=True)
    except Exception:
        log.exception("the page could not show the run")
        shown.append(Answer(prompts.SORRY))
    if chat not in _abandoned:
        yield _page_state(shown, _is_busy(chat))  # still busy if the task came during a run


def stop(chat: str) -> None:
    """Stop the run of this conversation."""
    from agent import loop

    loop.stop(chat)


def _is_busy(chat: str) -> bool:
    from agent import loop

    return loop.is_busy(chat)


# The page's state, which depends only on the steps


OUTPUTS = 6 + 3 + FIELDS


def _page_state(steps: Sequence[Step], busy: bool = False) -> tuple[Any, ...]:
    """Chat, box, timeline, counter, badge, report; then the card with head, reason and fields."""
    waits = [] if busy else pending(steps)
    buttons: dict[str, Any] = {"submit_btn": not busy, "stop_btn": busy, "interactive": True}
    box = gr.update(**buttons, value=None) if busy else gr.update(**buttons)
    return (
        _messages(steps, "…" if busy else ""),
        box,
        _timeline(steps, busy),
        f'<span class="counter">{counter(_usage(steps))}</span>',
        badge(steps),
        gr.skip() if busy else _report(steps),
        *_card(waits[0] if waits else None),
    )


def _messages(steps: Sequence[Step], draft: str = "") -> list[dict[str, str]]:
    """The chat's messages."""
    messages = []
    for step in steps:
        if isinstance(step, Task):
            files = "".join(f"\n\n📎 {name}" for name in step.files)
            messages.append({"role": "user", "content": sanitize(step.text + files) or "…"})
        elif isinstance(step, Answer):
            messages.append({"role": "assistant", "content": _answer_markdown(step)})
    if draft:
        messages.append({"role": "assistant", "content": sanitize(draft)})
    elif pending(steps):
        messages.append({"role": "assistant", "content": ASKING})
    return messages


def _answer_markdown(answer: Answer) -> str:
    """The answer as safe Markdown, below a line with the model's name."""
    by = f"{answer.notice} Finished by the {prompts.OFFLINE}" if answer.notice else answer.model
    by = f'<span class="by">{sanitize(html.escape(by))}</span>\n\n' if by else ""
    return by + sanitize(answer.text)


def _timeline(steps: Sequence[Step], busy: bool) -> str:
    shown = render(steps, live=busy)
    return shown or f'<p class="empty">{NO_STEPS}</p>'


def _usage(steps: Sequence[Step]) -> Usage | None:
    return next((step for step in reversed(steps) if isinstance(step, Usage)), None)


def badge(steps: Sequence[Step] = ()) -> str:
    """The model's name, or the label of offline mode."""
    last = next((step for step in reversed(steps) if isinstance(step, Answer)), None)
    offline = SETTINGS.provider == "offline" or bool(last and last.notice)
    name = "Offline stand-in" if offline else SETTINGS.chat
    return f'<span class="badge {"off" if offline else "on"}">{html.escape(name)}</span>'


def _card(call: Approval | None) -> tuple[Any, ...]:
    """The approval card: the waiting call, and its arguments to check and to edit."""
    if call is None:
        return gr.update(visible=False), "", "", *[gr.update(visible=False)] * FIELDS
    who = f"{html.escape(call.agent)} wants" if call.agent else "The agent wants"
    head = f"<p>{who} to run <b>{html.escape(call.tool)}</b>. It has not run yet.</p>"
    args = list(call.args.items())
    fields = [_field(name, value) for name, value in args[:FIELDS]]
    if args[FIELDS:]:  # they cannot be edited, but must be seen before the approval
        head += f"<pre>{html.escape(_as_text(dict(args[FIELDS:])))}</pre>"
    hidden = [gr.update(visible=False)] * (FIELDS - len(fields))
    return gr.update(visible=True), head, "", *fields, *hidden


def _field(name: str, value: Any) -> Update:
    text = _as_text(value)
    lines = min(8, max(1, text.count("\n") + 1 + len(text) // 80))
    return gr.update(label=name, value=text, lines=lines, visible=True)


# Files of the workspace


def files() -> tuple[Update, str, Update]:
    """The list of the files, with none selected."""
    from agent.tools.files import list_paths

    names = list_paths()
    empty = '<p class="empty">Select a file to see its content.</p>'
    return gr.update(choices=names, value=None), empty, gr.update(visible=False)


def preview(name: str | None) -> tuple[str, Update]:
    """A preview of a file, and its download button."""
    from agent.tools import ToolError
    from agent.tools.files import inside

    try:
        path = inside(name or "")
        return _shown(path), gr.update(value=str(path), visible=True)
    except (ToolError, OSError) as error:
        return f'<p class="empty">{html.escape(str(error))}</p>', gr.update(visible=False)


def _shown(path: Path) -> str:
    from agent.tools.files import lines_of

    kind = mimetypes.guess_type(path.name)[0] or ""
    if kind in {"image/png", "image/jpeg", "image/gif", "image/webp"}:
        return f'<img alt="{html.escape(path.name)}" src="{_data_url(path, kind)}">'
    text = "\n".join(lines_of(path))
    more = f"\n… {len(text) - PREVIEW_CHARS:,} more characters" if len(text) > PREVIEW_CHARS else ""
    return f"<pre>{html.escape(text[:PREVIEW_CHARS] + more)}</pre>"


def _data_url(path: Path, kind: str) -> str:
    import base64

    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


# Conversations: each browser sees only its own


def load_page(visitor: str) -> tuple[Any, ...]:
    """The start of a page: an id for this browser, a new conversation, the lists."""
    visitor = visitor or secrets.token_hex(8)
    return visitor, memory.new_id(), past_chats(visitor), *files(), *_page_state([])


def past_chats(visitor: str) -> Update:
    """The list of this browser's conversations."""
    known = memory.chats(SETTINGS.memory, visitor)
    rows = [(f"{_when(chat.changed)}  {chat.title}", chat.id) for chat in known]
    return gr.update(choices=rows, value=None)


def _when(seconds: float) -> str:
    return time.strftime("%d %b, %H:%M", time.localtime(seconds))


def reopen(chat: str | None, current: str) -> tuple[Any, ...]:
    """Continue a conversation where it stopped, also with a call that waits for approval."""
    _leave(current)
    chat = chat or current
    return chat, *_page_state(memory.steps(SETTINGS.memory, chat))


def new_chat(chat: str, visitor: str) -> tuple[Any, ...]:
    """Leave this conversation, and start a new one."""
    _leave(chat)
    return past_chats(visitor), memory.new_id(), *_page_state([])


def delete_chat(chat: str, visitor: str) -> tuple[Any, ...]:
    """Delete this conversation permanently, and start a new one."""
    _leave(chat)
    memory.delete(SETTINGS.memory, chat)
    return new_chat(chat, visitor)


def _leave(chat: str) -> None:
    """Stop a conversation's run, and wait until its last steps are saved."""
    if _is_busy(chat):
        _abandoned.add(chat)
        stop(chat)
    end = time.monotonic() + STOP_SECONDS
    while _is_busy(chat) and time.monotonic() < end:
        time.sleep(0.02)


@cache
def _exports() -> Path:
    """The folder of the reports to download; it is deleted when the app ends."""
    folder = Path(tempfile.mkdtemp(prefix="agent-runs-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _report(steps: Sequence[Step]) -> Update:
    """The run as one HTML file, for the download button."""
    if not any(isinstance(step, Answer) for step in steps):
        return gr.update(visible=False)
    file = _exports() / f"run-{time.strftime('%Y-%m-%d-%H%M%S')}-{secrets.token_hex(2)}.html"
    file.write_text(report.to_html(SETTINGS.title, steps), encoding="utf-8")
    return gr.update(value=str(file), visible=True)


# The same for programs: REST (gradio_client)


def ask(task: str) -> dict[str, Any]:
    """Do a task in a new conversation: answer, steps, calls that wait for approval."""
    return go_on(memory.new_id(), task)


def follow(task: str) -> Iterator[dict[str, Any]]:
    """Do a task in a new conversation, and yield each step as it happens."""
    from agent import loop

    for step in loop.run(memory.new_id(), Task(task)):
        if not isinstance(step, Draft):
            yield _plain(step)


def go_on(chat: str, task: str) -> dict[str, Any]:
    """Do a task in an existing conversation."""
    from agent import loop

    return _summary(chat, loop.run(chat, Task(task)))


def answer(chat: str, call: str, choice: str, reason: str, args: str) -> dict[str, Any]:
    """Decide on a waiting call: approve, edit (with args as JSON) or refuse."""
    from agent import loop

    try:
        edited = json.loads(args) if args else None
    except ValueError as error:
        raise gr.Error(f"args is not JSON: {error}", print_exception=False) from None
    return _summary(chat, loop.run(chat, [Decision(call, choice, reason, edited)]))


def _summary(chat: str, run: Iterable[Step]) -> dict[str, Any]:
    steps = [step for step in run if not isinstance(step, Draft)]
    last = next((step for step in reversed(steps) if isinstance(step, Answer)), Answer(""))
    waits = pending(memory.steps(SETTINGS.memory, chat))
    return {
        "answer": last.text or (ASKING if waits else ""),
        "model": last.model,
        "notice": last.notice,
        "chat": chat,
        "waiting": [_plain(call) for call in waits],
        "steps": [_plain(step) for step in steps],
    }


def _plain(step: Step) -> dict[str, Any]:
    """A step as plain values; arguments as JSON, since Gradio takes a `path` in them for a file."""
    values = as_dict(step)
    return {key: _as_text(value) if key == "args" else value for key, value in values.items()}


# The page

Parts = list[Any]  # components, in the order of a function's return values
PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


def build() -> gr.Blocks:
    """Build the page: the chat on the left; steps, files and conversations on the right."""
    with gr.Blocks(title=SETTINGS.title, fill_height=True) as page:
        chat = gr.State("")
        visitor = gr.BrowserState("", storage_key="agent-visitor", secret="a name, no secret")
        with gr.Row(elem_id="head"):
            gr.HTML(f"<h1>{html.escape(SETTINGS.title)}</h1><p>{html.escape(SETTINGS.tagline)}</p>")
            count = gr.HTML(elem_id="counter")
            who = gr.HTML(badge(), elem_id="who")
        with gr.Row(equal_height=False):
            with gr.Column(scale=3, min_width=320):
                chatbot, box, card, buttons = chat_column()
            with gr.Column(scale=2, min_width=300):
                with gr.Tab("Steps"):
                    timeline = gr.HTML(_timeline([], False), elem_id="steps")
                    export = gr.DownloadButton("Save this run as HTML", visible=False, size="sm")
                with gr.Tab("Files"):
                    library = files_tab()
                with gr.Tab("Conversations"):
                    chats = chats_tab(
                        chat, visitor, [chatbot, box, timeline, count, who, export, *card]
                    )
        outputs = [chatbot, box, timeline, count, who, export, *card]
        connect_events(chatbot, box, buttons, [chat, visitor, chats], library, outputs)
        start = [visitor, chat, chats, *library, *outputs]
        page.load(load_page, visitor, start, **PRIVATE)
        for function in (ask, follow, go_on, answer):
            gr.api(function, api_name=function.__name__)
    return page


def chat_column() -> tuple[gr.Chatbot, gr.MultimodalTextbox, Parts, Parts]:
    """The chat, the approval card (with its two buttons), and the box for the next task."""
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
        with gr.Row():
            reject = gr.Button("Reject", elem_id="refuse")
            approve = gr.Button("Approve", variant="primary", elem_id="approve")
    box = gr.MultimodalTextbox(
        placeholder=PLACEHOLDER,
        show_label=False,
        file_count="multiple",
        sources=["upload", "microphone"],
        submit_btn=True,
        interactive=False,  # until the page is loaded and the conversation has a name
        elem_id="box",
    )
    return chatbot, box, [group, head, reason, *fields], [approve, reject]


def files_tab() -> Parts:
    """The files of the workspace: the list, a preview, the download button."""
    names = gr.Radio(show_label=False, container=False, elem_id="files")
    shown = gr.HTML(elem_id="preview")
    download = gr.DownloadButton("Download", visible=False, size="sm")
    names.input(preview, names, [shown, download], **PRIVATE)
    return [names, shown, download]


def chats_tab(chat: gr.State, visitor: gr.BrowserState, outputs: Parts) -> gr.Radio:
    """This browser's conversations: continue one, delete it, or start a new one."""
    with gr.Row():
        new = gr.Button("New", size="sm", variant="primary")
        delete = gr.Button("Delete this one", size="sm")
    chats = gr.Radio(show_label=False, container=False, elem_id="past")
    chats.input(reopen, [chats, chat], [chat, *outputs], **PRIVATE)
    new.click(new_chat, [chat, visitor], [chats, chat, *outputs], **PRIVATE)
    delete.click(delete_chat, [chat, visitor], [chats, chat, *outputs], **PRIVATE)
    return chats


def connect_events(
    chatbot: gr.Chatbot, box: gr.MultimodalTextbox, buttons: Parts, names: Parts, *fills: Parts
) -> None:
    """Connect tasks, decisions and Stop to their handlers, and refresh the lists after a run."""
    (chat, visitor, chats), (library, outputs), (approve, reject) = names, fills, buttons
    reason, *fields = outputs[-FIELDS - 1 :]
    runs = [
        box.submit(do, [box, chat, visitor], outputs, **PRIVATE),
        chatbot.example_select(do_example, [chat, visitor], outputs, **PRIVATE),
    ]
    for button, choice in ((approve, "approve"), (reject, "refuse")):
        handler = partial(decide, choice)
        runs.append(button.click(handler, [reason, chat, *fields], outputs, **PRIVATE))
    for run in runs:
        run.then(files, None, library, **PRIVATE).then(past_chats, visitor, chats, **PRIVATE)
    box.stop(stop, chat, None, queue=False, **PRIVATE)


THEME = gr.themes.Soft(
    primary_hue="orange",
    neutral_hue="stone",
    font=["system-ui", "Segoe UI", "Roboto", "sans-serif"],  # no web font: it works offline
    font_mono=["ui-monospace", "Consolas", "monospace"],
)


def warm_up() -> None:
    """Load LangChain, the tools and the MCP servers in the background."""
    from agent import loop, mcp

    for problem in mcp.toolbox()[1]:
        print(problem, flush=True)
    loop.waiting("none")  # builds the graph


def main() -> None:
    """Serve the page until Ctrl-C."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    catch_signals()
    SETTINGS.workspace.mkdir(parents=True, exist_ok=True)
    page = build().queue(default_concurrency_limit=8)  # several users may run tasks in parallel
    try:
        _, address, _ = page.launch(
            server_name=SETTINGS.host,
            server_port=SETTINGS.port or None,
            theme=THEME,
            css_paths=HERE / "style.css",
            footer_links=[],
            allowed_paths=[str(SETTINGS.workspace), str(_exports())],
            max_file_size=f"{SETTINGS.max_file_mb}mb",
            prevent_thread_lock=True,
            quiet=True,
        )
    except OSError as error:
        sys.exit(f"The app could not start: {error}\nFix: choose another PORT in .env")
    print(f"Open {address}", flush=True)
    threading.Thread(target=warm_up, daemon=True).start()
    wait_for_shutdown()
    from agent import loop

    loop.stop_all(STOP_SECONDS)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:  # before the page was served
        sys.exit(130)
