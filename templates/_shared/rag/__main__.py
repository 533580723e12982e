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

from rag import bm25, chunks, index_state, ingest, pipeline, prompts
from rag.settings import SETTINGS

app = typer.Typer(help="Ingest documents, search them, and ask them.", no_args_is_help=True)
log = logging.getLogger(__name__)
screen, notes = Console(), Console(stderr=True)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


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
    limit: Annotated[int, typer.Option(min=1, help="How many chunks.")] = 5,
    as_json: Json = False,
) -> None:
    """Show the best chunks for a question."""
    ready()
    try:
        found = pipeline.retrieve(question, limit)
    except bm25.IndexCorrupted:
        notes.print(pipeline.CORRUPTED, style="yellow")
        raise typer.Exit(1) from None
    if as_json:
        _print_json(as_rows(found))
        return
    for number, hit in enumerate(found, start=1):
        screen.print(f"[{number}] {prompts.where(hit.chunk)}", style="bold", markup=False)
        screen.print(hit.chunk.text, markup=False, highlight=False, end="\n\n")


@app.command()
def ask(question: str, as_json: Json = False) -> None:
    """Answer a question from the documents, with citations."""
    ready()
    if as_json:
        _print_json(as_dict(pipeline.answer(question)))
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
        print(f"[{citation.number}] {prompts.where(citation.chunk)}")
    by = f"{answer.notice} — {answer.model}, {answer.seconds:.1f} s".lstrip(" —")
    notes.print(by, style="dim")


@app.command()
def status(as_json: Json = False) -> None:
    """Show which model answers, and whether the index is up to date."""
    now = index_state.status()
    about = {
        "provider": SETTINGS.provider,
        "chat_model": SETTINGS.chat,
        "embed_model": SETTINGS.embedder,
        "host": SETTINGS.host,
        "port": SETTINGS.port,
        "question": next(iter(SETTINGS.examples), ""),
        "docs": chunks.name_of(SETTINGS.docs),
        "index": chunks.name_of(SETTINGS.index),
    }
    if as_json:
        _print_json(about | asdict(now))
        return
    for title, text in _rows(now):
        screen.print(f"{title:<10}  {text}", markup=False, highlight=False, soft_wrap=True)
    if now.busy:
        screen.print("The app has the index open: add documents there, or restart it.")
    elif now.new or now.changed or now.gone or now.damage:
        screen.print("To bring the index up to date: uv run python -m rag ingest")


def _rows(now: index_state.Status) -> Iterator[tuple[str, str]]:
    yield "Model", SETTINGS.chat or "none (offline mode)"
    yield "Retrieval", f"BM25 and dense ({SETTINGS.embedder})" if SETTINGS.embedder else "BM25"
    yield "Address", f"{SETTINGS.host}, port {SETTINGS.port or '7860, or the next free one'}"
    index = chunks.name_of(SETTINGS.index)
    yield "Index", f"{index}: {now.documents} documents, {now.chunks} chunks"
    for title in ("New", "Changed", "Gone", "Unreadable"):
        yield from ((title, name) for name in getattr(now, title.lower()))
    if now.damage:
        yield "Damaged", now.damage


def _print_json(values: object) -> None:
    print(json.dumps(values, ensure_ascii=False, indent=2))


def as_rows(found: Sequence[pipeline.Retrieved]) -> list[dict[str, object]]:
    """Chunks as JSON values, for `--json` and the REST API."""
    keys = ("source", "page", "text")
    return [{k: getattr(f.chunk, k) for k in keys} | {"score": f.score} for f in found]


def as_dict(answer: pipeline.Answer) -> dict[str, object]:
    """An answer as JSON values, for `--json` and the REST API."""
    keys = ("source", "page", "section", "text")
    return {
        "answer": answer.text,
        "citations": [
            {"number": c.number} | {k: getattr(c.chunk, k) for k in keys} for c in answer.citations
        ],
        "model": answer.model,
        "seconds": round(answer.seconds, 3),
        "notice": answer.notice,
    }


def ready() -> None:
    """Index docs/ if the index is empty, so that the first question works."""
    with suppress(bm25.IndexCorrupted):
        if index_state.look(SETTINGS.index)[1]:
            return
    run_ingest()


def run_ingest(paths: list[str] | None = None) -> bool:
    """Ingest with a progress bar and a line per problem; True if there was no problem."""
    try:
        with _bar() as show:
            result = ingest.ingest(paths, progress=show)
    except (index_state.IndexBusy, bm25.IndexCorrupted) as error:  # the next ingest repairs it
        busy = isinstance(error, index_state.IndexBusy)
        notes.print(str(error) if busy else pipeline.CORRUPTED, style="yellow", highlight=False)
        return False
    except Exception:  # the app starts anyway, with the documents in the index
        log.exception("The index could not be updated. Delete its folder to rebuild it.")
        return False
    for problem in result.problems:
        notes.print(f"! {problem}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    notes.print(
        f"{result.changed} documents read, {result.removed} removed; "
        f"the index has {result.chunks} chunks.",
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
