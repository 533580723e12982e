"""An app's log is turned into a cause and a fix."""

from pathlib import Path

import pytest

from hackkit.deploy.explain import app_log
from hackkit.errors import Problem
from hackkit.project.context import Context
from hackkit.project.files import ProjectFiles
from hackkit.system.processes import Ran

ELSEWHERE = "/home/user/app"


def project(folder: Path, *names: str) -> Context:
    """Make a project with these files."""
    for name in (".hackkit.yml", "app.py", "rag/settings.py", *names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return Context(folder=folder, project=ProjectFiles(folder))


def cause(log: str, context: Context) -> Problem:
    found = app_log.explain(log, context)
    assert found
    return found


def traceback(error: str, *frames: tuple[str, int]) -> str:
    lines = (f'  File "{file}", line {number}, in main\n    go()\n' for file, number in frames)
    return f"Traceback (most recent call last):\n{''.join(lines)}{error}\n"


def test_a_missing_package_is_named_with_the_command_that_adds_it(tmp_path: Path) -> None:
    log = traceback("ModuleNotFoundError: No module named 'snowballstemmer'", ("app.py", 3))
    found = cause(log, project(tmp_path))
    assert found.problem == "The app needs snowballstemmer, which its requirements do not list."
    assert found.fix.endswith("uv add snowballstemmer")


def test_a_package_with_another_name_than_its_module_is_known(tmp_path: Path) -> None:
    log = traceback("ModuleNotFoundError: No module named 'bs4.element'", ("app.py", 3))
    found = cause(log, project(tmp_path))
    assert "needs beautifulsoup4 (imported as bs4)" in found.problem
    assert found.fix.endswith("uv add beautifulsoup4")


def test_the_projects_environment_names_the_package_of_a_module(tmp_path: Path) -> None:
    context = project(tmp_path, ".venv/bin/python", ".venv/Scripts/python.exe")

    def knows(*words: str, folder: Path | None = None, seconds: float = 3) -> Ran:  # noqa: ARG001 - as a real one
        return Ran(0, "Odd-Name") if words[-1] == "odd" else Ran(1)

    asked = Context(folder=context.folder, project=context.project, run=knows)
    log = traceback("ModuleNotFoundError: No module named 'odd'", ("app.py", 3))
    assert cause(log, asked).fix.endswith("uv add Odd-Name")


def test_a_file_of_the_project_that_git_does_not_track_is_no_package(tmp_path: Path) -> None:
    log = traceback("ModuleNotFoundError: No module named 'rag.tools'", ("app.py", 3))
    found = cause(log, project(tmp_path, "rag/tools.py"))
    assert "imports rag/tools.py, which is not sent" in found.problem
    assert found.fix == "git add -- rag/tools.py"


def test_a_folder_of_the_project_that_git_does_not_track_is_no_package(tmp_path: Path) -> None:
    log = traceback("ModuleNotFoundError: No module named 'tools'", ("app.py", 3))
    assert cause(log, project(tmp_path, "tools/web.py")).fix == "git add -- tools"


@pytest.mark.parametrize("kind", ["SyntaxError", "IndentationError", "TabError"])
def test_a_syntax_error_is_named_by_file_and_line(tmp_path: Path, kind: str) -> None:
    log = f"  File \"{ELSEWHERE}/app.py\", line 12\n    def x(\n         ^\n{kind}: '(' is open\n"
    found = cause(log, project(tmp_path))
    assert found.problem == "app.py:12 is not valid Python: '(' is open."
    assert found.fix == "edit app.py: correct line 12"


def test_a_syntax_error_in_an_imported_file_is_named_by_that_file(tmp_path: Path) -> None:
    log = traceback(
        f'  File "{ELSEWHERE}/rag/settings.py", line 7\n    x = = 1\nSyntaxError: invalid syntax',
        (f"{ELSEWHERE}/app.py", 3),
    )
    assert cause(log, project(tmp_path)).problem.startswith("rag/settings.py:7 is not valid")


def test_a_crash_is_named_by_the_projects_own_line(tmp_path: Path) -> None:
    log = traceback(
        "KeyError: 'MODEL'",
        (f"{ELSEWHERE}/app.py", 3),
        (f"{ELSEWHERE}/rag/settings.py", 9),
        (f"{ELSEWHERE}/.venv/lib/python3.11/site-packages/x/app.py", 1),
    )
    found = cause(log, project(tmp_path))
    assert found.problem == "The app crashed at rag/settings.py:9: KeyError: 'MODEL'."
    assert found.fix == "edit rag/settings.py: correct line 9"


def test_files_on_windows_are_found_too(tmp_path: Path) -> None:
    log = traceback("ValueError: no", ("C:\\Users\\Ada\\app\\rag\\settings.py", 9))
    assert "rag/settings.py:9" in cause(log.replace("\n", "\r\n"), project(tmp_path)).problem


def test_colours_and_control_characters_are_left_out(tmp_path: Path) -> None:
    log = traceback("\x1b[1;35mValueError\x1b[0m: \x1b]0;title\x07no", ("app.py", 9))
    assert cause(log, project(tmp_path)).problem == "The app crashed at app.py:9: ValueError: no."
    assert app_log.last_lines("12 %\r99 %\r\n\x1b[2K") == "99 %"


def test_of_several_crashes_the_last_one_is_reported(tmp_path: Path) -> None:
    log = traceback("ValueError: first", ("app.py", 1)) + traceback("OSError: last", ("app.py", 2))
    assert cause(log, project(tmp_path)).problem == "The app crashed at app.py:2: OSError: last."


def test_a_crash_in_other_code_alone_has_no_line_to_correct(tmp_path: Path) -> None:
    log = traceback("OSError: last", ("/usr/lib/python3.11/socket.py", 2))
    found = cause(log, project(tmp_path))
    assert (found.problem, found.fix) == ("The app crashed: OSError: last.", "")


def test_a_missing_start_file_is_named(tmp_path: Path) -> None:
    log = f"python: can't open file '{ELSEWHERE}/main.py': [Errno 2] No such file or directory\n"
    found = cause(log, project(tmp_path))
    assert "start file main.py is not among the files" in found.problem
    assert "app_file" in found.fix


def test_the_apps_own_message_is_passed_on_with_its_fix(tmp_path: Path) -> None:
    log = "PORT: Input should be a valid integer.\nFix: correct it in .env\n"
    found = cause(log, project(tmp_path))
    assert (found.problem, found.fix) == (
        "PORT: Input should be a valid integer.",
        "correct it in .env",
    )


def test_the_last_message_or_crash_counts(tmp_path: Path) -> None:
    crash, words = traceback("OSError: last", ("app.py", 2)), "No port is free.\nFix: wait\n"
    context = project(tmp_path)
    assert cause(crash + words, context).fix == "wait"
    assert cause(words + crash, context).fix == "edit app.py: correct line 2"


@pytest.mark.parametrize("log", ["", "Open http://127.0.0.1:7860/\n", "Fix: nothing\n"])
def test_output_without_a_crash_has_no_cause(tmp_path: Path, log: str) -> None:
    assert app_log.explain(log, project(tmp_path)) is None
