"""A run as one HTML file, to show to judges."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from datetime import datetime
from itertools import groupby

from agent import prompts, timeline
from agent.settings import ROOT
from agent.events import Answer, Step, Task, Usage
from agent.timeline import escape

PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body class="gradio-container report">
<header id="head"><div><h1>{title}</h1><p>{about}</p></div>{badge}</header>
<main>{runs}</main>
</body>
</html>
"""


def to_html(title: str, steps: Sequence[Step]) -> str:
    """The run as a self-contained page: style.css inlined, no script, no request."""
    runs = _runs(steps)
    now = datetime.now()
    totals = timeline.counter(_total(runs))
    date = f"{now.day} {now:%B %Y, %H:%M}"
    style = (ROOT / "style.css").read_text(encoding="utf-8")
    return PAGE.format(
        policy=_policy(style),
        title=escape(title),
        style=style,
        about=" · ".join(part for part in (date, totals) if part),
        badge=_badge(steps),
        runs="".join(_section(run, run is runs[-1]) for run in runs),
    )


def _policy(style: str) -> str:
    """The content security policy: allows this style sheet and nothing else."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def _runs(steps: Sequence[Step]) -> list[list[Step]]:
    """The steps grouped by task; each group starts with its task."""
    runs: list[list[Step]] = []
    for step in steps:
        if isinstance(step, Task) or not runs:
            runs.append([])
        runs[-1].append(step)
    return runs


def _usage(run: Sequence[Step]) -> Usage | None:
    return next((step for step in reversed(run) if isinstance(step, Usage)), None)


def _total(runs: Sequence[Sequence[Step]]) -> Usage | None:
    """The total usage of the runs; the cost only if it is known for each of them."""
    usages = [total for run in runs if (total := _usage(run))]
    costs = [total.cost for total in usages if total.cost is not None]
    if not usages:
        return None
    return Usage(
        steps=sum(total.steps for total in usages),
        seconds=sum(total.seconds for total in usages),
        tokens_in=sum(total.tokens_in for total in usages),
        tokens_out=sum(total.tokens_out for total in usages),
        cost=sum(costs) if len(costs) == len(usages) else None,
    )


def _badge(steps: Sequence[Step]) -> str:
    """The models that answered, as in the app: their names, or the offline mode."""
    answers = [step for step in steps if isinstance(step, Answer)]
    names = dict.fromkeys(answer.model for answer in answers if answer.model)
    stand_in = prompts.OFFLINE in names or not names
    name = ", ".join(names) or ("Ended early" if answers else "No answer yet")
    return f'<span class="badge{" off" if stand_in else ""}">{escape(name)}</span>'


def _section(run: Sequence[Step], last: bool) -> str:
    """One task: the question, the timeline, the answer, the usage."""
    parts = [_task(step) for step in run if isinstance(step, Task)]
    over = [] if last else [Answer("")]  # a later task cancels the calls that waited for approval
    parts.append(timeline.render([*run, *over]))
    parts += [_answer(step) for step in run if isinstance(step, Answer)]
    parts.append(f'<p class="counter">{timeline.counter(_usage(run))}</p>')
    return f"<section>{''.join(parts)}</section>"


def _task(task: Task) -> str:
    files = "".join(f'<span class="file">{escape(name)}</span>' for name in task.files)
    return f'<div class="task"><h2>{escape(task.text.strip())}</h2>{files}</div>'


def _answer(answer: Answer) -> str:
    by = f"{answer.notice} Answered by the {answer.model}" if answer.notice else answer.model
    by = f'<p class="by">{escape(by)}</p>' if by else ""
    return f'<div class="answer">{by}{prose(answer.text)}</div>'


def prose(text: str) -> str:
    """A model's Markdown as safe HTML: no tags, images or links of its own."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table").disable(["image", "link"])
    return str(markdown.disable("autolink").render(clean(text)))
