import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

import app
from agent import downloads, memory, prompts, ui
from agent.events import Answer, Approval, Call, Decision, Event, Result, Task
from agent.settings import SETTINGS
from plumbing.guard import VisitorLimit, serving

ASKED = "What is 2 * 21?"
WRITES = 'Write "Hello" to note.md.'
# The index of each component in the page's state.
CHAT, BOX, TIMELINE, COUNT, BADGE, EXPORT, CARD, HEAD, CALL, REASON, FIRST, SECOND = range(12)
ME, OTHER = memory.new_visitor(), memory.new_visitor()
HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=http://evil.example/x.png onerror=alert(1)>",
    "![x](http://evil.example/x.png)",
    "`<img src=x>` and \\`<img src=x>\\`",
    "text ``` <img src=x>",
    "</span></details><b onclick=alert(1)>",
    "```mermaid\nimg\n```",
]


@pytest.fixture
def chat() -> str:
    return memory.new_id()


def do(chat: str, task: str, files: Sequence[str] = ()) -> list[tuple[Any, ...]]:
    return list(app.do({"text": task, "files": list(files)}, chat, ME))


def decide(chat: str, call: str, *fields: str, visitor: str = ME) -> tuple[Any, ...]:
    """The page after a click on Approve."""
    fields += ("",) * (ui.FIELDS - len(fields))
    return list(app.decide("approve", chat, visitor, call, "", *fields))[-1]


# The page


def test_a_task_is_answered_and_every_step_shown(chat: str) -> None:
    pages = do(chat, ASKED)
    assert {len(page) for page in pages} == {len(ui.page_state([]))}
    assert pages[0][BOX]["stop_btn"] is True
    last = pages[-1]
    assert [message["role"] for message in last[CHAT]] == ["user", "assistant"]
    assert "42" in last[CHAT][-1]["content"]
    assert prompts.OFFLINE in last[CHAT][-1]["content"]
    assert "calculate" in last[TIMELINE]
    assert "2 steps" in last[COUNT]
    assert "Offline stand-in" in last[BADGE]
    assert (last[BOX]["submit_btn"], last[BOX]["stop_btn"]) == (True, False)
    assert last[CARD]["visible"] is False
    assert "42" in Path(last[EXPORT]["value"]).read_text(encoding="utf-8")


def test_a_waiting_call_is_shown_with_its_arguments_and_runs_when_approved(
    chat: str, workspace: Path
) -> None:
    last = do(chat, WRITES)[-1]
    assert last[CARD]["visible"] is True
    assert "write_file" in last[HEAD]
    assert (last[FIRST]["label"], last[FIRST]["value"]) == ("path", "note.md")
    assert (last[SECOND]["label"], last[SECOND]["value"]) == ("text", "Hello")
    assert last[CHAT][-1]["content"] == ui.ASKING
    _, *again = app.reopen(chat, memory.new_id(), ME)
    for part in (CHAT, TIMELINE, COUNT, BADGE, CARD, HEAD, CALL, FIRST, SECOND):
        assert again[part] == last[part]
    last = decide(chat, last[CALL], "note.md", "Hello")
    assert last[CARD]["visible"] is False
    assert (workspace / "note.md").read_text(encoding="utf-8") == "Hello"


def test_a_call_runs_with_the_arguments_edited_on_the_card(chat: str, workspace: Path) -> None:
    card = do(chat, WRITES)[-1]
    decide(chat, card[CALL], "other.md", "Bonjour")
    assert (workspace / "other.md").read_text(encoding="utf-8") == "Bonjour"
    [decision] = [e for e in memory.events(SETTINGS.memory, chat) if isinstance(e, Decision)]
    assert decision.choice == "edit"


def test_numbers_and_lists_are_edited_as_json_and_the_other_arguments_only_shown() -> None:
    args = {"to": ["a"], "count": 1, "text": "Hi", "more": None, "e": "<e>"}
    *_, head, _, _, to, count, text, _ = ui.page_state([Approval("a", "send", args)])
    assert [each["value"] for each in (to, count, text)] == ['["a"]', "1", "Hi"]
    assert "&lt;e&gt;" in head


def test_a_browser_sees_its_own_conversations_and_can_delete_them(chat: str) -> None:
    do(chat, ASKED)
    assert chat in dict(map(reversed, app.past_chats(ME)["choices"]))
    assert app.past_chats(OTHER)["choices"] == []
    app.delete_chat(chat, ME)
    assert chat not in dict(map(reversed, app.past_chats(ME)["choices"]))


def test_the_page_survives_an_error(chat: str, caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> Any:
        yield Task("x")
        raise OSError("disk full")

    *_, last = app.follow_run(chat, broken())
    assert prompts.SORRY in last[CHAT][-1]["content"]
    assert last[BOX]["submit_btn"] is True


# Text of models, tools and users is never markup


@pytest.mark.parametrize("hostile", HOSTILE)
def test_markup_is_inert(hostile: str) -> None:
    call = Approval("a", hostile, {hostile: hostile}, hostile)
    events: list[Event] = [Task(hostile, (hostile,)), Answer(hostile, hostile, hostile)]
    events += [Call("b", hostile, {"x": hostile}), Result("b", hostile, hostile, True, 1), call]
    for message in ui.messages(events, hostile):
        ours = re.sub(r'^<span class="by">|</span>(?=\n\n)', "", message["content"])
        assert not re.search(r"<[a-zA-Z/!?]|!\[|```\s*mermaid", ours)
    state = ui.page_state(events)
    assert not re.search(r"<(?:script|img|b [^>])", state[HEAD] + state[TIMELINE])


# Files


def test_files_are_listed_shown_and_downloaded(workspace: Path) -> None:
    (workspace / "a <b>.md").write_text("# Title <script>", encoding="utf-8")
    (workspace / "b.bin").write_bytes(b"\0\1\2")
    names, *_ = downloads.files()
    assert names["choices"] == ["a <b>.md", "b.bin"]
    shown, download = downloads.preview("a <b>.md")
    assert "<pre># Title &lt;script&gt;</pre>" in shown
    assert Path(download["value"]).name == "a <b>.md"
    assert "is not text" in downloads.preview("b.bin")[0]


@pytest.mark.parametrize("name", ["../agent/settings.py", "/etc/passwd", "gone.md", "", None])
def test_nothing_outside_the_workspace_is_shown(workspace: Path, name: str | None) -> None:
    shown, download = downloads.preview(name)
    assert "<pre>" not in shown
    assert download["visible"] is False


# For programs


@pytest.mark.parametrize(("choice", "args"), [("APPROVE", ""), ("", ""), ("approve", "{}")])
def test_an_unclear_decision_is_an_error(choice: str, args: str) -> None:
    chat = app.ask(ASKED)["chat"]
    with pytest.raises(gr.Error, match="edit with args"):
        app.answer(chat, "call", choice, "", args)


def test_the_card_shows_marks_that_reverse_text() -> None:
    call = Approval("1", "write_file", {"path": "y\u202etxt.exe"})
    shown = ui.as_text(call.args["path"])
    assert shown == "y\\u202etxt.exe"
    assert ui.decision(call, "approve", "", [shown]) == Decision("1", "approve", "")


def test_programs_can_give_tasks_and_decide(workspace: Path) -> None:
    with serving(ui.build(sys.modules["app"]), SETTINGS) as url:
        client = Client(url, verbose=False)
        done = client.predict(ASKED, api_name="/ask")
        assert "42" in done["answer"]
        assert done["model"] == prompts.OFFLINE
        assert [step["type"] for step in done["steps"] if step["type"] == "call"] == ["call"]
        steps = list(client.submit(ASKED, api_name="/follow"))
        kinds = [step["type"] for step in steps if step["type"] != "spent"]
        assert kinds == ["task", "call", "result", "answer"]
        waits = client.predict(done["chat"], WRITES, api_name="/go_on")
        [call] = waits["waiting"]
        assert waits["answer"] == ui.ASKING
        done = client.predict(done["chat"], call["id"], "approve", "", "", api_name="/answer")
        assert done["waiting"] == []
        assert (workspace / "note.md").exists()
        endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
        assert set(endpoints) == {"/ask", "/follow", "/go_on", "/answer"}


def test_a_visitor_s_limit_holds_for_every_way_to_give_a_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(app, "QUESTIONS", VisitorLimit(1))
    app.QUESTIONS.count("127.0.0.1")
    with serving(ui.build(sys.modules["app"]), SETTINGS) as url:
        client = Client(url, verbose=False)
        for words, endpoint in (([ASKED], "/ask"), ([ASKED], "/follow"), (["x", ASKED], "/go_on")):
            with pytest.raises(AppError, match="Come back in 60 minutes"):
                client.predict(*words, api_name=endpoint)
