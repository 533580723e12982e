import json
import os
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from agent import memory
from agent.__main__ import WAITS, app
from agent.events import Approval, Task
from agent.settings import ROOT, SETTINGS

ASKED = "What is 2 * 21?"
WRITES = 'Write "Grüße, 茶" to note.md.'


def run(*words: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, words)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


def start(*words: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "agent", *words]
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | env, capture_output=True, stdin=subprocess.DEVNULL
    )


def newest() -> str:
    code, out, _ = run("chats", "--json")
    assert code == 0
    return str(json.loads(out)[0]["chat"])


def test_users_see_the_answer_on_stdout_and_the_steps_on_stderr() -> None:
    code, out, notes = run("do", ASKED)
    assert code == 0
    assert "42" in out
    assert "calculate" in notes
    assert "offline stand-in" in notes


def test_programs_get_a_line_of_json_for_each_step() -> None:
    code, out, notes = run("do", ASKED, "--json")
    steps = [json.loads(line) for line in out.splitlines()]
    assert (code, notes) == (0, "")
    kinds = [step["type"] for step in steps if step["type"] != "spent"]
    assert kinds == ["task", "call", "result", "answer"]
    assert steps[-1]["type"] == "spent"


def test_a_waiting_call_can_be_approved_after_a_restart(workspace: Path) -> None:
    done = start(WRITES, "--json", PYTHONIOENCODING="ascii")  # words without a command are a task
    events = [json.loads(line) for line in done.stdout.decode("utf-8").splitlines()]
    approval = next(event for event in events if event["type"] == "approval")
    assert approval["args"]["text"] == "Grüße, 茶"
    assert done.returncode == WAITS
    assert f"uv run python -m agent approve {newest()}" in done.stderr.decode("utf-8")
    assert not (workspace / "note.md").exists()
    assert start("approve", newest()).returncode == 0
    assert (workspace / "note.md").read_text(encoding="utf-8") == "Grüße, 茶"
    assert run("approve", newest())[0] == 1  # no call waits any more


def test_of_several_waiting_calls_one_is_named(workspace: Path) -> None:
    chat, calls = "several", [Approval(id, "write_file", {"path": id}) for id in ("a", "b")]
    for event in (Task("Write both."), *calls):
        memory.add(SETTINGS.memory, chat, event)
    for words in (["approve", chat], ["refuse", chat], ["approve", chat, "c"]):
        code, _, notes = run(*words)
        assert code == 1
        assert f"Fix: uv run python -m agent approve {chat} b" in notes
    run("delete", chat)


def test_what_waits_for_approval_is_marked_in_the_lists() -> None:
    run("do", ASKED)
    done = newest()
    run("do", WRITES)
    chat = newest()
    rows = {row["chat"]: row for row in json.loads(run("chats", "--json")[1])}
    assert (rows[chat]["waits"], rows[done]["waits"]) == (["write_file"], [])
    [line] = [each for each in run("chats")[1].splitlines() if each.startswith(chat)]
    assert line.endswith("(waits for approval: write_file)")
    assert chat in json.loads(run("status", "--json")[1])["waiting"]
    assert f"uv run python -m agent approve {chat}" in run("status")[1]
    assert run("refuse", chat)[0] == 0
    assert chat not in json.loads(run("status", "--json")[1])["waiting"]


def test_a_task_that_no_offline_rule_fits_ends_with_1() -> None:
    code, out, _ = run("do", "Compose a fugue.")
    assert code == 1
    assert "needs a model" in out


def test_a_waiting_call_can_be_rejected_with_a_reason(workspace: Path) -> None:
    run("do", WRITES)
    code, out, _ = run("refuse", newest(), "--reason", "not today")
    assert code == 0
    assert "not today" in out
    assert not (workspace / "note.md").exists()


def test_yes_approves_everything(workspace: Path) -> None:
    assert run("do", WRITES, "--yes")[0] == 0
    assert (workspace / "note.md").exists()


def test_a_conversation_can_be_shown_continued_exported_and_deleted(tmp_path: Path) -> None:
    run("do", ASKED)
    chat = newest()
    assert run("do", "What is 3 * 3?", "--chat", chat)[0] == 0
    assert "42" in run("show", chat)[1]
    page = tmp_path / "run.html"
    assert run("export", chat, str(page))[0] == 0
    assert "42" in page.read_text(encoding="utf-8")
    assert run("delete", chat)[0] == 0
    for words in (["show", chat], ["delete", chat], ["export", chat, str(page)], ["refuse", chat]):
        code, _, notes = run(*words)
        assert code == 1
        assert "Fix: uv run python -m agent chats" in notes


def test_a_missing_file_is_named() -> None:
    code, _, notes = run("do", ASKED, "--file", "nowhere.csv")
    assert code == 2
    assert "nowhere.csv" in notes


def test_status_prints_an_object_for_programs() -> None:
    code, out, _ = run("status", "--json")
    now = json.loads(out)
    assert code == 0
    assert (now["provider"], now["chat_model"], now["port"]) == ("offline", "", 0)
    assert now["question"] == SETTINGS.examples[0]
    assert {"calculate", "write_file"} <= set(now["tools"])
    assert "offline stand-in" in run("status")[1]
