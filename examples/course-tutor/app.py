"""The web app: `uv run app.py`. Chat with sources, the quiz, and the documents."""

from __future__ import annotations

import html
import importlib.util
import json
import logging
import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # no telemetry

import gradio as gr
import quiz

from plumbing.page import JOINER, catch_signals, sanitize, wait_for_shutdown
from plumbing.readers import READERS
from rag import bm25, ingest, pipeline, prompts
from rag.__main__ import as_dict, as_rows, run_ingest
from rag.chunks import Citation, Passage
from rag.pipeline import Answer
from rag.settings import SETTINGS

log = logging.getLogger(__name__)
HERE = Path(__file__).parent
SORRY = "Something went wrong on our side. Please ask again."
ASK = "Ask about your documents"
DAMAGED = f'<p class="empty">{pipeline.DAMAGED}</p>'
NO_SOURCES = "Ask a question: the sources of each answer appear here."


# Chat


def chat(question: str, history: list[dict[str, Any]]) -> Iterator[tuple[Any, ...]]:
    """Stream the answer into the chat, its sources into the panel, the model into the badge."""
    turn = len(history) // 2 + 1
    box = gr.update(placeholder=ASK)  # Gradio clears it when a question is sent
    try:
        yield "…", gr.skip(), gr.skip(), box
        before = _earlier(history)
        for answer in pipeline.stream(question, [_plain(message) for message in history]):
            yield (
                _bubble(answer, turn),
                sources(answer, question, turn) + before,
                badge(answer),
                box,
            )
        if answer.notice:
            gr.Warning(f"{answer.notice} This is the offline answer.")
    except Exception:  # an exception here would lock the textbox
        log.exception("The question %r failed.", question)
        yield SORRY, sources(Answer(""), "", turn), badge(), box


def _plain(message: dict[str, Any]) -> prompts.Message:
    """A chat message as plain text for the model, without our links and byline."""
    content = re.sub(r'<a class="cite"[^>]*>(\d+)</a>', r"[\1]", BY.sub("", _raw(message)))
    return {"role": message["role"], "content": content.replace(JOINER, "").strip()}


def _raw(message: dict[str, Any]) -> str:
    content = message["content"]
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text", "") for part in content)


BY = re.compile(r'^<span class="by">.*</span>\n\n')  # the byline: which model answered
CARD = re.compile(r'href="#(source-\d+-(\d+)-(\w+))"')  # the link of a citation: card and passage


def _bubble(answer: Answer, turn: int) -> str:
    """The answer as safe Markdown: the only active links are our own."""
    text = sanitize(answer.text)
    parts = prompts.CODE.split(text)  # every second part is code, where [1] is no citation
    for citation in answer.citations:
        card = f"source-{turn}-{citation.number}-{citation.passage.id}"
        link = f'<a class="cite" href="#{card}">{citation.number}</a>'
        parts[::2] = [part.replace(f"[{citation.number}]", link) for part in parts[::2]]
    by = f"{answer.notice} Answered by the {answer.model}" if answer.notice else answer.model
    by = f'<span class="by">{html.escape(by)} · {answer.seconds:.1f} s</span>\n\n'
    return (by if answer.seconds else "") + "".join(parts)


def sources(answer: Answer, question: str, turn: int) -> str:
    """The panel: for each citation the document, the page, and the passage with highlights."""
    cards = (
        _card(f"source-{turn}-{c.number}-{c.passage.id}", c.number, c.passage, question)
        for c in answer.citations
    )
    return "<h2>Sources</h2>" + ("".join(cards) or f'<p class="empty">{NO_SOURCES}</p>')


def _earlier(history: list[dict[str, Any]]) -> str:
    """The source cards of earlier answers, by the links in them."""
    cards, question = [], ""
    for message in history:
        if message["role"] == "user":
            question = _raw(message)
            continue
        for name, number, passage_id in dict.fromkeys(CARD.findall(_raw(message))):
            try:
                found = bm25.fetch(SETTINGS.index, [passage_id])
            except bm25.Damaged:
                return DAMAGED
            cards += [_card(name, number, passage, question) for passage in found]
    return "<h2>Earlier</h2>" + "".join(cards) if cards else ""


def _card(name: str, number: int | str, passage: Passage, question: str) -> str:
    language = bm25.guess_language(passage.text)
    asked = set(bm25.content(question, language))
    return (
        f'<details class="source" id="{name}" open><summary><span class="number">{number}</span>'
        f"<span><b>{html.escape(passage.source.rsplit('/', 1)[-1])}</b>"
        f"<small>{html.escape(_place(passage))}</small></span></summary>"
        f"<p>{_marked(passage.text, asked, language)}</p></details>"
    )


def _place(passage: Passage) -> str:
    page = f"Page {passage.page}" if passage.page else ""
    return " · ".join(part for part in (page, passage.section) if part)


def _marked(text: str, asked: set[str], language: str) -> str:
    """The passage as HTML, with the question's words highlighted."""
    text = re.sub(r"\A(?:#{1,6}\s.*\n+)+", "", text)  # the card shows the heading already
    pieces = re.split(r"(\w+)", text)
    for i, piece in enumerate(pieces):
        safe = html.escape(piece)
        pieces[i] = f"<mark>{safe}</mark>" if asked & set(bm25.stems(piece, language)) else safe
    return "".join(pieces)


def badge(answer: Answer | None = None) -> str:
    """The model's name, or the label of offline mode."""
    offline = SETTINGS.provider == "offline" or bool(answer and answer.notice)
    name = "Offline stand-in" if offline else SETTINGS.chat
    return f'<span class="badge {"off" if offline else "on"}">{html.escape(name)}</span>'


def vote(data: gr.LikeData, messages: list[dict[str, Any]]) -> None:
    """Append a thumbs up or down, with question and answer, to feedback.jsonl."""
    index = data.index if isinstance(data.index, int) else data.index[0]
    plain = [_plain(message) for message in messages[: index + 1]]
    question = next((m["content"] for m in reversed(plain) if m["role"] == "user"), "")
    row = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "question": question,
        "answer": plain[-1]["content"],
        "liked": bool(data.liked),
    }
    with SETTINGS.feedback.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")


# Documents

PROGRESS = gr.Progress()  # Gradio replaces it in each call


def add_files(paths: list[str] | None, progress: gr.Progress = PROGRESS) -> tuple[str, str]:
    """Copy uploads to docs/uploads/ and index them."""
    folder = SETTINGS.docs / "uploads"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        copies = [Path(shutil.copy(path, folder)) for path in paths or []]
    except OSError as error:
        return html.escape(f"The file could not be saved: {error.strerror}."), library()
    return _ingest(copies, progress)


def add_url(url: str, progress: gr.Progress = PROGRESS) -> tuple[str, str]:
    """Download a web page or a file, and index it."""
    url = url.strip()
    if not url:
        return "", library()
    return _ingest([url if "://" in url else f"https://{url}"], progress)


def read_again(progress: gr.Progress = PROGRESS) -> tuple[str, str]:
    """Index new, changed and deleted documents in docs/."""
    return _ingest(None, progress)


def _ingest(paths: Sequence[str | Path] | None, progress: gr.Progress) -> tuple[str, str]:
    try:
        done = ingest.ingest(paths, progress=lambda n, of, now: progress((n, of), desc=now))
        lines = [f"{done.changed} read, {done.removed} removed.", *done.problems]
    except ingest.IndexBusy as busy:
        lines = [str(busy)]
    except bm25.Damaged:  # found while writing: the next ingest repairs it
        lines = [pipeline.DAMAGED]
    except Exception:
        log.exception("ingest failed")
        lines = [SORRY]
    return "<br>".join(html.escape(line) for line in lines), library()


def library() -> str:
    """The list of the documents in the index."""
    try:
        known = sorted(bm25.ledger(SETTINGS.index))
    except bm25.Damaged:
        return DAMAGED
    names = (Path(name).name if Path(name).is_absolute() else name for name in known)
    rows = "".join(f"<li>{html.escape(name)}</li>" for name in names)
    return "<h2>In the index</h2>" + (
        f'<ul class="library">{rows}</ul>' if rows else '<p class="empty">No documents yet.</p>'
    )


# Quiz


def quiz_next(deck: list[quiz.Card]) -> tuple[list[quiz.Card], str, str, str, str]:
    """The next question, with an empty box and without the answer."""
    deck = deck[1:] or quiz.deck()
    return deck, f"<h2>{html.escape(deck[0].question)}</h2>", "", "", ""


def quiz_check(deck: list[quiz.Card], answer: str) -> tuple[str, str]:
    """The verdict, the course's answer, and the passage that it comes from."""
    if not answer.strip():
        return "<p>Write your answer first, in your own words.</p>", ""
    card = deck[0]
    verdict, missing = quiz.mark(card, answer)
    lines = [f"The course's answer: {card.answer}", quiz.comment(card, answer)]
    if missing:
        lines.insert(1, f"Not in your answer: {', '.join(missing)}.")
    text = "".join(f"<p>{html.escape(line)}</p>" for line in lines)
    found = quiz.passage(card)
    cited = (Citation(1, found),) if found else ()
    return f"<h3>{verdict}</h3>{text}", sources(Answer("", cited), card.answer, 0)


# The API for programs: REST (gradio_client) and MCP


def ask(question: str) -> dict[str, object]:
    """Answer a question from the documents: answer, citations, model, seconds, notice."""
    return as_dict(pipeline.answer(question))


def search(question: str, limit: int = 5) -> list[dict[str, object]]:
    """Find the best passages for a question: source, page, text, score."""
    try:
        return as_rows(pipeline.search(question, max(1, min(int(limit), 50))))
    except bm25.Damaged:
        raise gr.Error(pipeline.DAMAGED, print_exception=False) from None


# The page


def build() -> gr.Blocks:
    """Build the page: a tab each for the chat, the quiz and the documents."""
    with gr.Blocks(title=SETTINGS.title, fill_height=True) as page:
        with gr.Row(elem_id="head"):
            gr.HTML(f"<h1>{html.escape(SETTINGS.title)}</h1><p>{html.escape(SETTINGS.tagline)}</p>")
            who = gr.HTML(badge(), elem_id="who")
        with gr.Tab("Ask"):
            ask_tab(who)
        with gr.Tab("Quiz"):
            quiz_tab(page)
        with gr.Tab("Documents"):
            shelf = documents_tab()
        page.load(library, None, shelf, api_visibility="private")
        gr.api(ask, api_name="ask")
        gr.api(search, api_name="search")
    return page


def ask_tab(who: gr.HTML) -> None:
    """The chat on the left, the sources on the right."""
    panel = gr.HTML(sources(Answer(""), "", 0), elem_id="sources", render=False)
    box = gr.Textbox(
        placeholder=ASK,
        show_label=False,
        max_length=10_000,
        submit_btn=True,
        stop_btn=True,
        elem_id="box",
        render=False,
    )
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=320):
            bot = gr.Chatbot(
                show_label=False,
                layout="panel",
                height="calc(100dvh - 17rem)",
                buttons=["copy"],
                placeholder=f"## {SETTINGS.welcome}",
                elem_id="chat",
            )
            gr.ChatInterface(
                chat,
                chatbot=bot,
                textbox=box,
                examples=list(SETTINGS.examples),
                additional_outputs=[panel, who, box],
                show_progress="hidden",
                api_visibility="private",
            )
            bot.like(vote, bot, None, api_visibility="private")
        with gr.Column(scale=2, min_width=300):
            panel.render()


def quiz_tab(page: gr.Blocks) -> None:
    """The question and the answer box on the left; the passage, once answered, on the right."""
    deck = gr.State([])
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=320):
            question = gr.HTML()
            answer = gr.Textbox(label="Your answer", max_length=2000, elem_id="quiz-answer")
            with gr.Row():
                check = gr.Button("Check", variant="primary")
                skip = gr.Button("Next question")
            verdict = gr.HTML(elem_id="verdict")
        with gr.Column(scale=2, min_width=300):
            panel = gr.HTML()
    shown = [deck, question, answer, verdict, panel]
    for draw in (page.load, skip.click):
        draw(quiz_next, deck, shown, api_visibility="private")
    for listen in (check.click, answer.submit):
        listen(quiz_check, [deck, answer], [verdict, panel], api_visibility="private")


def documents_tab() -> gr.HTML:
    """Upload, address box, and the list of indexed documents, which it returns."""
    with gr.Row():
        with gr.Column():
            files = gr.File(
                label="Add files",
                file_count="multiple",
                file_types=sorted(READERS),
                elem_id="upload",
            )
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
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    catch_signals()
    run_ingest()
    threading.Thread(target=pipeline.warm_up, daemon=True).start()
    page = build().queue(default_concurrency_limit=8)  # simultaneous users
    try:
        _, address, _ = page.launch(
            server_name=SETTINGS.host,
            server_port=SETTINGS.port or None,
            theme=THEME,
            css_paths=HERE / "style.css",
            footer_links=[],
            mcp_server=importlib.util.find_spec("mcp") is not None,  # uv sync --extra mcp
            max_file_size=f"{SETTINGS.max_file_mb}mb",
            prevent_thread_lock=True,
            quiet=True,
        )
    except OSError as error:
        sys.exit(f"The app could not start: {error}\nFix: choose another PORT in .env")
    print(f"Open {address}", flush=True)
    wait_for_shutdown()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:  # before the app was up
        sys.exit(130)
