"""What the page shows, as HTML: answers with links to their sources, cards, the badge, the list."""

import html
import re
from pathlib import Path
from typing import Any

from plumbing.page import JOINER, sanitize
from rag import bm25, pipeline, prompts
from rag.chunks import Chunk
from rag.pipeline import Answer
from rag.settings import SETTINGS
from rag.text import content, guess_language, stems

Messages = list[dict[str, Any]]  # of Gradio's chatbot
CORRUPTED = f'<p class="empty">{pipeline.CORRUPTED}</p>'
NO_SOURCES = '<p class="empty">Ask a question: the sources of each answer appear here.</p>'
_BY = re.compile(r'^<span class="by">.*</span>\n\n')  # the byline: which model answered
_CARD = re.compile(r'href="#(source-\d+-(\d+)-(\w+))"')  # the link of a citation: card and chunk


def bubble(answer: Answer, turn: int) -> str:
    """The answer as safe Markdown: the only active links are our own."""
    parts = prompts.CODE.split(sanitize(answer.text))  # every second part is code: row[1]
    for citation in answer.citations:
        card = f"source-{turn}-{citation.number}-{citation.chunk.id}"
        link = f'<a class="cite" href="#{card}">{citation.number}</a>'
        parts[::2] = [part.replace(f"[{citation.number}]", link) for part in parts[::2]]
    by = f"{answer.notice} Answered by the {answer.model}" if answer.notice else answer.model
    by = f'<span class="by">{html.escape(by)} · {answer.seconds:.1f} s</span>\n\n'
    return (by if answer.seconds else "") + "".join(parts)


def plain(message: dict[str, Any]) -> prompts.Message:
    """A chat message as plain text for the model, without our links and byline."""
    text = re.sub(r'<a class="cite"[^>]*>(\d+)</a>', r"[\1]", _BY.sub("", _raw(message)))
    return {"role": message["role"], "content": text.replace(JOINER, "").strip()}


def _raw(message: dict[str, Any]) -> str:
    given = message["content"]
    return given if isinstance(given, str) else "\n".join(part.get("text", "") for part in given)


def sources(answer: Answer, question: str, turn: int) -> str:
    """The panel: for each citation the document, the page, and the text with highlights."""
    cards = (
        _card(f"source-{turn}-{c.number}-{c.chunk.id}", c.number, c.chunk, question)
        for c in answer.citations
    )
    return "<h2>Sources</h2>" + ("".join(cards) or NO_SOURCES)


def earlier(history: Messages) -> str:
    """The source cards of earlier answers, by the links in them."""
    cards, question = [], ""
    for message in history:
        if message["role"] == "user":
            question = _raw(message)
            continue
        for name, number, chunk_id in dict.fromkeys(_CARD.findall(_raw(message))):
            try:
                found = bm25.fetch(SETTINGS.index, [chunk_id])
            except bm25.IndexCorrupted:
                return CORRUPTED
            cards += [_card(name, number, chunk, question) for chunk in found]
    return "<h2>Earlier</h2>" + "".join(cards) if cards else ""


def _card(name: str, number: int | str, chunk: Chunk, question: str) -> str:
    page = f"Page {chunk.page}" if chunk.page else ""
    place = " · ".join(part for part in (page, chunk.section) if part)
    return (
        f'<details class="source" id="{name}" open><summary><span class="number">{number}</span>'
        f"<span><b>{html.escape(chunk.source.rsplit('/', 1)[-1])}</b>"
        f"<small>{html.escape(place)}</small></span></summary>"
        f"<p>{_highlighted(chunk.text, question)}</p></details>"
    )


def _highlighted(text: str, question: str) -> str:
    """The text as HTML, with the question's words highlighted."""
    language = guess_language(text)
    asked = set(content(question, language))
    text = re.sub(r"\A(?:#{1,6}\s.*\n+)+", "", text)  # the card shows the heading already
    parts = re.split(r"(\w+)", text)
    for i, part in enumerate(parts):
        safe = html.escape(part)
        parts[i] = f"<mark>{safe}</mark>" if asked & set(stems(part, language)) else safe
    return "".join(parts)


def badge(answer: Answer | None = None) -> str:
    """The model's name, or the label of offline mode."""
    offline = SETTINGS.provider == "offline" or bool(answer and answer.notice)
    name = "Offline stand-in" if offline else SETTINGS.chat
    return f'<span class="badge {"off" if offline else "on"}">{html.escape(name)}</span>'


def library() -> str:
    """The list of the documents in the index."""
    try:
        known = sorted(bm25.ledger(SETTINGS.index))
    except bm25.IndexCorrupted:
        return CORRUPTED
    names = (Path(name).name if Path(name).is_absolute() else name for name in known)
    rows = "".join(f"<li>{html.escape(name)}</li>" for name in names)
    empty = '<p class="empty">No documents yet.</p>'
    return "<h2>In the index</h2>" + (f'<ul class="library">{rows}</ul>' if rows else empty)
