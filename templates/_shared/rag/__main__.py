"""The command line: `uv run python -m rag ingest | search | ask | status`."""

import io
import json
import logging
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

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
    values = {
        "provider": SETTINGS.provider,
        "chat_model": SETTINGS.chat,
        "embed_model": SETTINGS.embedder,
        "host": SETTINGS.host,
        "port": SETTINGS.port,
        "question": next(iter(SETTINGS.examples), ""),
        "docs": chunks.name_of(SETTINGS.docs),
        "index": chunks.name_of(SETTINGS.index),
        **asdict(index_state.status()),
    }
    if as_json:
        _print_json(values)
        return
    for name, value in values.items():
        for each in value if isinstance(value, tuple) else [value]:
            screen.print(f"{name:<12} {each}", markup=False, highlight=False, soft_wrap=True)
    if values["new"] or values["changed"] or values["gone"] or values["damage"]:
        fix = "restart the app" if values["busy"] else "uv run python -m rag ingest"
        screen.print(f"To bring the index up to date: {fix}")


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
        with notes.status("Reading documents") as line:
            result = ingest.ingest(
                paths,
                progress=lambda n, of, now: line.update(f"Reading {n} of {of}: {escape(now)}"),
            )
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


if __name__ == "__main__":
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # Windows uses another one for pipes
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    app()
