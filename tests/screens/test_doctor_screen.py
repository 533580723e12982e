"""What doctor's screen looks like: wide, narrow, without colour, without a terminal."""

import json
import os
import re
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path

import pytest
from conftest import Run

from hackkit.doctor.findings import Category, Repair, Report, Result, failure, ok, skipped, warning
from hackkit.project.context import Context
from hackkit.project.files import ProjectFiles
from hackkit.screens import doctor as doctor_screen

HERE = Path(__file__).parent
LONG = "the certificate was issued by 'Example Security Gateway', which this machine does not trust"
COMMAND = "uv run hackkit doctor --only hugging-face-hub --only package-index --verbose"
REPORT = Report(
    (
        Result("uv", "uv", Category.MACHINE, ok("uv 0.13.8", ("found at a place",)), 0.01),
        Result("node", "Node", Category.MACHINE, skipped("no package.json"), 0.0),
        Result("hub", "Hugging Face hub", Category.NETWORK, failure(LONG, COMMAND), 0.3),
        Result("key", "Mistral key", Category.SERVICES, warning("no key", "edit .env"), 0.0),
    )
)


@pytest.fixture(autouse=True)
def _plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)


def screen(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    columns: int,
    *,
    verbose: bool = False,
) -> Sequence[str]:
    monkeypatch.setenv("COLUMNS", str(columns))
    doctor_screen.show_report(REPORT, Context(), as_json=False, verbose=verbose)
    return capsys.readouterr().out.splitlines()


def test_at_80_columns_each_finding_is_one_line_with_its_fix_below(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = screen(capsys, monkeypatch, 80)
    assert "  ✓ uv                   uv 0.13.8" in lines
    key = lines.index("  ! Mistral key          no key")
    assert lines[key + 1].strip() == "→ edit .env"


def test_findings_are_under_their_category(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = screen(capsys, monkeypatch, 80)
    places = [lines.index(name) for name in ("Machine", "Network", "Keys and services")]
    assert places == sorted(places)
    assert "Project" not in lines


@pytest.mark.parametrize("columns", [40, 80])
def test_nothing_is_wider_than_the_terminal_but_what_is_to_be_copied(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for line in screen(capsys, monkeypatch, columns):
        assert len(line) <= columns or "→" in line, line


@pytest.mark.parametrize("columns", [40, 80])
def test_no_word_of_a_finding_is_lost(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = " ".join(" ".join(screen(capsys, monkeypatch, columns)).split())
    assert LONG in text
    assert COMMAND in text


def test_a_fix_stays_on_one_line_to_be_copied(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert any(line.strip() == f"→ {COMMAND}" for line in screen(capsys, monkeypatch, 40))


def test_skipped_checks_take_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "  – not checked          Node" in screen(capsys, monkeypatch, 80)  # noqa: RUF001 - the sign


def test_a_check_that_was_too_slow_is_shown_as_one_that_could_not_look(
    capsys: pytest.CaptureFixture[str],
) -> None:
    late = skipped("could not look: took longer than 4 s", "hackkit doctor --only disk")
    slow = Result("disk", "Disk", Category.MACHINE, late, 4.0, broken=True)
    report = Report((*REPORT.results, slow))
    doctor_screen.show_report(report, Context(), as_json=False, verbose=False)
    lines = capsys.readouterr().out.splitlines()
    place = next(number for number, line in enumerate(lines) if "took longer than 4 s" in line)
    assert "Disk" in lines[place]
    assert lines[place + 1].strip() == "→ hackkit doctor --only disk"
    assert "1 failed, 1 warning, 1 ok, 1 not checked, 1 timed out." in lines


def test_it_ends_with_the_counts_and_the_first_thing_to_do(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    *_, counts, first, remedy = screen(capsys, monkeypatch, 200)
    assert counts == "1 failed, 1 warning, 1 ok, 1 not checked."
    assert first == f"First: Hugging Face hub: {LONG}"
    assert remedy.strip() == f"→ {COMMAND}"


def test_verbose_adds_details_ids_seconds_and_why_something_was_skipped(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "\n".join(screen(capsys, monkeypatch, 80, verbose=True))
    for words in ("found at a place", "uv, 0.01 s", "no package.json"):
        assert words in text


def test_a_terminal_that_knows_only_ascii_gets_plain_signs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "out"
    with TextIOWrapper(path.open("wb"), encoding="ascii", errors="replace") as out:
        monkeypatch.setattr(sys, "stdout", out)
        doctor_screen.show_report(REPORT, Context(), as_json=False, verbose=False)
    text = path.read_text("ascii")
    assert "+ uv " in text
    assert "-> edit .env" in text
    assert "?" not in text


def test_without_a_terminal_there_is_no_colour_and_no_progress(hackkit: Run) -> None:
    result = hackkit("doctor", "--offline")
    assert "\x1b" not in result.stdout + result.stderr
    assert result.stderr == ""


@pytest.mark.skipif(os.name == "nt", reason="there is no pty there")
@pytest.mark.parametrize("setting", [{}, {"NO_COLOR": "1"}], ids=["colour", "NO_COLOR"])
def test_on_a_terminal_there_is_colour_unless_it_is_not_wanted(setting: dict[str, str]) -> None:
    import pty  # noqa: PLC0415 - not on Windows

    code = (
        "from hackkit.screens import doctor as doctor_screen\n"
        "from test_doctor_screen import REPORT\n"
        "from hackkit.project.context import Context\n"
        "doctor_screen.show_report(REPORT, Context(), as_json=False, verbose=False)"
    )
    here = {
        "TERM": "xterm-256color",
        "PYTHONPATH": os.pathsep.join(map(str, (HERE, HERE.parent))),
        **setting,
    }
    child, terminal = pty.fork()
    if child == 0:
        words = [sys.executable, "-c", code]
        os.execve(sys.executable, words, os.environ | here)  # noqa: S606 - this is the child
    seen = b""
    while chunk := _read(terminal):
        seen += chunk
    os.waitpid(child, 0)
    coloured = re.search(rb"\x1b\[[0-9;]*3[1-6]m", seen) is not None
    assert coloured == (not setting)
    assert b"0.13.8" in seen


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # Linux says so when the other side has ended
        return b""


def test_a_project_elsewhere_is_named_for_the_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "my app"
    context = Context(folder=folder, project=ProjectFiles(folder))
    doctor_screen.show_report(REPORT, context, as_json=False, verbose=False)
    assert f"cd '{folder}'" in capsys.readouterr().out or os.name == "nt"


def test_a_declined_repair_differs_from_none_at_all(
    capsys: pytest.CaptureFixture[str],
) -> None:
    doctor_screen.show_repairs((), REPORT)
    repair = Repair("make it", lambda: None)
    offered = Result("env", ".env", Category.PROJECT, warning("none", "make it", repair), 0.0)
    doctor_screen.show_repairs((), Report((offered,)))
    assert capsys.readouterr().err.splitlines() == [
        "There is nothing that --fix can repair.",
        "Nothing was repaired.",
    ]


def test_the_json_document_is_alone_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    doctor_screen.show_report(REPORT, Context(), as_json=True, verbose=True)
    document = json.loads(capsys.readouterr().out)
    assert document["summary"] == {"ok": 1, "warn": 1, "fail": 1, "skip": 1}
    assert document["checks"][2] == {
        "id": "hub",
        "title": "Hugging Face hub",
        "category": "network",
        "status": "fail",
        "message": LONG,
        "fix": COMMAND,
        "seconds": 0.3,
    }
