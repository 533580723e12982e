"""The command line: `uv run python -m rag ingest | search | ask | status`."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from rag import bm25, documents, ingest, pipeline, prompts
from rag.settings import SETTINGS

app = typer.Typer(help="Ingest documents, search them, and ask them.", no_args_is_help=True)
log = logging.getLogger(__name__)
screen, notes = Console(), Console(stderr=True)


@app.command("ingest")
def ingest_paths(
    paths: Annotated[list[str] | None, typer.Argument(help="Files, folders or URLs.")] = None,
) -> None:
    """Bring the index up to date: with docs/, or with the files, folders and URLs you name."""
    if not run_ingest(paths):
        raise typer.Exit(1)


@app.command()
def search(
    question: str,
    limit: Annotated[int, typer.Option(min=1, help="How many passages.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the best passages for a question."""
    ready()
    try:
        found = pipeline.search(question, limit)
    except bm25.Damaged:
        notes.print(pipeline.DAMAGED, style="yellow")
        raise typer.Exit(1) from None
    if as_json:
        print(json.dumps(as_rows(found), ensure_ascii=False, indent=2))
        return
    for number, hit in enumerate(found, start=1):
        screen.print(f"[{number}] {prompts.where(hit.passage)}", style="bold", markup=False)
        screen.print(hit.passage.text, markup=False, highlight=False, end="\n\n")


@app.command()
def ask(
    question: str,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Answer a question from the documents, with citations."""
    ready()
    if as_json:
        print(json.dumps(as_dict(pipeline.answer(question)), ensure_ascii=False, indent=2))
        return
    shown, answer = "", pipeline.Answer("")
    for answer in pipeline.stream(question):
        if not answer.text.startswith(shown):  # the model failed, and the offline answer follows
            print("\n")
            shown = ""
        print(answer.text.removeprefix(shown), end="", flush=True)
        shown = answer.text
    print("\n")
    for citation in answer.citations:
        print(f"[{citation.number}] {prompts.where(citation.passage)}")
    notes.print(
        f"{answer.notice} — {answer.model}, {answer.seconds:.1f} s".lstrip(" —"), style="dim"
    )


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show which model answers, and whether the index is up to date."""
    now, index = ingest.status(), documents.name_of(SETTINGS.index)
    if as_json:
        about = {
            "provider": SETTINGS.provider,
            "chat_model": SETTINGS.chat,
            "embed_model": SETTINGS.embedder,
            "host": SETTINGS.host,
            "port": SETTINGS.port,
            "question": next(iter(SETTINGS.examples), ""),
            "docs": documents.name_of(SETTINGS.docs),
            "index": index,
        }
        print(json.dumps(about | asdict(now), ensure_ascii=False, indent=2))
        return
    search = f"keywords and vectors ({SETTINGS.embedder})" if SETTINGS.embedder else "keywords"
    port = SETTINGS.port or "7860, or the next free one"
    rows = [
        ("Model", SETTINGS.chat or "none (offline mode)"),
        ("Search", search),
        ("Address", f"{SETTINGS.host}, port {port}"),
        ("Index", f"{index}: {now.documents} documents, {now.passages} passages"),
        *(("New", name) for name in now.new),
        *(("Changed", name) for name in now.changed),
        *(("Gone", name) for name in now.gone),
        *(("Unreadable", problem) for problem in now.unreadable),
    ]
    if now.damage:
        rows.append(("Damaged", now.damage))
    for title, text in rows:
        screen.print(f"{title:<10}  {text}", markup=False, highlight=False, soft_wrap=True)
    if now.busy:
        screen.print("The app has the index open: add documents there, or restart it.")
    elif now.new or now.changed or now.gone or now.damage:
        screen.print("To bring the index up to date: uv run python -m rag ingest")


def as_rows(found: Sequence[pipeline.Found]) -> list[dict[str, object]]:
    """Passages as JSON values, for `--json` and the REST API."""
    keys = ("source", "page", "text")
    return [{k: getattr(f.passage, k) for k in keys} | {"score": f.score} for f in found]


def as_dict(answer: pipeline.Answer) -> dict[str, object]:
    """An answer as JSON values, for `--json` and the REST API."""
    citations = [
        {
            "number": citation.number,
            "source": citation.passage.source,
            "page": citation.passage.page,
            "section": citation.passage.section,
            "text": citation.passage.text,
        }
        for citation in answer.citations
    ]
    return {
        "answer": answer.text,
        "citations": citations,
        "model": answer.model,
        "seconds": round(answer.seconds, 3),
        "notice": answer.notice,
    }


def ready() -> None:
    """Index docs/ if the index is empty, so that the first question works."""
    with suppress(bm25.Damaged):
        if bm25.look(SETTINGS.index)[1]:
            return
    run_ingest()


def run_ingest(paths: list[str] | None = None) -> bool:
    """Ingest with a progress bar and a line per problem; True if there was no problem."""
    try:
        with _bar() as show:
            result = ingest.ingest(paths, progress=show)
    except ingest.IndexBusy as busy:
        notes.print(str(busy), style="yellow", highlight=False)
        return False
    except bm25.Damaged:  # found while writing: the next ingest repairs it
        notes.print(pipeline.DAMAGED, style="yellow", highlight=False)
        return False
    except Exception:  # the app starts anyway, with the documents in the index
        log.exception("The index could not be updated. Delete its folder to rebuild it.")
        return False
    for problem in result.problems:
        notes.print(f"! {problem}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    notes.print(
        f"{result.changed} documents read, {result.removed} removed; "
        f"the index has {result.passages} passages.",
        highlight=False,
    )
    return not result.problems


@contextmanager
def _bar() -> Iterator[ingest.Progress]:
    columns = TextColumn("Reading documents"), BarColumn(), MofNCompleteColumn()
    name = TextColumn("{task.description}", markup=False)
    hidden = not notes.is_terminal
    with Progress(*columns, name, console=notes, transient=True, disable=hidden) as bar:
        task = bar.add_task("")
        yield lambda done, total, now: bar.update(
            task, completed=done, total=total, description=now
        )


if __name__ == "__main__":
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # Windows uses another one for pipes
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    app()
