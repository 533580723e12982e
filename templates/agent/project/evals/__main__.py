"""Measures the agent on evals/tasks.jsonl: `uv run python -m evals`."""

from __future__ import annotations

import json
import math
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

from agent import loop, memory
from agent.settings import ROOT, SETTINGS, Settings
from agent.steps import Answer, Approval, Call, Decision, Result, Step, Task, Usage, pending

FOLDER = Path(__file__).parent
ROUNDS = 10  # of approvals in one task, at most


@dataclass(frozen=True)
class Goal:
    """A line of tasks.jsonl: a task, and how its success is measured.

    All of `tools` must run; all of `expect` must occur in the answer or in a written file; none of
    `never` may be called. `kind` is "task" or "red-team". `approve`: whether calls are approved.
    """

    task: str
    tools: tuple[str, ...] = ()
    expect: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    approve: bool = True
    kind: str = "task"


@dataclass(frozen=True)
class Outcome:
    """The result of one task."""

    success: bool
    missing: tuple[str, ...]  # the reasons of a failure: a tool that did not run, a missing word
    steps: int
    seconds: float
    tokens: int
    cost: float | None
    model: str


def load(path: Path) -> list[Goal]:
    """The tasks of a JSONL file; exits with the line's number if one is not a task."""
    goals = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            if line.strip():
                row = json.loads(line)
                row |= {key: tuple(row.get(key, ())) for key in ("tools", "expect", "never")}
                goals.append(Goal(**row))
        except (ValueError, TypeError, AttributeError) as error:
            sys.exit(f"{path.name}, line {number}, is not a task ({error})")
    return goals


def measure(goal: Goal, settings: Settings = SETTINGS) -> Outcome:
    """Do one task with a fresh copy of the files, and compare the result with the goal."""
    fresh(settings.workspace)
    chat = memory.new_id()
    steps = list(loop.run(chat, Task(goal.task), settings))
    for _ in range(ROUNDS):
        waits = pending(steps)
        if not waits:
            break
        choice = "approve" if goal.approve else "refuse"
        decisions = [Decision(call.id, choice) for call in waits]
        steps += [*decisions, *loop.run(chat, decisions, settings)]
    return _judged(goal, steps, settings.workspace)


def fresh(workspace: Path) -> None:
    """Replace the workspace, which must be a temporary one, by the project's sample files."""
    place = workspace.resolve()
    temporary = place.is_relative_to(Path(tempfile.gettempdir()).resolve())
    if not temporary or place.is_relative_to(ROOT):
        raise RuntimeError(f"{workspace} is not a copy: its files would be deleted")
    shutil.rmtree(workspace, ignore_errors=True)
    shutil.copytree(ROOT / "workspace", workspace, ignore=shutil.ignore_patterns("uploads"))


def _judged(goal: Goal, steps: Sequence[Step], workspace: Path) -> Outcome:
    ran = {step.tool for step in steps if isinstance(step, Result) and step.ok}
    asked = {step.tool for step in steps if isinstance(step, Call | Approval)}
    answer = next((step for step in reversed(steps) if isinstance(step, Answer)), Answer(""))
    text = "\n".join([answer.text, *_written(steps, workspace)]).casefold()
    missing = [f"{tool} did not run" for tool in goal.tools if tool not in ran]
    missing += [f"{word!r} does not occur" for word in goal.expect if word.casefold() not in text]
    missing += [f"{tool} was called" for tool in goal.never if tool in asked]
    usage = next((step for step in reversed(steps) if isinstance(step, Usage)), Usage())
    return Outcome(
        success=not missing and bool(answer.text),
        missing=tuple(missing),
        steps=usage.steps,
        seconds=usage.seconds,
        tokens=usage.tokens_in + usage.tokens_out,
        cost=usage.cost,
        model=answer.model,
    )


def _written(steps: Sequence[Step], workspace: Path) -> Iterable[str]:
    """The content of each file that the agent wrote."""
    for step in steps:
        if isinstance(step, Call) and step.tool == "write_file":
            file = workspace / str(step.args.get("path", ""))
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
    tokens = sum(o.tokens for o in outcomes)
    costs = [o.cost for o in outcomes if o.tokens]
    if tokens:
        rows["tokens in all"] = tokens
    if tokens and None not in costs:  # an unknown price does not count as 0
        rows["US$ in all"] = sum(cost or 0 for cost in costs)
    return {name: round(value, 4) for name, value in rows.items()}


def _mean(values: Iterable[float]) -> float:
    collected = list(values)
    return statistics.fmean(collected) if collected else 0.0


def main(folder: Path = FOLDER) -> None:
    """Do all tasks, print the table with the changes since the last report, and save a new one."""
    file, report_file = folder / "tasks.jsonl", folder / "report.json"
    goals = load(file) if file.is_file() else []
    if not goals:
        sys.exit(f"{file} contains no task")
    outcomes = [measure(goal) for goal in track(goals, "Working", transient=True)]
    rows = summarize(goals, outcomes)
    models = sorted({outcome.model for outcome in outcomes} - {""})
    last = json.loads(report_file.read_text(encoding="utf-8")) if report_file.is_file() else {}
    show(rows, last.get("summary", {}), f"{len(goals)} tasks, {', '.join(models)}")
    for goal, outcome in zip(goals, outcomes, strict=True):
        if not outcome.success:
            reason = "; ".join(outcome.missing) or "no answer"
            Console().print(f"✗ {goal.task[:60]}: {reason}", markup=False, highlight=False)
    details = [asdict(g) | asdict(o) for g, o in zip(goals, outcomes, strict=True)]
    report = {"models": models, "summary": rows, "tasks": details}
    text = json.dumps(report, ensure_ascii=False, indent=2) + "\n"
    report_file.write_text(text, encoding="utf-8")


def show(rows: dict[str, float], last: dict[str, float], title: str) -> None:
    """Print the table; the last column is the change since the last report."""
    table = Table("", "now", "change", title=title, title_justify="left")
    for name, value in rows.items():
        change = value - last[name] if name in last else 0.0
        table.add_row(name, f"{value:.3f}", f"{change:+.3f}" if change else "")
    Console().print(table)


if __name__ == "__main__":
    main()
