"""The web app: `uv run app.py`. Chat, the sources of each answer, and the documents."""

import filecmp
import html
import importlib.util
import json
import logging
import os
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # no telemetry

import gradio as gr

from plumbing.guard import VisitorLimit, serving
from plumbing.page import run, wait_for_shutdown
from plumbing.readers import READERS
from rag import bm25, index_state, ingest, pipeline, ui
from rag.__main__ import as_dict, as_rows, run_ingest
from rag.pipeline import Answer
from rag.settings import SETTINGS

log = logging.getLogger(__name__)
SORRY = "Something went wrong on our side. Please ask again."
ASK = "Ask about your documents"
LONGEST = 10_000  # characters of a question, and of a text in feedback.jsonl
QUESTIONS = VisitorLimit(SETTINGS.visitor_limit)  # and what is indexed: it costs embeddings
VOTES = VisitorLimit(SETTINGS.visitor_limit)


# Chat


def chat(question: str, history: ui.Messages) -> Iterator[tuple[Any, ...]]:
    """Stream the answer into the chat, its sources into the panel, the model into the badge."""
    turn = len(history) // 2 + 1
    box = gr.update(placeholder=ASK)  # Gradio clears it when a question is sent
    try:
        yield "…", gr.skip(), gr.skip(), box
        QUESTIONS.count()
        before = ui.earlier(history)
        for answer in pipeline.stream(question, [ui.plain(message) for message in history]):
            panel = ui.sources(answer, question, turn) + before
            yield ui.bubble(answer, turn), panel, ui.badge(answer), box
        if answer.notice:
            gr.Warning(f"{answer.notice} This is the offline answer.")
    except gr.Error as limit:
        yield limit.message, gr.skip(), gr.skip(), box
    except Exception:  # an exception here would lock the textbox
        log.exception("The question %r failed.", question)
        yield SORRY, ui.sources(Answer(""), "", turn), ui.badge(), box


def vote(data: gr.LikeData, messages: ui.Messages) -> None:
    """Append a thumbs up or down, with question and answer, to feedback.jsonl."""
    VOTES.count()
    index = data.index if isinstance(data.index, int) else data.index[0]
    plain = [ui.plain(message) for message in messages[: index + 1]]
    row = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "question": next((m["content"][:LONGEST] for m in plain[::-1] if m["role"] == "user"), ""),
        "answer": plain[-1]["content"][:LONGEST],
        "liked": bool(data.liked),
    }
    with SETTINGS.feedback.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")


# Documents

PROGRESS = gr.Progress()  # Gradio replaces it in each call


def add_files(paths: list[str] | None, progress: gr.Progress = PROGRESS) -> tuple[str, str]:
    """Copy uploads to docs/uploads/ and index them."""
    QUESTIONS.count()
    folder = SETTINGS.docs / "uploads"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        copies = [_copy(Path(path), folder) for path in paths or []]
    except OSError as error:
        return html.escape(f"The file could not be saved: {error.strerror}."), ui.library()
    return _ingest(copies, progress)


def _copy(file: Path, folder: Path) -> Path:
    """Copy a file under a free name: one with its name may be another visitor's."""
    place = folder / file.name
    for number in count(2):
        try:
            with file.open("rb") as content, place.open("xb") as copy:
                shutil.copyfileobj(content, copy)
            break
        except FileExistsError:
            if filecmp.cmp(file, place, shallow=False):
                break
        place = folder / f"{file.stem}-{number}{file.suffix}"
    return place


def add_url(url: str, progress: gr.Progress = PROGRESS) -> tuple[str, str]:
    """Download a web page or a file, and index it."""
    url = url.strip()
    if not url:
        return "", ui.library()
    QUESTIONS.count()
    return _ingest([url if "://" in url else f"https://{url}"], progress)


def read_again(progress: gr.Progress = PROGRESS) -> tuple[str, str]:
    """Index new, changed and deleted documents in docs/."""
    QUESTIONS.count()
    return _ingest(None, progress)


def _ingest(paths: Sequence[str | Path] | None, progress: gr.Progress) -> tuple[str, str]:
    try:
        done = ingest.ingest(paths, progress=lambda n, of, now: progress((n, of), desc=now))
        lines = [f"{done.changed} read, {done.removed} removed.", *done.problems]
    except index_state.IndexBusy as busy:
        lines = [str(busy)]
    except bm25.IndexCorrupted:  # found while writing: the next ingest repairs it
        lines = [pipeline.CORRUPTED]
    except Exception:
        log.exception("ingest failed")
        lines = [SORRY]
    return "<br>".join(html.escape(line) for line in lines), ui.library()


# The API for programs: REST (gradio_client) and MCP


def ask(question: str) -> dict[str, object]:
    """Answer a question from the documents: answer, citations, model, seconds, notice."""
    QUESTIONS.count()
    return as_dict(pipeline.answer(question))


def search(question: str, limit: int = 5) -> list[dict[str, object]]:
    """Find the best chunks for a question: source, page, text, score."""
    QUESTIONS.count()
    try:
        return as_rows(pipeline.retrieve(question, max(1, min(int(limit), 50))))
    except bm25.IndexCorrupted:
        raise gr.Error(pipeline.CORRUPTED, print_exception=False) from None


# The page


def build() -> gr.Blocks:
    """Build the page: a tab for the chat, a tab for the documents."""
    with gr.Blocks(title=SETTINGS.title, fill_height=True, delete_cache=(3600, 86400)) as page:
        with gr.Row(elem_id="head"):
            gr.HTML(f"<h1>{html.escape(SETTINGS.title)}</h1><p>{html.escape(SETTINGS.tagline)}</p>")
            who = gr.HTML(ui.badge(), elem_id="who")
        with gr.Tab("Ask"):
            ask_tab(who)
        with gr.Tab("Documents"):
            shelf = documents_tab()
        page.load(ui.library, None, shelf, api_visibility="private")
        gr.api(ask, api_name="ask", queue=False)  # MCP then needs no second request
        gr.api(search, api_name="search", queue=False)
    return page


def ask_tab(who: gr.HTML) -> None:
    """The chat on the left, the sources on the right."""
    panel = gr.HTML(ui.sources(Answer(""), "", 0), elem_id="sources", render=False)
    box = gr.Textbox(placeholder=ASK, show_label=False, max_length=LONGEST, submit_btn=True,
                     stop_btn=True, elem_id="box", render=False)  # fmt: skip
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=320):
            bot = gr.Chatbot(show_label=False, layout="panel", height="calc(100dvh - 17rem)",
                             buttons=["copy"], placeholder=f"## {SETTINGS.welcome}",
                             elem_id="chat")  # fmt: skip
            gr.ChatInterface(chat, chatbot=bot, textbox=box, examples=list(SETTINGS.examples),
                             additional_outputs=[panel, who, box], show_progress="hidden",
                             api_visibility="private")  # fmt: skip
            bot.like(vote, bot, None, api_visibility="private")
        with gr.Column(scale=2, min_width=300):
            panel.render()


def documents_tab() -> gr.HTML:
    """Upload, address box, and the list of indexed documents, which it returns."""
    with gr.Row():
        with gr.Column():
            files = gr.File(label="Add files", file_count="multiple", elem_id="upload",
                            file_types=sorted(READERS))  # fmt: skip
            with gr.Row():
                url = gr.Textbox(label="Add a web page", placeholder="https://", scale=4)
                fetch = gr.Button("Add", scale=1, variant="primary")
            again = gr.Button("Read docs/ again")
            status = gr.HTML(elem_id="status")
        with gr.Column():
            shelf = gr.HTML(elem_id="shelf")
    for listen, function, inputs in (
        (files.upload, add_files, files),
        (fetch.click, add_url, url),
        (url.submit, add_url, url),
        (again.click, read_again, None),
    ):
        listen(function, inputs, [status, shelf], api_visibility="private")
    return shelf


THEME = gr.themes.Soft(
    primary_hue="orange",
    neutral_hue="stone",
    font=["system-ui", "Segoe UI", "Roboto", "sans-serif"],  # no web font: works without Wi-Fi
    font_mono=["ui-monospace", "Consolas", "monospace"],
)


def main() -> None:
    """Index new documents, then serve the page until Ctrl-C."""
    run_ingest()
    threading.Thread(target=pipeline.warm_up, daemon=True).start()
    has_mcp = importlib.util.find_spec("mcp") is not None  # uv sync --extra mcp
    style = Path(__file__).parent / "style.css"
    with serving(build(), SETTINGS, theme=THEME, css_paths=style, mcp_server=has_mcp) as address:
        print(f"Open {address}", flush=True)
        wait_for_shutdown()


if __name__ == "__main__":
    run(main)
