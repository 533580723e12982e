"""The command line: `uv run python -m agent "task"`, and approve | refuse | chats | …"""

from __future__ import annotations

import io
import json
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from agent import memory, prompts, report
from agent.settings import SETTINGS
from agent.events import (
    Answer,
    Approval,
    Call,
    Decision,
    Draft,
    Notice,
    Result,
    Step,
    Task,
    Thought,
    Usage,
    as_dict,
)
from agent.timeline import counter

app = typer.Typer(help="Give the agent a task, and manage its conversations.")
screen, notes = Console(), Console(stderr=True)

WAITS = 3  # the exit code when a call waits for approval
Chat = Annotated[str, typer.Argument(metavar="CHAT", help="A conversation's name; see `chats`.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("do")
def do_task(
    task: Annotated[str, typer.Argument(help="The task.")],
    chat: Annotated[str, typer.Option(help="Continue this conversation.")] = "",
    file: Annotated[list[Path] | None, typer.Option(help="Attach this file; repeatable.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Approve everything.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print each step as a line.")] = False,
) -> None:
    """Do a task. `do` may be left out: python -m agent "What is 2 * 21?"

    The exit code is 0 after an answer, and 3 if a call waits for approval.
    """
    missing = [path for path in file or () if not path.is_file()]
    if missing:
        raise typer.BadParameter(f"there is no file {missing[0]}")
    from agent import loop  # slow to import, and `status` and `chats` do not need it

    chat = chat or memory.new_id()
    request = Task(task, tuple(str(path.absolute()) for path in file or ()))
    _work(chat, loop.run(chat, request, yes=yes), as_json=as_json)


@app.command()
def approve(
    chat: Chat,
    args: Annotated[str, typer.Option(help="Other arguments for the call, as JSON.")] = "",
    as_json: AsJson = False,
) -> None:
    """Approve the waiting calls of a conversation, and continue."""
    try:
        edited = json.loads(args) if args else None
    except ValueError as error:
        raise typer.BadParameter(f"--args is not JSON: {error}") from None
    choice = "edit" if edited is not None else "approve"
    _decide(chat, choice, edited, as_json=as_json)


@app.command()
def refuse(
    chat: Chat,
    reason: Annotated[str, typer.Option(help="Why; the model reads it.")] = "",
    as_json: AsJson = False,
) -> None:
    """Reject the waiting calls of a conversation, and continue."""
    _decide(chat, "refuse", None, reason, as_json=as_json)


@app.command()
def chats(as_json: AsJson = False) -> None:
    """List the conversations, the latest first."""
    known = memory.chats(SETTINGS.memory)
    if as_json:
        rows = [{"chat": c.id, "title": c.title, "changed": c.changed} for c in known]
        print(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    for each in known:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(each.changed))
        screen.print(f"{each.id}  {when}  {each.title}", markup=False, highlight=False)
    if not known:
        notes.print('None yet. Start one: uv run python -m agent "What is 2 * 21?"')


@app.command()
def show(chat: Chat, as_json: AsJson = False) -> None:
    """Show the steps of a conversation."""
    _print(iter(_steps(chat)), as_json=as_json)


@app.command()
def export(chat: Chat, file: Annotated[Path, typer.Argument(help="As run.html")]) -> None:
    """Write a conversation to one HTML file, to show to the judges."""
    steps = _steps(chat)
    try:
        file.write_text(report.to_html(SETTINGS.title, steps), encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be written: {error.strerror}") from None
    notes.print(f"Written to {file}", highlight=False)


@app.command()
def delete(chat: Chat) -> None:
    """Delete a conversation permanently."""
    if not memory.delete(SETTINGS.memory, chat):
        _no_chat(chat)
    notes.print(f"Deleted: {chat}", highlight=False)


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show the model, the address, the tools, and the number of conversations."""
    from agent.mcp import toolbox

    tools, problems = toolbox()
    about: dict[str, Any] = {
        "provider": SETTINGS.provider,
        "chat_model": SETTINGS.chat,
        "host": SETTINGS.host,
        "port": SETTINGS.port,
        "question": next(iter(SETTINGS.examples), ""),
        "tools": [tool.name for tool in tools],
        "problems": list(problems),
        "chats": len(memory.chats(SETTINGS.memory)),
    }
    if as_json:
        print(json.dumps(about, ensure_ascii=False, indent=2))
        return
    port = SETTINGS.port or "7860, or the next free one"
    for title, text in (
        ("Model", SETTINGS.chat or f"none ({prompts.OFFLINE})"),
        ("Address", f"{SETTINGS.host}, port {port}"),
        ("Tools", ", ".join(about["tools"])),
        ("Chats", str(about["chats"])),
        *(("Missing", problem) for problem in problems),
    ):
        screen.print(f"{title:<8}  {text}", markup=False, highlight=False, soft_wrap=True)


# Printing a run


def _decide(
    chat: str, choice: str, args: Any = None, reason: str = "", *, as_json: bool = False
) -> None:
    from agent import loop

    _steps(chat)
    open_calls = loop.waiting(chat)
    if not open_calls:
        notes.print(f"No call waits for approval in {chat}.", style="yellow", highlight=False)
        raise typer.Exit(1)
    decisions = [Decision(call.id, choice, reason, args) for call in open_calls]
    _work(chat, loop.run(chat, decisions), as_json=as_json)


def _work(chat: str, steps: Iterator[Step], *, as_json: bool) -> None:
    """Print a run as it happens; on a terminal, ask for approval of each waiting call."""
    from agent import loop

    while True:
        asked = _print(steps, as_json=as_json)
        if not asked:
            return
        if as_json or not sys.stdin.isatty():
            notes.print(
                f"A call waits for approval.\nFix: uv run python -m agent approve {chat}  "
                f"(or: refuse {chat} --reason …; or --yes to approve everything)",
                highlight=False,
            )
            raise typer.Exit(WAITS)
        steps = loop.run(chat, [_ask(call) for call in asked])


def _ask(call: Approval) -> Decision:
    reply = typer.prompt(f"Run {call.tool}? Type y, n, or a reason to reject it", err=True).strip()
    if reply.lower() in {"y", "yes"}:
        return Decision(call.id, "approve")
    return Decision(call.id, "refuse", "" if reply.lower() in {"n", "no"} else reply)


def _print(steps: Iterator[Step], *, as_json: bool) -> list[Approval]:
    """Print the steps; return the calls that wait for approval."""
    asked: list[Approval] = []
    for step in steps:
        if isinstance(step, Approval):
            asked.append(step)
        if isinstance(step, Decision):
            asked = [call for call in asked if call.id != step.id]
        if as_json and not isinstance(step, Draft):
            print(json.dumps(as_dict(step), ensure_ascii=False, default=str), flush=True)
        elif not as_json:
            _print_step(step)
    return asked


def _print_step(step: Step) -> None:
    if isinstance(step, Answer):
        by = " — ".join(filter(None, [step.notice, step.model]))
        print(step.text, flush=True)
        notes.print(by, style="dim", markup=False, highlight=False)
    elif line := _line(step):
        notes.print(line, markup=False, highlight=False, soft_wrap=True, style="dim")


def _line(step: Step) -> str:
    who = f"{step.agent}: " if isinstance(step, Thought | Call | Result) and step.agent else ""
    match step:
        case Task(text):
            return f"> {text}"
        case Thought(text):
            return f"{who}{text}"
        case Call(_, tool, args) | Approval(_, tool, args):
            mark = "?" if isinstance(step, Approval) else "→"
            shown = ", ".join(f"{name}={value!r}" for name, value in args.items())
            return f"{who}{mark} {tool}({shown[:300]})"
        case Result(_, tool, text, ok, seconds):
            first = next(iter(text.strip().splitlines()), "")
            return f"{who}{'✓' if ok else '✗'} {tool}, {seconds:.1f} s: {first[:120]}"
        case Decision(_, choice, reason):
            return f"{choice}{f': {reason}' if reason else ''}"
        case Notice(text):
            return f"! {text}"
        case Usage():
            return counter(step)
    return ""


def _steps(chat: str) -> Sequence[Step]:
    return memory.steps(SETTINGS.memory, chat) or _no_chat(chat)


def _no_chat(chat: str) -> Any:
    notes.print(f"There is no conversation {chat}.\nFix: uv run python -m agent chats")
    raise typer.Exit(1)


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
