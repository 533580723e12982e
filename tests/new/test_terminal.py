"""On a terminal: at most three short questions, each with a default."""

import os
import re
import select
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import clean_environment, git, write

if os.name == "nt":
    pytest.skip("Windows has no pseudo-terminals", allow_module_level=True)
import pty

DEPLOY = ("deploy",)


@dataclass
class Session:
    """A run of hackkit on a terminal: what it showed so far, and its exit code."""

    shown: str
    code: int


Play = Callable[..., Session]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """Run `hackkit new`, or another command, on a terminal; type one answer at each prompt."""

    def run(
        *words: str,
        answers: tuple[str, ...],
        prompt: str = "> ",
        command: tuple[str, ...] = ("new", "--no-install", "--no-git"),
    ) -> Session:
        arguments = [sys.executable, "-m", "hackkit", *command, *words]
        environment = {**clean_environment(), "TERM": "xterm", "COLUMNS": "80"}
        child, terminal = pty.fork()
        if not child:
            os.chdir(tmp_path)
            os.execve(sys.executable, arguments, environment)  # noqa: S606 - this is the child
        shown = _talk(terminal, prompt, list(answers))
        os.close(terminal)
        return Session(shown, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    return run


def _talk(terminal: int, prompt: str, answers: list[str]) -> str:
    """Type each answer as a person does: once its prompt is shown and the terminal is at rest.

    Python loses a Ctrl-C that comes between its last look at signals and the start of its read.
    """
    shown, answered, end = "", 0, time.monotonic() + 60
    while time.monotonic() < end:
        if not select.select([terminal], [], [], 0.3)[0]:
            if shown.count(prompt) > answered and answers:
                answered += 1
                os.write(terminal, answers.pop(0).encode())
            continue
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # the other side is closed
            break
        if not piece:
            break
        shown += re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", piece.decode("utf-8", "replace"))
    return shown


def test_three_questions_and_return_takes_each_default(play: Play, tmp_path: Path) -> None:
    session = play(answers=("\n", "\n", "\n"))
    assert session.code == 0, session.shown
    assert session.shown.count("> [") == 3
    assert (tmp_path / "my-app" / "app.py").is_file()


def test_only_what_is_missing_is_asked(play: Play, tmp_path: Path) -> None:
    session = play("rag-app", "x", answers=("qdrant\n",))
    assert session.code == 0, session.shown
    assert session.shown.count("> [") == 1
    assert "qdrant" in (tmp_path / "x" / "pyproject.toml").read_text("utf-8")


def test_nothing_is_asked_with_defaults(play: Play) -> None:
    session = play("rag-app", "x", "--defaults", answers=())
    assert session.code == 0
    assert "> [" not in session.shown


def test_a_typed_name_names_the_project_and_its_folder(play: Play, tmp_path: Path) -> None:
    session = play("rag-app", answers=("Café du Nord\n", "\n"))
    assert session.code == 0, session.shown
    answers = (tmp_path / "cafe-du-nord" / ".hackkit.yml").read_text("utf-8")
    assert "project_name: Café du Nord" in answers


def test_an_answer_that_is_none_of_the_options_is_asked_again(play: Play) -> None:
    session = play("rag-app", "x", answers=("oracle\n", "chroma\n"))
    assert session.code == 0
    assert "Please type one of: chroma, " in session.shown


def test_ctrl_c_at_a_question_exits_130_and_leaves_nothing(play: Play, tmp_path: Path) -> None:
    session = play(answers=("\x03",))
    assert session.code == 130
    assert "Traceback" not in session.shown
    assert not list(tmp_path.iterdir())


def test_the_end_of_input_at_a_question_is_the_same(play: Play, tmp_path: Path) -> None:
    assert play(answers=("\x04",)).code == 130
    assert not list(tmp_path.iterdir())


def test_a_third_party_s_questions_are_its_own(play: Play, tmp_path: Path) -> None:
    write(tmp_path / "theirs" / "copier.yml", "flavour:\n  type: str\n  help: Which flavour?\n")
    write(tmp_path / "theirs" / "flavour.txt.jinja", "{{ flavour }}")
    session = play("./theirs", "x", answers=("mint\n",), prompt="Which flavour?")
    assert session.code == 0, session.shown
    assert (tmp_path / "x" / "flavour.txt").read_text() == "mint"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Make a project that git tracks, with a render.yaml of the team's own."""
    root = tmp_path / "app"
    write(root / ".hackkit.yml", "template: rag-app\n")
    write(root / "Dockerfile", "FROM scratch\n")
    write(root / "render.yaml", "mine: true\n")
    git(root, "init", "--quiet")
    git(root, "add", "--all")
    return root


def test_return_alone_takes_no_deployment_away(play: Play, project: Path) -> None:
    session = play("modal", str(project), "--down", answers=("\n",), prompt=": ", command=DEPLOY)
    assert "hackkit will remove the app (Modal). Do it? [y/N]" in session.shown
    assert "Nothing was removed." in session.shown
    assert session.code == 1


def test_return_alone_overwrites_nothing(play: Play, project: Path) -> None:
    answers = ("y\n", "\n")
    session = play("render", str(project), answers=answers, prompt="Do it? [", command=DEPLOY)
    assert "overwrite your render.yaml. Do it? [y/N]" in session.shown
    assert (project / "render.yaml").read_text("utf-8") == "mine: true\n"


def test_a_ctrl_c_at_the_question_sends_nothing(play: Play, project: Path) -> None:
    (project / "render.yaml").unlink()
    session = play("render", str(project), answers=("\x03",), prompt="Do it? [", command=DEPLOY)
    assert session.code == 130
    assert "Traceback" not in session.shown
