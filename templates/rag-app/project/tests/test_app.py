import json
import re
import shutil
from pathlib import Path

import gradio as gr
import httpx
import pytest
from bs4 import BeautifulSoup
from gradio_client import Client
from gradio_client.exceptions import AppError

import app
from plumbing.guard import VisitorLimit, serving
from plumbing.readers import Page
from rag import ingest, offline, pipeline, ui
from rag.chunks import Chunk, Citation, split
from rag.pipeline import Answer
from rag.settings import SETTINGS

ASKED = "How hot is green tea brewed?"
HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=http://evil.example/x.png onerror=alert(1)>",
    "![x](http://evil.example/x.png)",
    "!![x](http://evil.example/x.png)",
    "`<img src=x>` and \\`<img src=x>\\`",
    "text ``` <img src=x>",
    "~~~\n```\n~~~\n<img src=x>\n```",
    "| `<img src=x> | y` |\n|---|---|",
    "</span></details><b onclick=alert(1)>",
    "<!-- <a href=javascript:alert(1)>",
]


@pytest.fixture(scope="module", autouse=True)
def ingested() -> None:
    ingest.ingest()


def chunk(text: str, source: str = "docs/tea.md", section: str = "") -> Chunk:
    return split(source, [Page(text, page=2, section=section)])[0]


# The chat


def test_a_question_gets_an_answer_its_sources_and_the_model_s_name() -> None:
    bubble, panel, badge, *_ = list(app.chat(ASKED, []))[-1]
    cited = re.search(r'80 degrees. <a class="cite" href="#(source-1-1-\w+)">1</a>', bubble)
    assert cited
    card = BeautifulSoup(panel, "lxml").find(id=cited[1])
    assert card
    assert card.b and card.b.text == "tea.md"
    assert {"Green", "tea"} <= {mark.text for mark in card.find_all("mark")}
    assert "Offline stand-in" in badge
    assert offline.NAME in bubble


def test_the_sources_of_earlier_answers_stay_in_the_panel() -> None:
    first, *_ = list(app.chat(ASKED, []))[-1]
    history = [{"role": "user", "content": ASKED}, {"role": "assistant", "content": first}]
    bubble, panel, *_ = list(app.chat("What water does black tea want?", history))[-1]
    cards = {str(card["id"]) for card in BeautifulSoup(panel, "lxml").find_all("details")}
    assert set(re.findall(r'href="#([\w-]+)"', first + bubble)) == cards
    assert {name[:8] for name in cards} == {"source-1", "source-2"}


def test_an_answer_goes_back_to_the_model_as_plain_text() -> None:
    written = "Brew it hot [1], `a[1] < b` and <b>so</b> on."
    bubble = ui.bubble(Answer(written, model="m", seconds=0.5), 3)
    assert "0.5 s" in bubble
    for content in (bubble, [{"type": "text", "text": bubble}]):
        plain = ui.plain({"role": "assistant", "content": content})
        assert plain == {"role": "assistant", "content": written}


def test_the_chat_survives_whatever_goes_wrong() -> None:
    broken = [{"role": "user"}]
    *_, (bubble, *_) = app.chat(ASKED, broken)
    assert bubble == app.SORRY


# Text of documents and models is shown as text


@pytest.mark.parametrize("hostile", HOSTILE)
def test_markup_in_an_answer_is_disabled(hostile: str) -> None:
    bubble = ui.bubble(Answer(f"{hostile} [1]", seconds=1.0), 1)
    ours = re.compile(
        r'<a class="cite" href="#source-1-1">|</a>|^<span class="by">|</span>(?=\n\n)'
    )
    assert not re.search(r"<[a-zA-Z/!?]|!\[", ours.sub("", bubble))


@pytest.mark.parametrize("hostile", HOSTILE)
def test_markup_in_a_source_is_disabled(hostile: str) -> None:
    citation = Citation(1, chunk(hostile, source=f"docs/{hostile}.md", section=hostile))
    panel = BeautifulSoup(ui.sources(Answer("[1]", (citation,)), hostile, 1), "lxml")
    ours = {"html", "body", "h2", "details", "summary", "span", "b", "small", "p", "mark"}
    for tag in panel.find_all(True):
        assert tag.name in ours
        assert set(tag.attrs) <= {"class", "id", "open"}


# Feedback and documents


def test_a_thumbs_up_is_saved_with_question_and_answer() -> None:
    bubble = ui.bubble(Answer("At 80 degrees [1].", seconds=1.0), 1)
    messages = [{"role": "user", "content": ASKED}, {"role": "assistant", "content": bubble}]
    app.vote(gr.LikeData(None, {"index": 1, "value": bubble, "liked": True}), messages)
    row = json.loads(SETTINGS.feedback.read_text(encoding="utf-8").splitlines()[-1])
    assert row["time"]
    del row["time"]
    assert row == {"question": ASKED, "answer": "At 80 degrees [1].", "liked": True}


def test_a_vote_saves_only_the_beginning_of_long_texts() -> None:
    messages = [{"role": role, "content": "é" * 1_000_000} for role in ("user", "assistant")]
    app.vote(gr.LikeData(None, {"index": 1, "value": "", "liked": True}), messages)
    row = json.loads(SETTINGS.feedback.read_text(encoding="utf-8").splitlines()[-1])
    assert (len(row["question"]), len(row["answer"])) == (10_000, 10_000)


def test_a_second_upload_with_a_name_does_not_replace_the_first(tmp_path: Path) -> None:
    files = [tmp_path / visitor / "plan.md" for visitor in ("anna", "ben")]
    for file in files:
        file.parent.mkdir()
        file.write_text(f"The plan of {file.parent.name}", encoding="utf-8")
    for file in (*files, *files):
        app.add_files([str(file)])
    kept = sorted((SETTINGS.docs / "uploads").glob("plan*"))
    assert [file.name for file in kept] == ["plan-2.md", "plan.md"]
    assert [file.read_text(encoding="utf-8")[-4:] for file in kept] == [" ben", "anna"]


def test_an_upload_is_saved_indexed_and_found(tmp_path: Path) -> None:
    file = tmp_path / "kites.md"
    file.write_text("A kite flies best in a steady wind.", encoding="utf-8")
    message, shelf = app.add_files([str(file)])
    assert message.startswith("1 read")
    assert "kites.md" in shelf
    assert "steady wind" in app.ask("Which wind is best for a kite?")["answer"]

    shutil.rmtree(SETTINGS.docs / "uploads")
    message, shelf = app.read_again()
    assert message.startswith("0 read, ")
    assert "kites.md" not in shelf


def test_an_index_damaged_while_in_use_is_reported_and_rebuilt_by_a_button() -> None:
    first, *_ = list(app.chat(ASKED, []))[-1]
    history = [{"role": "user", "content": ASKED}, {"role": "assistant", "content": first}]
    (SETTINGS.index / "keywords.db").write_bytes(b"garbage" * 1000)
    *_, (bubble, panel, *_) = app.chat(ASKED, history)
    assert bubble == pipeline.CORRUPTED
    assert pipeline.CORRUPTED in panel
    assert app.ask(ASKED)["answer"] == pipeline.CORRUPTED
    assert pipeline.CORRUPTED in ui.library()
    with pytest.raises(gr.Error, match="damaged"):
        app.search(ASKED)
    message, shelf = app.read_again()
    assert message == "1 read, 0 removed."
    assert "tea.md" in shelf
    assert "80 degrees" in app.ask(ASKED)["answer"]


def test_a_rejected_address_gets_a_message_with_escaped_html() -> None:
    message, _ = app.add_url("127.0.0.1/<img src=x>")
    assert "inside your own network" in message
    assert "<img" not in message
    assert app.add_url("  ")[0] == ""


# The API for programs


def test_programs_can_ask_and_search() -> None:
    with serving(app.build(), SETTINGS) as url:
        client = Client(url, verbose=False)
        answer = client.predict(ASKED, api_name="/ask")
        [found] = client.predict("tea", 5, api_name="/search")
        endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert "80 degrees" in answer["answer"]
    assert answer["citations"][0]["source"].endswith("tea.md")
    assert answer["model"] == offline.NAME
    assert set(found) == {"source", "page", "text", "score"}
    assert not {"/chat", "/vote", "/add_files", "/add_url", "/library"} & set(endpoints)


def test_an_upload_is_served_as_a_download_and_gone_after_the_app() -> None:
    with serving(app.build(), SETTINGS) as url, httpx.Client(base_url=url) as client:
        files = {"files": ("evil.html", b"<script>alert(1)</script>")}
        [path] = client.post("gradio_api/upload", files=files).json()
        reply = client.get(f"gradio_api/file={path}")
        assert reply.headers["content-disposition"].startswith("attachment")
        assert reply.headers["content-type"] == "application/octet-stream"
    assert not Path(path).exists()


def test_a_visitor_s_limit_is_a_message_in_the_chat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "QUESTIONS", VisitorLimit(1))
    app.QUESTIONS.count("127.0.0.1")
    with serving(app.build(), SETTINGS) as url:
        client = Client(url, verbose=False)
        for endpoint in ("/ask", "/search"):
            with pytest.raises(AppError, match="Come back in 60 minutes"):
                client.predict(ASKED, api_name=endpoint)
    monkeypatch.setattr(app.QUESTIONS, "count", refuse)
    *_, (bubble, *_) = app.chat(ASKED, [])
    assert bubble == "Come back in 60 minutes."


def test_a_visitor_s_limit_includes_documents_and_votes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = tmp_path / "late.md"
    late.write_text("Late.", encoding="utf-8")
    for limit in (app.QUESTIONS, app.VOTES):
        monkeypatch.setattr(limit, "count", refuse)
    vote = gr.LikeData(None, {"index": 0, "value": "", "liked": True})
    for send in (
        lambda: app.add_files([str(late)]),
        lambda: app.add_url("docs.example"),
        lambda: app.read_again(),
        lambda: app.vote(vote, [{"role": "user", "content": "Hi"}]),
    ):
        with pytest.raises(gr.Error, match="Come back"):
            send()
    assert not (SETTINGS.docs / "uploads" / "late.md").exists()


def refuse() -> None:
    raise gr.Error("Come back in 60 minutes.")
