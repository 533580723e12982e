"""The events of a run as HTML: the page's timeline, and the exported report."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from markdown_it import MarkdownIt

from agent import prompts
from agent.events import (
    Answer,
    Approval,
    Call,
    Decision,
    Event,
    Notice,
    Result,
    Task,
    Thought,
    Usage,
    last,
)
from agent.settings import ROOT

SHOWN = 4_000  # characters of one text; a longer one is cut with a note
PREVIEW = 120  # characters of the one-line preview of a call's arguments

# Control characters, right-to-left marks, and half characters (lone surrogates): they are
# invisible, but change how the text around them reads, or cannot be written to a file.
_INVISIBLE = re.compile(
    r"[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_COLOURS = re.compile(r"\x1b\[[\d;]*m")  # terminal colours in logs

# Either one task, thought or notice; or all events of one call by their type. The key Answer says
# that the call's run is over.
Row = dict[type, Any]


def render(events: Sequence[Event], live: bool = False) -> str:
    """The timeline: a row for each thought, call and notice; "" if there is none.

    `live`: the run is in progress, so a call without a result is running; otherwise it was stopped.
    All text of models, tools and files is escaped.
    """
    rows = _rows(events)
    tasks = [row for row in rows if Task in row]
    if len(tasks) == 1:  # the page shows it already; several tasks separate the rows
        rows.remove(tasks[0])
    items = [_item(row, live) for row in rows]
    if live and not any(_state(row, live)[0] in {"running", "waiting"} for row in rows):
        items.append('<li class="thought running">Thinking</li>')
    return f'<ol class="timeline">{"".join(items)}</ol>' if items else ""


def counter(usage: Usage | None) -> str:
    """A run's usage in one line: `4 steps · 1,204 tokens · $0.0003 · 3.2 s`."""
    if usage is None:
        return ""
    tokens = usage.tokens_in + usage.tokens_out
    parts = [f"{usage.steps:,} step{'' if usage.steps == 1 else 's'}"]
    parts += [f"{tokens:,} tokens"] if tokens else []
    parts += [] if usage.cost is None else [f"${usage.cost:.4f}"]
    return " · ".join([*parts, _duration(usage.seconds)])


def escape(text: str) -> str:
    """A text as safe HTML: tags escaped, invisible characters replaced."""
    return html.escape(_visible(text))


def _visible(text: str) -> str:
    text = re.sub(r"\r\n?", "\n", _COLOURS.sub("", text))
    return _INVISIBLE.sub("\N{REPLACEMENT CHARACTER}", text)


def _cut(text: str, limit: int = SHOWN) -> str:
    more = len(text) - limit
    end = f"<i>… {more:,} more characters</i>" if more > 0 else ""
    return escape(text[:limit]) + end


# The rows


def _rows(events: Sequence[Event]) -> list[Row]:
    """The rows in the order in which they started; a call's events are matched by its id."""
    rows: list[Row] = []
    calls: dict[str, Row] = {}
    for event in events:
        if isinstance(event, Task | Answer):
            for call in calls.values():
                call[Answer] = event
        if isinstance(event, Task | Thought | Notice):
            rows.append({type(event): event})
        elif isinstance(event, Call | Approval | Decision | Result):
            row = calls.get(event.id)
            if row is None or (isinstance(event, Call | Approval) and Result in row):
                row = calls[event.id] = {}
                rows.append(row)
            row[type(event)] = event
    return rows


def _item(row: Row, live: bool) -> str:
    for kind, limit in ((Task, 300), (Thought, SHOWN), (Notice, SHOWN)):
        if event := row.get(kind):
            text = _chip(event) + _cut(event.text.strip(), limit)
            return f'<li class="{kind.__name__.lower()}">{text}</li>'
    state, label = _state(row, live)
    call = row.get(Call) or row.get(Approval) or row.get(Result)
    name = f"{_chip(call)}<b>{escape(call.tool if call else 'a tool')}</b>"
    mark = {"approve": "approved", "edit": "edited"}.get(_choice(row))
    mark = f'<span class="mark">{mark}</span>' if mark else ""
    rest = f'{_preview(_arguments(row)[-1][1])}{mark}<span class="state">{label}</span>'
    head = f'<span class="name">{name}</span><span class="rest">{rest}</span>'
    details = f"<details><summary>{head}</summary>{_details(row)}</details>"
    return f'<li class="call {state}">{details}{_why(row, state)}</li>'


def _state(row: Row, live: bool) -> tuple[str, str]:
    """A call's state: its class in style.css, and its label."""
    result = row.get(Result)
    if not row.keys() & {Call, Approval, Decision, Result}:
        return "", ""
    if _choice(row) == "refuse":
        return "refused", "rejected"
    if result:
        took = _duration(result.seconds)
        return ("done", f"done in {took}") if result.ok else ("failed", f"failed after {took}")
    if Approval in row and Decision not in row:
        return ("stopped", "not approved") if Answer in row else ("waiting", "waits for you")
    return ("running", "running") if live and Answer not in row else ("stopped", "stopped")


def _choice(row: Row) -> str:
    return row[Decision].choice if Decision in row else ""


def _arguments(row: Row) -> list[tuple[str, Mapping[str, Any]]]:
    """The arguments with their heading; both versions if a person edited them."""
    call = row.get(Approval) or row.get(Call)
    asked = call.args if call else {}
    if _choice(row) == "edit" and row[Decision].args is not None:
        return [("Asked for", asked), ("Changed to", row[Decision].args)]
    return [("Arguments", asked)]


def _details(row: Row) -> str:
    """The content of an expanded row: the arguments as JSON, and the result."""
    parts = [(name, _json(args)) for name, args in _arguments(row) if args]
    parts += [("Result", row[Result].text or "(nothing)")] if Result in row else []
    shown = "".join(f"<small>{name}</small><pre>{_cut(text)}</pre>" for name, text in parts)
    images: Sequence[str] = row[Result].images if Result in row else ()
    images = [url for url in images if url.startswith("data:image/")]
    return shown + "".join(f'<img src="{escape(url)}" alt="">' for url in images)


def _why(row: Row, state: str) -> str:
    """The line under a call that was rejected or has failed."""
    reason = row[Decision].reason.strip() if state == "refused" else ""
    if state == "failed":
        reason = row[Result].text.strip().split("\n")[0]
    quoted = f"“{_cut(reason, 300)}”" if state == "refused" else _cut(reason, 300)
    return f"<p>{quoted}</p>" if reason else ""


def _chip(event: Any) -> str:
    """The name of the specialist, in a team."""
    agent = getattr(event, "agent", "")
    return f'<span class="agent">{escape(agent)}</span>' if agent else ""


def _preview(args: Mapping[str, Any]) -> str:
    """The arguments on one line; a single one without its name."""
    values = {name: v if isinstance(v, str) else _json(v) for name, v in args.items()}
    named = (f"{name}: {v[:PREVIEW]}" if len(values) > 1 else v for name, v in values.items())
    line = " ".join(", ".join(named)[: 2 * PREVIEW].split())
    shown = escape(line[:PREVIEW]) + ("…" if len(line) > PREVIEW else "")
    return f"<code>{shown}</code>" if shown else ""


def _json(value: Any) -> str:
    try:
        plain = dict(value) if isinstance(value, Mapping) else value
        return json.dumps(plain, indent=2, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):  # a model may nest brackets too deeply
        return "(cannot be shown)"


def _duration(seconds: float) -> str:
    if seconds < 0.1:
        return f"{seconds * 1000:.0f} ms"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


# The report: a self-contained page to show to judges

MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")
MARKDOWN.disable(["image", "link", "autolink", "reference"])  # it makes no request


def to_html(title: str, events: Sequence[Event]) -> str:
    """A conversation as one HTML file: style.css inlined, no script, no request."""
    runs: list[list[Event]] = []
    for event in events:
        if isinstance(event, Task) or not runs:
            runs.append([])
        runs[-1].append(event)
    models = [event.model for event in events if isinstance(event, Answer) and event.model]
    badge = ", ".join(dict.fromkeys(models)) or "No answer yet"
    off = " off" if prompts.OFFLINE in models or not models else ""
    return (
        (ROOT / "agent" / "report.html")
        .read_text(encoding="utf-8")
        .format(
            title=escape(title),
            style=(ROOT / "style.css").read_text(encoding="utf-8"),
            date=datetime.now(),
            badge=f'<span class="badge{off}">{escape(badge)}</span>',
            runs="".join(_section(run, run is runs[-1]) for run in runs),
        )
    )


def _section(run: Sequence[Event], latest: bool) -> str:
    """One task: the question, the timeline, the answer, the usage."""
    parts = []
    if task := last(Task, run):
        files = "".join(f'<span class="file">{escape(name)}</span>' for name in task.files)
        parts.append(f'<div class="task"><h2>{escape(task.text.strip())}</h2>{files}</div>')
    over = [] if latest else [Answer("")]  # a later task cancels the calls that waited
    parts.append(render([*run, *over]))
    if answer := last(Answer, run):
        by = f"{answer.notice} Answered by the {answer.model}" if answer.notice else answer.model
        text = MARKDOWN.render(_visible(answer.text))
        parts.append(f'<div class="answer"><p class="by">{escape(by)}</p>{text}</div>')
    parts.append(f'<p class="counter">{counter(last(Usage, run))}</p>')
    return f"<section>{''.join(parts)}</section>"
