"""The command line: `uv run python -m agent "task"`, and approve | refuse | chats | …"""

from __future__ import annotations

import io
import json
import logging
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from agent import memory, prompts
from agent.events import (
    Answer,
    Approval,
    Call,
    Decision,
    Draft,
    Event,
    Notice,
    Result,
    Task,
    Thought,
    Usage,
    as_dict,
    last,
    pending,
)
from agent.settings import SETTINGS
from agent.timeline import counter, to_html

app = typer.Typer(help="Give the agent a task, and manage its conversations.")
screen = Console(markup=False, highlight=False, soft_wrap=True)
notes = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)

WAITS = 3  # the exit code when a call waits for approval
Named = Annotated[str, typer.Argument(metavar="[CALL]", help="Its name, if several calls wait.")]
Chat = Annotated[str, typer.Argument(metavar="CHAT", help="A conversation's name; see `chats`.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("do")
def do_task(
    task: Annotated[str, typer.Argument(help="The task.")],
    chat: Annotated[str, typer.Option(help="Continue this conversation.")] = "",
    file: Annotated[list[Path] | None, typer.Option(help="Attach this file; repeatable.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Approve everything.")] = False,
    as_json: AsJson = False,
) -> None:
    """Do a task. `do` may be left out: python -m agent "What is 2 * 21?"

    The exit code is 0 after an answer, 3 if a call waits for approval, and 1 without an answer.
    """
    missing = [path for path in file or () if not path.is_file()]
    if missing:
        raise typer.BadParameter(f"there is no file {missing[0]}")
    request = Task(task, tuple(str(path.absolute()) for path in file or ()))
    _run(chat or memory.new_id(), request, as_json, yes=yes)


@app.command()
def approve(
    chat: Chat,
    call: Named = "",
    args: Annotated[str, typer.Option(help="Other arguments for the call, as JSON.")] = "",
    as_json: AsJson = False,
) -> None:
    """Approve a waiting call of a conversation, and continue."""
    try:
        edited = json.loads(args) if args else None
    except ValueError as error:
        raise typer.BadParameter(f"--args is not JSON: {error}") from None
    choice = "edit" if args else "approve"
    _run(chat, [Decision(_waiting(chat, call), choice, args=edited)], as_json)


@app.command()
def refuse(
    chat: Chat,
    call: Named = "",
    reason: Annotated[str, typer.Option(help="Why; the model reads it.")] = "",
    as_json: AsJson = False,
) -> None:
    """Reject a waiting call of a conversation, and continue."""
    _run(chat, [Decision(_waiting(chat, call), "refuse", reason)], as_json)


@app.command()
def chats(as_json: AsJson = False) -> None:
    """List the conversations, the latest first."""
    known, waiting = memory.chats(SETTINGS.memory), memory.waiting(SETTINGS.memory)
    waits = {chat: [call.tool for call in calls] for chat, calls in waiting.items()}
    if as_json:
        rows = [asdict(each) | {"chat": each.id, "waits": waits.get(each.id, [])} for each in known]
        print(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    for each in known:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(each.changed))
        mark = f"  (waits for approval: {', '.join(waits[each.id])})" if each.id in waits else ""
        screen.print(f"{each.id}  {when}  {each.title}{mark}")
    if not known:
        notes.print('None yet. Start one: uv run python -m agent "What is 2 * 21?"')


@app.command()
def show(chat: Chat, as_json: AsJson = False) -> None:
    """Show the events of a conversation."""
    _print(_events(chat), as_json)


@app.command()
def export(chat: Chat, file: Annotated[Path, typer.Argument(help="As run.html")]) -> None:
    """Write a conversation to one HTML file, to show to the judges."""
    page = to_html(SETTINGS.title, _events(chat))
    try:
        file.write_text(page, encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be written: {error.strerror}") from None
    notes.print(f"Written to {file}")


@app.command()
def delete(chat: Chat) -> None:
    """Delete a conversation permanently."""
    _events(chat)
    memory.delete(SETTINGS.memory, chat)
    notes.print(f"Deleted: {chat}")


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show the model, the address, the tools, and the number of conversations."""
    from agent.toolbox import toolbox

    tools, problems = toolbox(wait=True)
    about: dict[str, Any] = {
        "provider": SETTINGS.provider,
        "chat_model": SETTINGS.chat,
        "host": SETTINGS.host,
        "port": SETTINGS.port,
        "question": next(iter(SETTINGS.examples), ""),
        "tools": [tool.name for tool in tools],
        "problems": list(problems),
        "chats": len(memory.chats(SETTINGS.memory)),
        "waiting": list(memory.waiting(SETTINGS.memory)),
    }
    if as_json:
        print(json.dumps(about, ensure_ascii=False, indent=2))
        return
    port = SETTINGS.port or "7860, or the next free one"
    lines = [f"Model    {SETTINGS.chat or prompts.OFFLINE}"]
    lines += [f"Address  {SETTINGS.host}, port {port}"]
    lines += [f"Tools    {', '.join(about['tools'])}", f"Chats    {about['chats']}"]
    lines += [f"Waits    uv run python -m agent approve {chat}" for chat in about["waiting"]]
    screen.print("\n".join([*lines, *(f"Missing  {problem}" for problem in problems)]))


def _run(chat: str, request: Task | Sequence[Decision], as_json: bool, **more: Any) -> None:
    """Print a run as it happens; on a terminal, ask for approval of each waiting call."""
    from agent import offline, runner, toolbox  # slow to import; `chats` does not need them

    toolbox.toolbox(wait=True)
    _print(runner.run(chat, request, **more), as_json)
    while asked := pending(memory.events(SETTINGS.memory, chat)):
        if as_json or not sys.stdin.isatty():
            fix = f"uv run python -m agent approve {chat} {asked[0].id}  (or: refuse …, or --yes)"
            notes.print(f"A call waits for approval.\nFix: {fix}")
            raise typer.Exit(WAITS)
        _print(runner.run(chat, [_ask(call) for call in asked], **more), as_json)
    if (answer := last(Answer, _events(chat))) and answer.text == offline.NO_RULE:
        raise typer.Exit(1)


def _waiting(chat: str, call: str) -> str:
    """The id of the call to decide on: the named one, or the only one."""
    calls = pending(_events(chat))
    chosen = [each.id for each in calls if call in ("", each.id)]
    if len(chosen) != 1:
        notes.print(f"Calls that wait for approval in {chat}: {len(calls)}", style="yellow")
        fixes = [f"{_line(it)}\nFix: uv run python -m agent approve {chat} {it.id}" for it in calls]
        notes.print("\n".join(fixes))
        raise typer.Exit(1)
    return chosen[0]


def _ask(call: Approval) -> Decision:
    reply = typer.prompt(f"Run {call.tool}? Type y, n, or a reason to reject it", err=True).strip()
    if reply.lower() in {"y", "yes"}:
        return Decision(call.id, "approve")
    return Decision(call.id, "refuse", "" if reply.lower() in {"n", "no"} else reply)


def _print(events: Iterable[Event], as_json: bool) -> None:
    for event in events:
        if as_json and not isinstance(event, Draft):
            print(json.dumps(as_dict(event), ensure_ascii=False, default=str), flush=True)
        elif isinstance(event, Answer) and not as_json:
            print(event.text, flush=True)
            notes.print(" — ".join(filter(None, [event.notice, event.model])), style="dim")
        elif not as_json and (line := _line(event)):
            notes.print(line, style="dim")


def _line(event: Event) -> str:
    agent = getattr(event, "agent", "")
    who = f"{agent}: " if agent else ""
    match event:
        case Task(text) | Thought(text) | Notice(text):
            mark = {Task: "> ", Notice: "! "}.get(type(event), "")
            return f"{mark}{who}{text}"
        case Call(_, tool, args) | Approval(_, tool, args):
            mark = "?" if isinstance(event, Approval) else "→"
            return f"{who}{mark} {tool}({args})"[:300]
        case Result(_, tool, text, ok, seconds):
            first = text.strip().partition("\n")[0][:120]
            return f"{who}{'✓' if ok else '✗'} {tool}, {seconds:.1f} s: {first}"
        case Decision(_, choice, reason):
            return f"{choice} {reason}"
    return counter(event) if isinstance(event, Usage) else ""


def _events(chat: str) -> Sequence[Event]:
    """The events of a conversation, which must exist."""
    if not (events := memory.events(SETTINGS.memory, chat)):
        notes.print(f"There is no conversation {chat}.\nFix: uv run python -m agent chats")
        raise typer.Exit(1)
    return events


def main(words: list[str]) -> None:
    """Run a command; without a command's name the words are a task."""
    names = {command.name or command.callback.__name__ for command in app.registered_commands}  # type: ignore[union-attr]
    if words and not (words[0] in names or words[0] in {"--help", "-h"}):
        words = ["do", *words]
    app(words or ["--help"], prog_name="python -m agent")


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="replace")
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    main(sys.argv[1:])
