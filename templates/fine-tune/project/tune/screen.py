"""The tables and progress bars of the command line: the only module that imports Rich."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.status import Status
from rich.table import Column, Table
from rich.text import Text

from tune.estimate import ACCURACY, GB, Gpu
from tune.metrics import METRICS, Interval, points, signed
from tune.plan import FREE

if TYPE_CHECKING:
    from tune.hub import Export, Push
    from tune.models import Base
    from tune.plan import Offer, Plan
    from tune.rehearse import Rehearsal, Step
    from tune.report import Evaluation
    from tune.runs import Run
    from tune.trainer import Progress, Report
    from tune.validate import Finding, Survey

SCREEN = Console()


def show_bases(bases: Sequence[Base]) -> None:
    """The bases, with notes on each."""
    size, about = Column("size", justify="right"), Column("on the hub", overflow="fold")
    table = Table("name", size, about, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for base in bases:
        note = f"{base.source}\n[dim]{base.licence}; {base.note}"
        table.add_row(f"[bold]{base.name}", f"{base.parameters / 1e9:.1f}B", note)
    SCREEN.print(table)
    SCREEN.print("Or any other: an id on the hub, or a folder with a config.json.", highlight=False)


def show_plan(plan: Plan) -> None:
    """What a training needs, where it fits, how long it takes and what it costs."""
    training, data = plan.training, plan.training.data
    SCREEN.print(
        f"[bold]{training.base.name}[/] by {training.method}: {data.examples:,} examples with "
        f"{data.tokens:,} tokens, epochs: {training.epochs:g}, batch size: {training.batch}, "
        f"steps: {training.steps:,}"
    )
    SCREEN.print(_memory(plan))
    SCREEN.print(_offers(plan))
    note = "Prices are list prices of the day shown, for one GPU on demand."
    for line in (*_verdict(plan), *plan.notes, f"Times are {ACCURACY}.", note):
        SCREEN.print(line, highlight=False)


def _memory(plan: Plan) -> Table:
    table = Table("memory", Column("GB", justify="right"), "how it is computed", box=SIMPLE_HEAD)
    for term in plan.terms:
        table.add_row(term.name, f"{term.bytes / GB:.1f}", f"[dim]{term.formula}[/]")
    table.add_row("[bold]total", f"[bold]{plan.bytes / GB:.1f}", "")
    return table


def _offers(plan: Plan) -> Table:
    columns = [Column(name, justify="right") for name in ("GB", "time", "$ per hour", "cost")]
    table = Table("GPU", *columns, "where", box=SIMPLE_HEAD)
    mine = [(plan.here, "this machine")] if plan.here else []
    for offer, place in (*mine, *((each, _seller(each.gpu)) for each in plan.offers)):
        gpu = offer.gpu
        price = f"{gpu.price:.2f}" if gpu.price else ""
        cost = "" if offer.cost is None else f"${offer.cost:.2f}"
        cells = [f"{gpu.memory / GB:.0f}", _time(offer), price, cost, place]
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
    columns = [Column(name, justify="right", overflow="fold") for name in survey.files]
    table = Table(Column("", no_wrap=True), *columns, box=SIMPLE_HEAD)
    for name in next(iter(survey.files.values()), {}):
        cells = (f"{figures[name]:,}" for figures in survey.files.values())
        table.add_row(name.replace("_", " "), *cells)
    SCREEN.print(table)
    for finding in survey.findings:
        _show_finding(finding)
    SCREEN.print(f"[bold]{survey.errors:,} errors, {survey.warnings:,} warnings", highlight=False)
    if not survey.errors:
        SCREEN.print("Next: uv run python -m tune plan", highlight=False)


def _show_finding(finding: Finding) -> None:
    style = "red" if finding.level == "error" else "yellow"
    SCREEN.print(Text(f"{finding.level}: {finding.kind} ({finding.count:,})", style=style))
    for problem in finding.shown:
        SCREEN.print(Text(f"  {problem}"), soft_wrap=True)
    for fix in dict.fromkeys(problem.fix for problem in finding.shown):
        SCREEN.print(Text(f"    Fix: {fix}"), style="dim", soft_wrap=True)


@contextmanager
def answering() -> Iterator[Callable[[str, int, int], None]]:
    """A line with the progress of each model; nothing without a terminal."""
    with Console(stderr=True).status("Loading the models …") as waiting:
        yield lambda who, done, total: waiting.update(f"{who}: {done:,} of {total:,} answers")


def show_evaluation(found: Evaluation, run: Run) -> None:
    """The verdict, the figures with their intervals, notes, and the path of the report."""
    columns = [Column(each.label, justify="right", max_width=22) for each in found.systems.values()]
    table = Table("", *columns, Column("tuned is ahead", justify="right"), box=SIMPLE_HEAD)
    for name, ahead in found.differences.items():
        cells = [_measured(each.metrics[name]) for each in found.systems.values()]
        spread = f"{signed(ahead.mean)}\n[dim]{signed(ahead.low)} to {signed(ahead.high)}[/]"
        style = "bold" if name == found.headline else ""
        table.add_row(METRICS[name].label, *cells, spread, style=style)
    seconds = (f"{each.seconds.mean:.2f}" for each in found.systems.values())
    table.add_row("seconds per answer", *seconds, "")
    SCREEN.print(table)
    colour = {"better": "green", "worse": "red"}.get(found.verdict, "yellow")
    SCREEN.print(Text(found.why, style=f"bold {colour}"), soft_wrap=True)
    for note in found.notes:
        SCREEN.print(Text(f"  {note}"), soft_wrap=True)
    SCREEN.print(f"All answers side by side: {run.report}", highlight=False, soft_wrap=True)
    if found.verdict == "better":
        take = f"Next: uv run python -m tune export {run.name}"
        SCREEN.print(take, highlight=False, soft_wrap=True)


def _measured(each: Interval) -> str:
    return f"{points(each.mean)}\n[dim]{points(each.low)} to {points(each.high)}[/]"


@contextmanager
def training() -> Iterator[Report]:
    """The progress of a training: a line that changes, and one that stays per evaluation."""
    with SCREEN.status("Loading the base model …") as waiting:
        yield partial(_report, waiting)


def _report(waiting: Status, now: Progress) -> None:
    if now.note:
        SCREEN.print(now.note, style="yellow", highlight=False)
        return
    line = f"step {now.step:,} of {now.steps:,}"
    line += f"  loss {now.loss:.3f}" if now.loss is not None else ""
    line += f"  validation {now.eval_loss:.3f}" if now.eval_loss is not None else ""
    line += f"  {now.seconds_left:,.0f} s left"
    waiting.update(line)
    if now.checked:
        SCREEN.print(line, highlight=False)


def show_trained(run: Run) -> None:
    """How a training went, where its model is, and what to do next."""
    figures = run.record.figures
    if figures.get("eval_loss") is not None:
        first, best = figures["eval_loss_first"], figures["eval_loss"]
        SCREEN.print(f"validation loss {first:.3f} at first, {best:.3f} at best", highlight=False)
    steps, planned = figures["steps"], figures["steps_planned"]
    ended = f"{steps:,} step{'' if steps == 1 else 's'}"
    ended += (
        f" of {planned:,}: stopped early, the loss no longer improved" if steps < planned else ""
    )
    ended += f", {figures['seconds']:,.0f} s"
    if memory := figures.get("peak_memory"):
        ended += f", {memory / GB:.1f} GB at most"
    SCREEN.print(ended, highlight=False)
    SCREEN.print(f"[bold]{run.name}[/] is done: {run.model}", highlight=False, soft_wrap=True)
    SCREEN.print("Is it better? uv run python -m tune evaluate", highlight=False)


@contextmanager
def rehearsing(*, quiet: bool) -> Iterator[tuple[Callable[[str], None], Callable[[Step], None]]]:
    """A line for each part of the rehearsal; yields callbacks for its start and its end."""
    if quiet:
        yield (lambda name: None), (lambda step: None)
        return
    with SCREEN.status("") as waiting:

        def begin(name: str) -> None:
            waiting.update(f"{name} …")

        yield begin, _show_step


def _show_step(step: Step) -> None:
    sign = "[green]✓[/]" if step.ok else "[red]✗[/]"
    says = step.says.replace("\n", f"\n{'':28}")
    line = Text.assemble(f"{step.name:<24}", (f"{step.seconds:>5.1f} s  ", "dim"), says)
    SCREEN.print(Text.from_markup(f"{sign} ").append_text(line), soft_wrap=True)


def show_rehearsal(how: Rehearsal, folder: Path) -> None:
    """Whether the rehearsal passed, and what comes next."""
    seconds = sum(step.seconds for step in how.steps)
    if not how.ok:
        failed = f"[bold red]The rehearsal failed after {seconds:.0f} s.[/]"
        SCREEN.print(f"{failed} Fix that and rehearse again.")
        return
    went = f"[bold green]The rehearsal passed in {seconds:.0f} s.[/] Its files: "
    SCREEN.print(Text.from_markup(went).append(str(folder)), soft_wrap=True)
    SCREEN.print("Look at it: uv run app.py    Then the real training: uv run python -m tune plan")


def show_export(made: Export, sent: Push | None, dry_run: bool) -> None:
    """What was made, whether it answers as the run does, and what goes to the hub."""
    table = Table("file", Column("MB", justify="right"), box=SIMPLE_HEAD)
    for name, size in made.files.items():
        table.add_row(name, f"{size / 1e6:,.1f}")
    SCREEN.print(table)
    SCREEN.print(f"[bold]{made.folder}[/]: {made.checked}", highlight=False, soft_wrap=True)
    if sent:
        verb = "Would push" if dry_run else "Pushed"
        who = "private" if sent.private else "public"
        SCREEN.print(f"{verb} to {sent.url}, {who}", highlight=False, soft_wrap=True)
