import json
import os
import subprocess
import sys
from pathlib import Path

from filelock import FileLock
from typer.testing import CliRunner

from rag import pipeline
from rag.__main__ import app
from rag.settings import ROOT

ASKED = "How hot is green tea brewed?"
TEXT = "La théière “Assam” coûte 12 € → 茶."


def run(*words: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, words)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


def start(*words: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "rag", *words]
    return subprocess.run(command, cwd=ROOT, env=os.environ | env, capture_output=True)


def test_search_prints_json() -> None:
    code, out, _ = run("search", "green tea", "--limit", "3", "--json")
    [found] = json.loads(out)
    assert code == 0
    assert found["source"].endswith("tea.md")
    assert found["page"] is None
    assert "80 degrees" in found["text"]
    assert found["score"] > 0


def test_ask_prints_the_answer_its_sources_and_the_model() -> None:
    code, out, notes = run("ask", ASKED)
    assert code == 0
    assert "80 degrees. [1]" in out
    assert "[1] tea.md, Tea" in out
    assert "offline stand-in" in notes


def test_ingest_prints_a_line_for_each_document_that_failed(tmp_path: Path) -> None:
    broken = tmp_path / ("long name " * 12 + ".pdf")
    broken.write_bytes(b"%PDF-1.7 broken")
    code, out, notes = run("ingest", str(broken))
    assert (code, out) == (1, "")
    problem, summary = notes.splitlines()
    assert str(broken.name) in problem
    assert summary.startswith("0 documents read")


def test_a_new_project_answers_its_first_question_in_any_console(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "thé.txt").write_text(TEXT, encoding="utf-8")
    folders = {"DOCS_DIR": str(tmp_path / "docs"), "INDEX_DIR": str(tmp_path / "index")}
    done = start("search", "théière", "--json", PYTHONIOENCODING="ascii", **folders)
    [found] = json.loads(done.stdout.decode("utf-8"))
    assert found["text"] == TEXT
    assert b"1 documents read" in done.stderr


# A damaged index


def test_while_the_app_holds_a_damaged_index_other_commands_print_a_line(tmp_path: Path) -> None:
    index = tmp_path / "index" / "keywords" / "keywords.db"
    index.parent.mkdir(parents=True)
    index.write_bytes(b"garbage" * 1000)
    with FileLock(index.with_name("writer.lock"), timeout=0):
        for command, code in (("ask", 0), ("search", 1)):
            done = start(command, ASKED, INDEX_DIR=str(tmp_path / "index"), COLUMNS="200")
            output = (done.stdout + done.stderr).decode("utf-8")
            assert "Another process is using this index" in output
            assert pipeline.CORRUPTED in output
            assert ("Traceback" in output, done.returncode) == (False, code)


# Status


def test_status_prints_json() -> None:
    code, out, _ = run("status", "--json")
    now = json.loads(out)
    assert code == 0
    assert (now["provider"], now["port"], now["damage"]) == ("offline", 0, "")
    assert {"chat_model", "embed_model", "host", "docs", "index", "documents", "chunks"} <= set(now)
    assert {"new", "changed", "gone", "unreadable", "busy"} <= set(now)


def test_status_changes_nothing_and_names_the_command_that_updates_the_index(
    tmp_path: Path,
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "tea.md").write_text("Tea.", encoding="utf-8")
    (tmp_path / "docs" / "photo.png").write_bytes(b"")
    folders = {"DOCS_DIR": str(tmp_path / "docs"), "INDEX_DIR": str(tmp_path / "index")}
    done = start("status", **folders)
    output = done.stdout.decode("utf-8")
    assert "offline" in output
    assert "docs/tea.md" in output
    assert "photo.png: has an unsupported file type" in output
    assert "uv run python -m rag ingest" in output
    assert (done.returncode, done.stderr) == (0, b"")
    assert not (tmp_path / "index").exists()
