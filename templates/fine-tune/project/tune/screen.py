"""The tables and progress bars of the command line: the only module that imports Rich."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.status import Status
from rich.table import Column, Table
from rich.text import Text

from tune.estimate import ACCURACY, GB, Gpu
from tune.metrics import METRICS, Interval, counted, points, signed
from tune.plan import FREE

if TYPE_CHECKING:
    from tune.hub import Export, Push
    from tune.models import Base
    from tune.plan import Offer, Plan
    from tune.rehearse import Rehearsal, Step
    from tune.report import Evaluation
    from tune.runs import Run
    from tune.trainer import Progress, Report
    from tune.validate import Survey

SCREEN = Console(highlight=False, soft_wrap=True)  # long lines can be copied as one


def show(result: Any, as_json: bool, on_screen: Callable[[Any], None]) -> None:
    """A command's result as JSON, or on the screen."""
    print_json(result.as_dict()) if as_json else on_screen(result)


def print_json(value: Any) -> None:
    """JSON for scripts, on stdout."""
    print(json.dumps(value, ensure_ascii=False, indent=2))


def _wrapped(what: Table | str) -> None:
    SCREEN.print(what, soft_wrap=False)


def _table(first: str, *numbers: str, last: str = "") -> Table:
    """A table whose middle columns are numbers."""
    columns = [Column(name, justify="right", overflow="fold", max_width=22) for name in numbers]
    columns += [Column(last, overflow="fold")] if last else []
    return Table(Column(first, no_wrap=True), *columns, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))


def show_bases(bases: Sequence[Base]) -> None:
    """The bases, with notes on each."""
    table = _table("name", "size", last="on the hub")
    for base in bases:
        note = f"{base.source}\n[dim]{base.licence}; {base.note}"
        table.add_row(f"[bold]{base.name}", f"{base.parameters / 1e9:.1f}B", note)
    _wrapped(table)
    SCREEN.print("Or any other: an id on the hub, or a folder with a config.json.")


def show_plan(plan: Plan) -> None:
    """What a training needs, where it fits, how long it takes and what it costs."""
    training, data = plan.training, plan.training.data
    _wrapped(
        f"[bold]{training.base.name}[/] by {training.method}: {data.examples:,} examples with "
        f"{data.tokens:,} tokens, epochs: {training.epochs:g}, batch size: {training.batch}, "
        f"steps: {training.steps:,}"
    )
    table = _table("memory", "GB", last="how it is computed")
    for term in plan.terms:
        table.add_row(term.name, f"{term.bytes / GB:.1f}", f"[dim]{term.formula}[/]")
    table.add_row("[bold]total", f"[bold]{plan.bytes / GB:.1f}", "")
    _wrapped(table)
    _wrapped(_offers(plan))
    for line in (*_verdict(plan), *plan.notes, f"Times are {ACCURACY}."):
        _wrapped(line)
    _wrapped("Prices are list prices of the day shown, for one GPU on demand.")


def _offers(plan: Plan) -> Table:
    table = _table("GPU", "GB", "time", "$ per hour", "cost", last="where")
    for offer in (*([plan.here] if plan.here else []), *plan.offers):
        gpu = offer.gpu
        price = f"{gpu.price:.2f}" if gpu.price else ""
        cost = "" if offer.cost is None else f"${offer.cost:.2f}"
        place = "this machine" if offer is plan.here else _seller(gpu)
        cells = (f"{gpu.memory / GB:.0f}", _time(offer), price, cost, place)
        name = gpu.name if gpu.count == 1 else f"{gpu.count} x {gpu.name}"
        table.add_row(name, *cells, style="" if offer.fits else "dim")
    return table


def _seller(gpu: Gpu) -> str:
    place = f"{gpu.seller}, {gpu.read}" if gpu.seller else "price unknown"
    return "; ".join(part for part in (place, FREE.get(gpu.name, "")) if part)


def _time(offer: Offer) -> str:
    if not offer.fits:
        return "too small" if offer.gpu.quantizes else "does not fit"
    if offer.hours is None:
        return "fits"
    minutes = max(1, round(offer.hours * 60))
    return f"{minutes} min" if minutes < 120 else f"{offer.hours:.1f} h"


def _verdict(plan: Plan) -> Iterator[str]:
    """What to do next: train here, change something, or rent."""
    cheapest = plan.cheapest
    rent = f" To rent: {cheapest.gpu.name}, {cheapest.gpu.seller}." if cheapest else ""
    if plan.here is None:
        rehearsal = "A rehearsal needs no GPU: uv run python -m tune rehearse."
        yield f"[bold]No GPU here to train on.[/] {rehearsal}{rent}"
    elif plan.here.fits:
        yield f"[bold green]It fits on this machine:[/] {plan.here.gpu.name}."
        yield "Next: uv run python -m tune train"
    else:
        yield f"[bold red]It does not fit[/] on {plan.here.gpu.name}. What would help:"
        yield from (f"  {line}" for line in plan.advice)


def show_data(survey: Survey) -> None:
    """The figures of data files, and their problems."""
    table = _table("", *survey.files)
    for name in next(iter(survey.files.values()), {}):
        cells = (f"{figures[name]:,}" for figures in survey.files.values())
        table.add_row(name.replace("_", " "), *cells)
    _wrapped(table)
    for finding in survey.findings:
        style = "red" if finding.level == "error" else "yellow"
        SCREEN.print(Text(f"{finding.level}: {finding.kind} ({finding.count:,})", style=style))
        for problem in finding.shown:
            SCREEN.print(Text(f"  {problem}"))
        for fix in dict.fromkeys(problem.fix for problem in finding.shown):
            SCREEN.print(Text(f"    Fix: {fix}"), style="dim")
    SCREEN.print(f"[bold]{survey.errors:,} errors, {survey.warnings:,} warnings")
    if not survey.errors:
        SCREEN.print("Next: uv run python -m tune plan")


@contextmanager
def answering() -> Iterator[Callable[[str, int, int], None]]:
    """A line with the progress of each model; nothing without a terminal."""
    with Console(stderr=True).status("Loading the models …") as waiting:
        yield lambda who, done, total: waiting.update(f"{who}: {done:,} of {total:,} answers")


def show_evaluation(found: Evaluation, run: Run) -> None:
    """The verdict, the figures with their intervals, notes, and the path of the report."""
    table = _table("", *(each.label for each in found.systems.values()), "tuned is ahead")
    for name, ahead in found.differences.items():
        cells = [_measured(each.metrics[name], points) for each in found.systems.values()]
        style = "bold" if name == found.headline else ""
        table.add_row(METRICS[name].label, *cells, _measured(ahead, signed), style=style)
    seconds = (f"{each.seconds.mean:.2f}" for each in found.systems.values())
    table.add_row("seconds per answer", *seconds, "")
    _wrapped(table)
    colour = {"better": "green", "worse": "red"}.get(found.verdict, "yellow")
    SCREEN.print(Text(found.why, style=f"bold {colour}"))
    for note in found.notes:
        SCREEN.print(Text(f"  {note}"))
    SCREEN.print(f"All answers side by side: {run.report}")
    if found.verdict == "better":
        SCREEN.print(f"Next: uv run python -m tune export {run.name}")


def _measured(each: Interval, written: Callable[[float], str]) -> str:
    return f"{written(each.mean)}\n[dim]{written(each.low)} to {written(each.high)}[/]"


@contextmanager
def training() -> Iterator[Report]:
    """The progress of a training: a line that changes, and one that stays per evaluation."""
    with SCREEN.status("Loading the base model …") as waiting:
        yield partial(_report, waiting)


def _report(waiting: Status, now: Progress) -> None:
    if now.note:
        SCREEN.print(now.note, style="yellow")
        return
    line = f"step {now.step:,} of {now.steps:,}"
    line += f"  loss {now.loss:.3f}" if now.loss is not None else ""
    line += f"  validation {now.eval_loss:.3f}" if now.eval_loss is not None else ""
    line += f"  {now.seconds_left:,.0f} s left"
    waiting.update(line)
    if now.checked:
        SCREEN.print(line)


def show_trained(run: Run) -> None:
    """How a training went, where its model is, and what to do next."""
    figures = run.record.figures
    if figures.get("eval_loss") is not None:
        first, best = figures["eval_loss_first"], figures["eval_loss"]
        SCREEN.print(f"validation loss {first:.3f} at first, {best:.3f} at best")
    ended, planned = counted(figures["steps"], "step"), figures["steps_planned"]
    if figures["steps"] < planned:
        ended += f" of {planned:,}: stopped early, the loss no longer improved"
    ended += f", {figures['seconds']:,.0f} s"
    memory = figures.get("peak_memory")
    SCREEN.print(f"{ended}, {memory / GB:.1f} GB at most" if memory else ended)
    SCREEN.print(f"[bold]{run.name}[/] is done: {run.model}")
    SCREEN.print("Is it better? uv run python -m tune evaluate")


@contextmanager
def rehearsing(*, quiet: bool) -> Iterator[tuple[Callable[[str], None], Callable[[Step], None]]]:
    """A line for each part of the rehearsal; yields callbacks for its start and its end."""
    console = Console(quiet=quiet, highlight=False, soft_wrap=True)
    with console.status("") as waiting:
        yield (lambda name: waiting.update(f"{name} …")), partial(_show_step, console)


def _show_step(console: Console, step: Step) -> None:
    sign = Text.from_markup("[green]✓[/] " if step.ok else "[red]✗[/] ")
    says = step.says.replace("\n", f"\n{'':28}")
    console.print(
        sign + Text.assemble(f"{step.name:<24}", (f"{step.seconds:>5.1f} s  ", "dim"), says)
    )


def show_rehearsal(how: Rehearsal, folder: Path) -> None:
    """Whether the rehearsal passed, and what comes next."""
    seconds = sum(step.seconds for step in how.steps)
    if not how.ok:
        failed = f"[bold red]The rehearsal failed after {seconds:.0f} s.[/]"
        SCREEN.print(f"{failed} Fix that and rehearse again.")
        return
    went = f"[bold green]The rehearsal passed in {seconds:.0f} s.[/] Its files: "
    SCREEN.print(Text.from_markup(went).append(str(folder)))
    SCREEN.print("Look at it: uv run app.py    Then the real training: uv run python -m tune plan")


def show_export(made: Export, sent: Push | None, dry_run: bool) -> None:
    """What was made, whether it answers as the run does, and what goes to the hub."""
    table = _table("file", "MB")
    for name, size in made.files.items():
        table.add_row(name, f"{size / 1e6:,.1f}")
    _wrapped(table)
    SCREEN.print(f"[bold]{made.folder}[/]: {made.checked}")
    if sent:
        verb, who = "Would push" if dry_run else "Pushed", "private" if sent.private else "public"
        SCREEN.print(f"{verb} to {sent.url}, {who}")
