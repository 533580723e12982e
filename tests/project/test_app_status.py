"""What a project's own code says of itself is asked for in a process of its own."""

import json
from pathlib import Path

import pytest
from facts import HANGS, commands

from hackkit.project.app_status import AppStatus, ask_app
from hackkit.project.files import ProjectFiles
from hackkit.system.processes import Ran


@pytest.fixture
def project(tmp_path: Path) -> ProjectFiles:
    project = ProjectFiles(tmp_path)
    for path in (tmp_path / "rag" / "settings.py", tmp_path / "rag" / "__main__.py"):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    project.python.parent.mkdir(parents=True)
    project.python.touch()
    return project


def said(project: ProjectFiles, ran: Ran | str | None) -> AppStatus:
    return ask_app(project, commands({f"{project.python} -m rag status --json": ran}))


def test_the_answer_becomes_values(project: ProjectFiles) -> None:
    answer = {"port": 8000, "question": "Who?", "new": ["docs/a.md"], "busy": True}
    assert said(project, json.dumps(answer)) == AppStatus(
        port=8000, question="Who?", new=("docs/a.md",), busy=True
    )


def test_what_a_newer_project_says_beyond_that_is_left_out(project: ProjectFiles) -> None:
    assert said(project, '{"port": 8000, "moon": "full"}') == AppStatus(port=8000)


def test_the_answer_may_come_after_what_the_app_prints_to_its_errors(project: ProjectFiles) -> None:
    assert said(project, Ran(0, '{"port": 8000}', "a warning")).port == 8000


def test_of_a_traceback_the_last_line_is_the_problem(project: ProjectFiles) -> None:
    trace = 'Traceback (most recent call last):\n  File "x.py", line 1\nNameError: no such name'
    assert said(project, Ran(1, "", trace)).problem == "NameError: no such name"


def test_of_a_framed_traceback_the_line_below_it_is_the_problem(project: ProjectFiles) -> None:
    trace = "╭── Traceback ──╮\n│ x.py:1 in f   │\n╰───────────────╯\nNameError: no\nsuch name"
    assert said(project, Ran(1, "", trace)).problem == "NameError: no such name"


def test_a_message_of_the_app_s_own_keeps_its_fix(project: ProjectFiles) -> None:
    message = "PORT: Input should be a valid integer.\nFix: correct it in .env"
    assert said(project, Ran(1, "", message)).problem == " ".join(message.splitlines())


@pytest.mark.parametrize("ran", [Ran(0, ""), Ran(0, "[1]"), Ran(0, "no JSON"), Ran(3)])
def test_no_answer_is_a_problem(project: ProjectFiles, ran: Ran) -> None:
    assert said(project, ran).problem


def test_an_answer_that_does_not_come_is_a_problem(project: ProjectFiles) -> None:
    assert "took longer than 10 s" in said(project, HANGS).problem


def test_without_an_environment_the_status_is_a_problem(project: ProjectFiles) -> None:
    project.python.unlink()
    assert said(project, "{}").problem == "the project's environment is not installed"


def test_another_kind_of_project_is_not_asked(tmp_path: Path) -> None:
    assert "no package" in ask_app(ProjectFiles(tmp_path), commands({})).problem
