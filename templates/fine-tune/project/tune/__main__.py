"""The command line: `uv run python -m tune check | plan | train | rehearse | evaluate | …`"""

from __future__ import annotations

import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from tune import runs, screen
from tune.errors import TuneError, can_train, note, run_app, stoppable
from tune.models import BASES, Method
from tune.settings import SETTINGS, changed

app = typer.Typer(
    help="From a JSONL file to a better model.", no_args_is_help=True, add_completion=False
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
BaseName = Annotated[str, typer.Option("--base", help="A name, an id on the hub, or a folder.")]
MethodName = Annotated[Method | None, typer.Option("--method", help="lora or qlora.")]
Replace = Annotated[bool, typer.Option("--replace", help="Overwrite what exists.")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="A run's name. Default: the latest.")]


@app.command()
def check(
    files: Annotated[list[Path] | None, typer.Argument(help="Default: those of .env.")] = None,
    show: Annotated[int, typer.Option(min=1, help="How many problems of each kind to show.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Check the examples for problems, and measure their length. Exit code 1 on errors.

    Example: uv run python -m tune check data/train.jsonl data/test.jsonl
    """
    from tune.validate import survey

    found = survey(files or [*SETTINGS.files.values()], SETTINGS.max_length, show=show)
    screen.show(found, as_json, screen.show_data)
    raise typer.Exit(1 if found.errors else 0)


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="CSV, JSON or JSONL.")],
    target: Annotated[Path, typer.Argument(help="The JSONL to write.")],
    encoding: Annotated[str, typer.Option(help="Of the source: cp1252, utf-16 …")] = "utf-8",
    replace: Replace = False,
) -> None:
    """Convert a data file to chat JSONL. Exit code 1 if some lines could not be read.

    Example: uv run python -m tune convert questions.csv data/all.jsonl
    """
    from tune import dataset

    count, problems, notes = dataset.convert(source, target, encoding=encoding, overwrite=replace)
    for text in (*(f"Left out: {each}\nFix: {each.fix}" for each in problems[:20]), *notes):
        note(text)
    note(f"{count:,} examples in {target}, {len(problems):,} left out.")
    note(f'Next: uv run python -m tune split "{target}"')
    raise typer.Exit(1 if problems else 0)


@app.command()
def split(
    file: Annotated[Path, typer.Argument(help="All examples.")],
    validation: Annotated[float, typer.Option(min=0, max=0.4, help="Share of them.")] = 0.1,
    test: Annotated[float, typer.Option(min=0, max=0.4, help="Share of them.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Another seed gives another split.")] = SETTINGS.seed,
    replace: Replace = False,
) -> None:
    """Split examples into train.jsonl, validation.jsonl and test.jsonl, always in the same way.

    Example: uv run python -m tune split data/all.jsonl
    """
    from tune import dataset

    shares = {"train": 1 - validation - test, "validation": validation, "test": test}
    parts = {file.with_name(f"{name}.jsonl"): share for name, share in shares.items() if share > 0}
    for part, count in dataset.split(file, parts, seed=seed, overwrite=replace).items():
        note(f"{count:,} examples in {part}")
    note("Next: uv run python -m tune check " + " ".join(f'"{part}"' for part in parts))


@app.command()
def plan(
    base: BaseName = "",
    method: MethodName = None,
    list_bases: Annotated[bool, typer.Option("--list", help="List the bases.")] = False,
    as_json: AsJson = False,
) -> None:
    """Estimate memory, time and cost, here and on rented GPUs.

    Example: uv run python -m tune plan --base ministral-8b --method qlora
    """
    from tune import plan as planning

    if list_bases:
        screen.print_json([asdict(each) for each in BASES]) if as_json else screen.show_bases(BASES)
        return
    settings = changed(SETTINGS, {"base_model": base, "method": method})
    training = planning.training(settings, planning.measure(settings.train, settings))
    made = planning.make(training, planning.local_gpu())
    screen.show(made, as_json, screen.show_plan)


@app.command()
def train(
    run: Annotated[str, typer.Argument(help="With --resume: a run. Default: the latest.")] = "",
    base: BaseName = "",
    method: MethodName = None,
    rank: Annotated[int, typer.Option(help="The rank of LoRA, instead of LORA_RANK.")] = 0,
    epochs: Annotated[float, typer.Option(help="Passes over the data, not EPOCHS.")] = 0,
    name: Annotated[str, typer.Option(help="A name for the new run.")] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Continue a stopped run.")] = False,
) -> None:
    """Train. A stopped run continues with --resume, even after a power cut.

    Example: uv run python -m tune train --base ministral-3b --method qlora --epochs 2
    """
    from tune import train as training

    if run and not resume:
        raise typer.BadParameter(f"for a new run use --name {run}, to continue one --resume {run}")
    if run:
        runs.find(SETTINGS.runs, run)
    wanted = {"base_model": base, "method": method, "lora_rank": rank, "epochs": epochs}
    this, settings, goes_on = training.choose(SETTINGS, run or name, resume, wanted)
    again = f"Continue: uv run python -m tune train --resume {this.name}"
    with stoppable(again, this.folder / "run.json"), screen.training() as report:
        training.train(this, settings, resume=goes_on, report=report)
    screen.show_trained(this)


@app.command()
def evaluate(
    run: RunName = "",
    rows: Annotated[int, typer.Option(min=0, help="Size of a random sample; 0: all.")] = 0,
    api_rows: Annotated[int, typer.Option(min=0, help="For a prompted model; 0: none.")] = 60,
    as_json: AsJson = False,
) -> None:
    """Compare the base and the tuned model on the test examples, with confidence intervals.

    Example: uv run python -m tune evaluate --rows 50
    """
    from tune import evaluate as evaluating

    this = runs.find(SETTINGS.runs, run)
    again = "The answers so far are saved. To continue, run the same command."
    with stoppable(again), screen.answering() as on_progress:
        found = evaluating.evaluate(this, SETTINGS, rows, api_rows, on_progress)
    screen.show(found, as_json, partial(screen.show_evaluation, run=this))


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="A question for both models.")],
    as_json: AsJson = False,
) -> None:
    """Ask the base and the tuned model a question, as the app does."""
    from tune import inference

    *_, both = inference.compare(question)
    if as_json:
        screen.print_json({side: asdict(each) for side, each in both.items()})
        return
    for side, each in both.items():
        print(f"{side} ({each.by}): {each.text or each.notice}")


@app.command()
def rehearse(as_json: AsJson = False) -> None:
    """Run every step with a tiny model, without a GPU or a download. Exit code 1 on a failure."""
    from tune.rehearse import rehearse as go

    with (
        stoppable("Its files were removed."),
        screen.rehearsing(quiet=as_json) as (begin, done),
    ):
        how = go(SETTINGS, begin, done)
    screen.show(how, as_json, partial(screen.show_rehearsal, folder=SETTINGS.runs / how.run))
    raise typer.Exit(0 if how.ok else 1)


@app.command()
def export(
    run: RunName = "",
    form: Annotated[Literal["adapter", "merged"], typer.Option("--as", help="Form.")] = "merged",
    push: Annotated[str, typer.Option(help="Push to the hub, as your-name/your-model.")] = "",
    public: Annotated[bool, typer.Option("--public", help="Make it public on the hub.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what it pushes.")] = False,
    as_json: AsJson = False,
) -> None:
    """Export an adapter or merged weights, with a model card; --push uploads them to the hub.

    Example: uv run python -m tune export --as adapter --push your-name/your-model
    """
    from tune import export as exporting
    from tune import hub

    if (public or dry_run) and not push:
        raise typer.BadParameter("--public and --dry-run need --push your-name/your-model")
    this = runs.find(SETTINGS.runs, run)
    made = exporting.there(this, form) if push else None
    made = made or exporting.export(this, form, SETTINGS, emit=note)
    sent = hub.push(made, push, private=not public, dry_run=dry_run) if push else None
    if as_json:
        screen.print_json(made.as_dict() | ({"push": vars(sent)} if sent else {}))
    else:
        screen.show_export(made, sent, dry_run)


@app.command("runs")
def list_runs(as_json: AsJson = False) -> None:
    """List the training runs, the latest first."""
    found = []
    for run in runs.every(SETTINGS.runs):
        try:
            found.append({"run": run.name, **vars(run.record)})
        except TuneError as error:  # a damaged run must not hide the others
            note(error.problem)
    if as_json:
        screen.print_json(found)
        return
    for each in found:
        print(f"{each['run']}  {each['state']}  {each['base']}  {each['method']}")
    if not found:
        note("None yet. Make one: uv run python -m tune rehearse")


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show which models the app uses, and which run is the latest."""
    latest = runs.latest(SETTINGS.runs)
    about: dict[str, Any] = {"provider": SETTINGS.provider, "chat_model": SETTINGS.chat}
    about |= SETTINGS.model_dump(include={"host", "port"})
    about |= {"question": next(iter(SETTINGS.examples), ""), "can_train": can_train()}
    about |= {"base": SETTINGS.base_model, "run": latest.name if latest else ""}
    if as_json:
        screen.print_json(about)
        return
    for title, text in about.items():
        print(f"{title:<12}  {text}")


if __name__ == "__main__":
    sys.exit(run_app(app, "python -m tune"))
