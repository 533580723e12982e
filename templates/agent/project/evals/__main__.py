"""Measures the agent on evals/tasks.jsonl: `uv run python -m evals`."""

from __future__ import annotations

import atexit
import json
import math
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

if __name__ == "__main__":  # before the settings are read: work on copies, not on your own files
    COPIES = Path(tempfile.mkdtemp(prefix="agent-evals-"))
    atexit.register(shutil.rmtree, COPIES, ignore_errors=True)
    os.environ |= {"WORKSPACE_DIR": str(COPIES / "files"), "MEMORY_DIR": str(COPIES / "memory")}

from agent import memory, runner  # noqa: E402
from agent.events import (  # noqa: E402
    Answer,
    Approval,
    Call,
    Decision,
    Event,
    Result,
    Task,
    Usage,
    last,
    pending,
)
from agent.settings import ROOT, SETTINGS, Settings  # noqa: E402
from agent.toolbox import toolbox  # noqa: E402

FOLDER = ROOT / "evals"
ROUNDS = 10  # of approvals in one task, at most


@dataclass(frozen=True)
class Goal:
    """A line of tasks.jsonl: a task, and how its success is measured.

    All of `tools` must run; all of `expect` must occur in the answer or in a written file; none of
    `never` may be called. `kind` is "task" or "red-team". `approve`: whether calls are approved.
    """

    task: str
    tools: Sequence[str] = ()
    expect: Sequence[str] = ()
    never: Sequence[str] = ()
    approve: bool = True
    kind: str = "task"


@dataclass(frozen=True)
class Outcome:
    """The result of one task."""

    missing: Sequence[str]  # the reasons of a failure: a tool that did not run, a missing word
    steps: int
    seconds: float
    tokens: int
    cost: float | None
    model: str

    @property
    def success(self) -> bool:
        return not self.missing


def load(path: Path) -> list[Goal]:
    """The tasks of a JSONL file; exits with the line's number if one is not a task."""
    goals = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            goals += [Goal(**json.loads(line))] if line.strip() else []
        except (ValueError, TypeError) as error:
            sys.exit(f"{path.name}, line {number}, is not a task ({error})")
    return goals


def measure(goal: Goal, settings: Settings = SETTINGS) -> Outcome:
    """Do one task with a fresh copy of the files, and compare the result with the goal."""
    fresh(settings.workspace)
    chat = memory.new_id()
    events = list(runner.run(chat, Task(goal.task), settings))
    for _ in range(ROUNDS):
        waits = pending(events)
        if not waits:
            break
        choice = "approve" if goal.approve else "refuse"
        decisions = [Decision(call.id, choice) for call in waits]
        events += [*decisions, *runner.run(chat, decisions, settings)]
    return _judged(goal, events, settings.workspace)


def fresh(workspace: Path) -> None:
    """Replace the workspace, which must be a temporary one, by the project's sample files."""
    place = workspace.resolve()
    temporary = place.is_relative_to(Path(tempfile.gettempdir()).resolve())
    if not temporary or place.is_relative_to(ROOT):
        raise RuntimeError(f"{workspace} is not a copy: its files would be deleted")
    shutil.rmtree(workspace, ignore_errors=True)
    shutil.copytree(ROOT / "workspace", workspace, ignore=shutil.ignore_patterns("uploads"))


def _judged(goal: Goal, events: Sequence[Event], workspace: Path) -> Outcome:
    ran = {event.tool for event in events if isinstance(event, Result) and event.ok}
    asked = {event.tool for event in events if isinstance(event, Call | Approval)}
    answer, usage = last(Answer, events) or Answer(""), last(Usage, events) or Usage()
    text = "\n".join([answer.text, *_written(events, workspace)]).casefold()
    missing = [f"{tool} did not run" for tool in goal.tools if tool not in ran]
    missing += [f"{word!r} does not occur" for word in goal.expect if word.casefold() not in text]
    missing += [f"{tool} was called" for tool in goal.never if tool in asked]
    missing += [] if answer.text else ["no answer"]
    tokens = usage.tokens_in + usage.tokens_out
    return Outcome(missing, usage.steps, usage.seconds, tokens, usage.cost, answer.model)


def _written(events: Sequence[Event], workspace: Path) -> Iterable[str]:
    """The content of each file that the agent wrote."""
    for event in events:
        if isinstance(event, Call) and event.tool == "write_file":
            file = workspace / str(event.args.get("path", ""))
            if file.is_file():
                yield file.read_text(encoding="utf-8", errors="replace")


def summarize(goals: Sequence[Goal], outcomes: Sequence[Outcome]) -> dict[str, float]:
    """The table's rows; the cost only if every model's price is known."""
    pairs = list(zip(goals, outcomes, strict=True))
    seconds = sorted(o.seconds for o in outcomes)
    rows = {
        "tasks done": _mean(o.success for g, o in pairs if g.kind == "task"),
        "red-team resisted": _mean(o.success for g, o in pairs if g.kind == "red-team"),
        "steps, mean": _mean(o.steps for o in outcomes),
        "seconds p50": statistics.median(seconds),
        "seconds p95": seconds[math.ceil(0.95 * len(seconds)) - 1],
    }
    if tokens := sum(o.tokens for o in outcomes):
        rows["tokens in all"] = tokens
        costs = [o.cost for o in outcomes if o.tokens]
        if None not in costs:  # an unknown price does not count as 0
            rows["US$ in all"] = sum(cost or 0 for cost in costs)
    return {name: round(value, 4) for name, value in rows.items()}


def _mean(values: Iterable[float]) -> float:
    collected = list(values)
    return statistics.fmean(collected) if collected else 0.0


def main(folder: Path = FOLDER) -> None:
    """Do all tasks, print the table with the changes since the last report, and save a new one."""
    file = folder / "report.json"
    goals = load(folder / "tasks.jsonl")
    if not goals:
        sys.exit(f"{folder / 'tasks.jsonl'} contains no task")
    toolbox(wait=True)
    outcomes = [measure(goal) for goal in track(goals, "Working", transient=True)]
    rows = summarize(goals, outcomes)
    models = sorted({outcome.model for outcome in outcomes} - {""})
    before = json.loads(file.read_text(encoding="utf-8"))["summary"] if file.is_file() else {}
    show(rows, before, f"{len(goals)} tasks, {', '.join(models)}")
    for goal, outcome in zip(goals, outcomes, strict=True):
        if outcome.missing:
            print(f"✗ {goal.task[:60]}: {'; '.join(outcome.missing)}")
    details = [asdict(g) | asdict(o) for g, o in zip(goals, outcomes, strict=True)]
    report = {"models": models, "summary": rows, "tasks": details}
    file.write_text(json.dumps(report, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def show(rows: dict[str, float], before: dict[str, float], title: str) -> None:
    """Print the table; the last column is the change since the last report."""
    table = Table("", "now", "change", title=title)
    for name, value in rows.items():
        change = value - before.get(name, value)
        table.add_row(name, f"{value:.3f}", f"{change:+.3f}" if change else "")
    Console().print(table)


if __name__ == "__main__":
    main()
