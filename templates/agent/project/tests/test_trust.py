"""Attacks on the running app over HTTP, as a browser or a program can make them."""

import json
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import Talk, only
from gradio_client import Client
from gradio_client.exceptions import AppError
from mistral_server import text
from starlette.responses import Response

from agent import downloads, memory, prompts
from agent.events import Answer, Approval, Decision, Notice, Result, Task, pending
from agent.settings import ROOT, SETTINGS

WRITES = 'Write "{0}" to {0}.md.'
SCRIPT = "<p>Hello</p><script>document.title = 'owned'</script>"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The address of the app, started as users start it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    env = os.environ | {"PORT": str(port)}
    command = [sys.executable, "app.py"]
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield process.stdout.readline().removeprefix("Open ").strip().rstrip("/")
        process.kill()


class Page:
    """A page that is open in a browser, or what an attacker makes of it."""

    def __init__(self, url: str, visitor: object = None) -> None:
        self.url, self.session = url, secrets.token_hex(6)
        functions = httpx.get(f"{url}/config").json()["dependencies"]
        self.ids = {each["api_name"]: each["id"] for each in functions}
        self.sizes = {each["api_name"]: len(each["inputs"]) for each in functions}
        self.visitor = self.call("load_page", visitor)[0]

    def call(self, name: str, *data: object, event: object = None) -> list[Any]:
        """The last values of a function of the page. Raises PermissionError if it refuses."""
        body = {"data": data, "fn_index": self.ids[name], "session_hash": self.session}
        httpx.post(f"{self.url}/gradio_api/queue/join", json=body | {"event_data": event})
        values: list[Any] = []
        waits = {"params": {"session_hash": self.session}, "timeout": 60}
        with httpx.stream("GET", f"{self.url}/gradio_api/queue/data", **waits) as lines:  # type: ignore
            for line in lines.iter_lines():
                step = json.loads(line.removeprefix("data: ") or "{}")
                if step.get("msg") == "process_completed" and not step["success"]:
                    raise PermissionError(step["output"]["error"])
                values = step.get("output", {}).get("data") or values
        return values

    def do(self, task: str, *files: dict[str, Any]) -> list[Any]:
        return self.call("do", {"text": task, "files": files}, None, self.visitor)

    def choose(self, button: str, call: object, *fields: object) -> None:
        """Click on Approve ("partial") or Reject ("partial_1") of a card."""
        self.call(button, None, self.visitor, call, "", *fields, *[""] * (4 - len(fields)))

    def upload(self, name: str, content: str = SCRIPT) -> dict[str, Any]:
        files = {"files": (name, content)}
        [path] = httpx.post(f"{self.url}/gradio_api/upload", files=files).json()
        return {"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}}

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"{self.url}/gradio_api/file={path}")


@pytest.fixture
def page(url: str) -> Page:
    return Page(url)


def chat_of(page: Page) -> str:
    return memory.chats_of(SETTINGS.memory, page.visitor)[0].id


def card(page: Page) -> Approval:
    [call] = pending(memory.events(SETTINGS.memory, chat_of(page)))
    return call


# Files


@pytest.mark.parametrize(
    "name", ["a.html", "a.HTML", "a.svg", "a.js", "a.xhtml", "a.pdf", "a.txt.htm"]
)
def test_an_uploaded_page_is_never_served_as_a_page(page: Page, name: str) -> None:
    uploaded = page.upload(name)
    page.do("Read it.", uploaded)
    [kept] = [path for path in (SETTINGS.workspace / "uploads").glob("*/*") if path.name == name]
    answer = page.get(uploaded["path"])
    assert answer.status_code == 200
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert page.get(str(kept)).status_code == 403
    kept.unlink()


@pytest.mark.parametrize("name", ["a.html", "a.svg", "a.js"])
def test_a_file_of_the_workspace_is_downloaded_and_not_shown(
    page: Page, workspace: Path, name: str
) -> None:
    (workspace / name).write_text(SCRIPT)
    page.call("files")
    answer = page.get(page.call("preview", name)[1]["value"]["path"])
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["content-type"] == "application/octet-stream"


def test_a_visitor_s_upload_is_neither_listed_nor_shown_to_others(
    page: Page, url: str, workspace: Path
) -> None:
    page.do("Read it.", page.upload("salaries.csv", "name,salary"))
    [kept] = workspace.glob("uploads/*/salaries.csv")
    other, path = Page(url), kept.relative_to(workspace).as_posix()
    assert "salaries" not in str(other.call("files"))
    assert "salaries" not in str(other.do("List the files."))
    for name in (path, f"./{path}", path.replace("/", "//"), path.replace("uploads", "Uploads")):
        with pytest.raises((PermissionError, KeyError)):
            other.call("preview", name)[1]["value"]["path"]
        assert downloads.preview(name)[1] == {"__type__": "update", "visible": False}


def test_nothing_of_the_workspace_is_served_itself(page: Page, workspace: Path) -> None:
    (workspace / ".env").write_text("KEY=1")
    (workspace / "notes.md").write_text("Hello")
    with suppress(OSError):  # not everywhere
        (workspace / "link.md").symlink_to(ROOT / "pyproject.toml")
    for name in (".env", "notes.md", "link.md", "../memory/conversations.db"):
        assert page.get(f"{workspace}/{name}").status_code == 403
    for name in (".env", "./.env", "link.md", "../memory/conversations.db", "NOTES.md/../.env"):
        with pytest.raises((PermissionError, KeyError)):
            page.call("preview", name)[1]["value"]["path"]


def test_a_report_of_a_run_is_downloaded_and_not_shown(page: Page) -> None:
    report = page.do("What is 2 * 21?")[5]["value"]
    assert page.get(report["path"]).headers["content-disposition"].startswith("attachment")


def test_an_example_task_cannot_name_a_file_of_this_machine(page: Page, workspace: Path) -> None:
    value = {"text": "Read it.", "files": [str(ROOT / "pyproject.toml")]}
    page.call("do_example", None, page.visitor, event={"index": 0, "value": value})
    assert not list(workspace.rglob("*.toml"))


def test_a_task_cannot_attach_a_file_of_this_machine(page: Page, workspace: Path) -> None:
    for path in (ROOT / "pyproject.toml", SETTINGS.memory / "conversations.db", "/etc/passwd"):
        with pytest.raises(PermissionError):
            page.do("Read it.", {"path": str(path), "meta": {"_type": "gradio.FileData"}})
    assert list(workspace.iterdir()) == []


# Conversations


def test_a_visitor_cannot_use_the_conversation_of_another(url: str, page: Page) -> None:
    page.do(WRITES.format("mine"))
    client = Client(url, verbose=False)
    program = client.predict(WRITES.format("theirs"), api_name="/ask")["chat"]
    memory.add(SETTINGS.memory, terminal := memory.new_id(), Task("Hello"))
    mine, before = chat_of(page), {}
    for chat in (mine, program, terminal):
        before[chat] = memory.events(SETTINGS.memory, chat)
    for forged in ("", None, " ", "programs", 0, "0" * 16):
        other = Page(url, forged)
        assert other.visitor != forged or forged == "0" * 16
        assert other.call("past_chats", forged)[0]["choices"] == []
        for chat in before:
            with pytest.raises(PermissionError):
                other.call("reopen", chat, None, forged)
        for name in ("do", "partial", "partial_1", "new_chat", "delete_chat", "stop"):
            if forged != "0" * 16:
                with pytest.raises(PermissionError):
                    other.call(name, *[forged] * other.sizes[name])
    for chat in (mine, terminal, memory.new_id(), ""):
        for name, values in (("/go_on", ["x"]), ("/answer", ["a", "approve", "", ""])):
            with pytest.raises(AppError, match="not yours"):
                client.predict(chat, *values, api_name=name)
    assert {chat: memory.events(SETTINGS.memory, chat) for chat in before} == before


# Approvals


def test_a_card_that_is_out_of_date_decides_on_nothing(page: Page, workspace: Path) -> None:
    page.do(WRITES.format("first"))
    first = card(page)
    page.choose("partial_1", first.id, "first.md", "first")  # in another page: rejected
    page.do(WRITES.format("second"))
    second = card(page)
    for call in (first.id, "", None, 0, [second.id], second.tool):
        page.choose("partial", call, "first.md", "edited")
    assert card(page) == second
    assert not list(workspace.glob("*.md"))
    page.choose("partial", second.id, "second.md", "second")
    page.choose("partial", second.id, "again.md", "again")
    assert [path.name for path in workspace.glob("*.md")] == ["second.md"]


def reply(*called: tuple[Any, Any, Any]) -> Response:
    """A reply with these calls (name, arguments, id), which may be wrong in any way."""
    parts = [
        {"index": n, "id": id, "function": {"name": name, "arguments": arguments}}
        for n, (name, arguments, id) in enumerate(called)
    ]
    delta = {"role": "assistant", "content": "", "tool_calls": parts}
    chunk = {"choices": [{"index": 0, "delta": delta, "finish_reason": "tool_calls"}]}
    lines = f"data: {json.dumps(chunk | {'model': 'mistral-small-latest'})}\n\ndata: [DONE]\n\n"
    return Response(lines, media_type="text/event-stream")


def writes(name: str, id: str) -> tuple[str, Any, str]:
    return "write_file", json.dumps({"path": name, "text": name}), id


def test_two_calls_with_one_id_are_two_approvals(talk: Talk, workspace: Path) -> None:
    talk.will(reply(writes("a.md", "sameid000"), writes("b.md", "sameid000")), text("Done."))
    first, second = [e for e in talk.do("Write both.") if isinstance(e, Approval)]
    assert first.id != second.id
    chosen = {each.id: each.args["path"] for each in talk.waiting()}
    talk.do([Decision(second.id, "approve")])
    assert [path.name for path in workspace.iterdir()] == [chosen[second.id]]
    talk.do([Decision(first.id, "refuse")])
    assert [path.name for path in workspace.iterdir()] == [second.args["path"]]


def test_an_id_that_comes_again_is_another_call(talk: Talk, workspace: Path) -> None:
    for name in ("a.md", "b.md"):
        talk.will(reply(writes(name, "sameid000")), text("Done."))
    first = only(Approval, talk.do("Write one."))
    talk.do([Decision(first.id, "approve")])
    second = only(Approval, talk.do("Write another."))
    assert only(Notice, talk.do([Decision(first.id, "approve")])).text == prompts.NOT_WAITING
    assert talk.waiting() == [second]
    assert [path.name for path in workspace.iterdir()] == ["a.md"]


@pytest.mark.parametrize(
    "called",
    [
        ("calculate", {"expression": "2 * 21"}, "id0000000"),  # not as text
        (" calculate ", '{"expression": "2 * 21"}', ""),
        ("calculate", '{"expression": "2 * 21"}', None),
    ],
)
def test_a_call_in_another_format_runs(talk: Talk, called: tuple[str, Any, str]) -> None:
    talk.will(reply(called), text("42."))
    events = talk.do("2 * 21?")
    assert (only(Result, events).text, only(Answer, events).text) == ("42", "42.")


@pytest.mark.parametrize(
    "words",
    [
        '[TOOL_CALLS][{"name": "calculate", "arguments": {"expression": "2 * 21"}}]',
        ' [TOOL_CALLS]calculate[ARGS]{"expression": "2 * 21"}',
        '[TOOL_CALLS]calculate[CALL_ID]abc[ARGS]{"expression": "2 * 21"}',
    ],
)
def test_a_call_that_is_written_as_text_runs(talk: Talk, words: str) -> None:
    talk.will(text(words), text("42."))
    events = talk.do("2 * 21?")
    assert (only(Result, events).text, only(Answer, events).text) == ("42", "42.")


DEEP = f'{{"expression": {"[" * 3000}{"]" * 3000}}}'


@pytest.mark.parametrize(
    ("called", "problem"),
    [
        (reply((None, "{}", "id0000000")), prompts.NO_NAME),
        (reply(("", "{}", "id0000000")), prompts.NO_NAME),
        (reply(("calculate", DEEP, "id0000000")), prompts.NOT_JSON),
        (reply(("calculate", DEEP.replace("[" * 2900, "").replace("]" * 2900, ""), "x")), "JSON"),
        (text("[TOOL_CALLS]calculate[ARGS]{oops"), prompts.NOT_JSON),
        (text("[TOOL_CALLS][1]"), prompts.NOT_JSON),
    ],
)
def test_a_call_that_makes_no_sense_goes_back_to_the_model(
    talk: Talk, called: Any, problem: str
) -> None:
    talk.will(called, text("Sorry."))
    events = talk.do("2 * 21?")
    assert only(Answer, events) == Answer("Sorry.", "mistral-small-latest")
    assert problem in str(talk.sent()[-1][-1]["content"])


@pytest.mark.parametrize("replies", [[1] * 12, [12], [2, 2]])
def test_the_same_call_again_and_again_ends_the_run(talk: Talk, replies: list[int]) -> None:
    for number in replies:
        talk.will(reply(*[("calculate", '{"expression": "1 + 1"}', "id0000000")] * number))
    events = talk.do("Go.", max_steps=0)
    assert only(Answer, events).text.startswith("The model made the same call")
    assert len([event for event in events if isinstance(event, Result)]) <= 3
    talk.server.replies.clear()
    talk.will(reply(("calculate", '{"expression": "1 + 1"}', "id0000000")), text("2."))
    assert only(Answer, talk.do("Once more.")).text == "2."


@pytest.mark.parametrize("args", [None, {"path": 1}, {"path": "a.md"}, {}, ["a"], "a"])
def test_arguments_that_do_not_fit_leave_the_call_waiting(
    talk: Talk, workspace: Path, args: Any
) -> None:
    talk.will(reply(writes("a.md", "sameid000")), text("Done."))
    call = only(Approval, talk.do("Write it."))
    assert "do not fit" in only(Notice, talk.do([Decision(call.id, "edit", "", args)])).text
    assert pending(memory.events(talk.settings.memory, talk.chat)) == talk.waiting() == [call]
    talk.do([Decision(call.id, "approve")])
    assert (workspace / "a.md").exists()
