"""A real project, broken in one way after another: doctor finds each, and repairs what it may."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import clean_environment, git

from hackkit.project.files import ProjectFiles
from hackkit.system import uv

pytestmark = pytest.mark.slow

# Made here, so that no scanner, ours included, takes this file for a leak.
KEY = "aB3" * 10 + "xY"
_TRIES = 5
Found = dict[str, Any]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a project with an index; what is beside its environment is kept in a second place."""
    place = tmp_path_factory.mktemp("broken")
    words = ("new", "rag-app", "app", "--defaults")
    command([sys.executable, "-m", "hackkit", *words], place)
    command([*uv.command(), "run", "python", "-m", "rag", "ingest"], place / "app")
    leave_out = shutil.ignore_patterns(".venv", "__pycache__")
    shutil.copytree(place / "app", place / "kept", symlinks=True, ignore=leave_out)
    return place


@pytest.fixture
def project(whole: Path) -> Path:
    """Restore the project, except for its environment, which the tests must repair."""
    folder = whole / "app"
    for path in folder.iterdir():
        if path.name != ".venv":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(whole / "kept", folder, symlinks=True, dirs_exist_ok=True)
    return folder


def command(words: list[str], folder: Path) -> str:
    done = subprocess.run(
        words,
        cwd=folder,
        env=uv.outer_environment(clean_environment()),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def doctor(project: Path, *words: str, **env: str) -> dict[str, Found]:
    """Run the command as a user does; stdout must be one JSON document.

    On a busy machine a check may not end within its limit: then it runs again.
    """
    for _ in range(_TRIES):
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "hackkit",
                "doctor",
                str(project),
                "--json",
                "--offline",
                *words,
            ],
            env={**clean_environment(), **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=300,
            check=False,
        )
        if '"could not look' not in done.stdout:
            break
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    assert KEY not in done.stdout + done.stderr
    return {each["id"]: each for each in json.loads(done.stdout)["checks"]}


def look(project: Path, name: str, *words: str, **env: str) -> Found:
    return doctor(project, "--only", name, *words, **env)[name]


# Ways to break a project


def edit(path: Path, before: str, after: str) -> None:
    text = path.read_text("utf-8")
    assert before in text, path
    path.write_text(text.replace(before, after, 1), "utf-8")


def append(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def commit(project: Path, *names: str) -> None:
    git(project, "add", "--force", *names)
    author = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    git(project, *author, "commit", "--quiet", "--no-verify", "--message", "Add something")


def lose_the_lock(project: Path) -> None:
    (project / "uv.lock").unlink()


def ask_for_another_package(project: Path) -> None:
    edit(project / "pyproject.toml", '    "typer', '    "pyyaml",\n    "typer')


def lose_the_environment(project: Path) -> None:
    shutil.rmtree(project / ".venv")


def lose_a_package(project: Path) -> None:
    for path in (project / ".venv").rglob("site-packages/pypdf*"):
        shutil.rmtree(path)


def merge_the_lock_by_hand(project: Path) -> None:
    append(project / "uv.lock", "<<<<<<< HEAD\n")


def garble_pyproject(project: Path) -> None:
    append(project / "pyproject.toml", "\n[tool.\n")


def cut_the_index(project: Path) -> None:
    os.truncate(project / "index" / "keywords" / "keywords.db", 100_000)


def garble_the_index(project: Path) -> None:
    with (project / "index" / "keywords" / "keywords.db").open("r+b") as file:
        file.seek(20 * 4096)
        file.write(os.urandom(40 * 4096))


def lose_the_index(project: Path) -> None:
    shutil.rmtree(project / "index")


def change_the_documents(project: Path) -> None:
    (project / "docs" / "new.md").write_text("# New\n\nSomething new.\n")
    append(project / "docs" / "keys.txt", "Something else.\n")
    (project / "docs" / "judging.md").unlink()


def take_a_key(project: Path) -> None:
    edit(project / ".env", "MISTRAL_API_KEY=", f"MISTRAL_API_KEY={KEY}")


def add_a_broken_document(project: Path) -> None:
    (project / "docs" / "broken.pdf").write_bytes(b"%PDF-1.7 broken")


def lose_the_documents(project: Path) -> None:
    shutil.rmtree(project / "docs")


def slip_in_the_app(project: Path) -> None:
    append(project / "app.py", "\ndef (:\n")


def use_an_unknown_name(project: Path) -> None:
    append(project / "rag" / "prompts.py", "\nWHAT = NOT_THERE\n")


def import_what_is_not_there(project: Path) -> None:
    edit(project / "app.py", "import gradio as gr\n", "import gradio as gr\nimport bs5\n")


def set_a_port_that_is_none(project: Path) -> None:
    edit(project / ".env", "PORT=", "PORT=many")


def commit_the_env_file(project: Path) -> None:
    commit(project, ".env")


def commit_and_remove_the_env_file(project: Path) -> None:
    commit(project, ".env")
    git(project, "rm", "--quiet", "--cached", ".env")
    author = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    git(project, *author, "commit", "--quiet", "--no-verify", "--message", "Remove it")


def put_a_key_into_a_file(project: Path) -> None:
    (project / "notes.py").write_text(f'MISTRAL_API_KEY = "{KEY}"\n')


def put_a_key_into_history(project: Path) -> None:
    put_a_key_into_a_file(project)
    commit(project, "notes.py")
    (project / "notes.py").write_text("")
    commit(project, "notes.py")


def let_git_see_the_env_file(project: Path) -> None:
    edit(project / ".gitignore", ".env\n", "")


def open_the_env_file(project: Path) -> None:
    take_a_key(project)
    (project / ".env").chmod(0o644)


def lose_the_env_file(project: Path) -> None:
    (project / ".env").unlink()


def lose_the_hook(project: Path) -> None:
    (project / ".git" / "hooks" / "pre-commit").unlink()


def break_the_header(project: Path) -> None:
    edit(project / "README.md", "colorFrom: yellow", "colorFrom: mustard")


Break = Callable[[Path], None]
REPAIRED: dict[Break, tuple[str, str, str]] = {
    lose_the_lock: ("environment", "warn", "no uv.lock"),
    ask_for_another_package: ("environment", "warn", "uv.lock does not match pyproject.toml"),
    lose_a_package: ("environment", "warn", "pypdf"),
    lose_the_environment: ("environment", "fail", "not installed"),
    cut_the_index: ("index", "fail", "keywords.db: database disk image is malformed"),
    garble_the_index: ("index", "fail", "keywords.db: "),
    lose_the_index: ("index", "warn", "there is no index/keywords yet: 10 documents to read"),
    change_the_documents: ("index", "warn", "1 new, 1 changed, 1 removed"),
    let_git_see_the_env_file: ("env-file", "fail", "git does not ignore .env"),
    open_the_env_file: ("env-file", "warn", "644"),
    lose_the_env_file: ("env-file", "warn", "there is no .env"),
    lose_the_hook: ("secret-hook", "warn", ""),
}
LEFT_ALONE: dict[Break, tuple[str, str, str]] = {
    merge_the_lock_by_hand: ("environment", "fail", "uv.lock cannot be read"),
    garble_pyproject: ("environment", "fail", "pyproject.toml cannot be read"),
    add_a_broken_document: ("documents", "warn", "docs/broken.pdf: is broken"),
    lose_the_documents: ("documents", "warn", "there is no folder docs"),
    slip_in_the_app: ("app", "fail", "app.py:"),
    use_an_unknown_name: ("app", "fail", "NameError: name 'NOT_THERE' is not defined"),
    import_what_is_not_there: ("app", "fail", "not installed: bs5"),
    set_a_port_that_is_none: ("variables", "fail", "PORT"),
    commit_the_env_file: ("env-history", "fail", ".env"),
    commit_and_remove_the_env_file: ("env-history", "fail", ".env"),
    put_a_key_into_a_file: ("secrets", "fail", "notes.py"),
    put_a_key_into_history: ("secrets-in-history", "fail", "notes.py"),
    break_the_header: ("space-header", "warn", "mustard"),
}


def name_of(change: Break) -> str:
    return change.__name__


def test_a_new_project_is_well(project: Path) -> None:
    checks = [each for each in doctor(project).values() if each["category"] == "project"]
    assert len(checks) > 10
    for found in checks:
        # (A new project has work that is not pushed, and rag-app has no MCP servers.)
        assert found["status"] == "ok" or found["id"] in {"git-work", "mcp-json"}, found


@pytest.mark.parametrize("change", REPAIRED, ids=name_of)
def test_doctor_finds_a_break_repairs_it_and_finds_it_ok(project: Path, change: Break) -> None:
    check, status, words = REPAIRED[change]
    change(project)
    found = look(project, check)
    assert found["status"] == status
    assert words in found["message"]
    assert found["fix"]
    repaired = look(project, check, "--fix", "--yes")
    assert repaired["status"] == "ok", repaired
    assert look(project, check)["status"] == "ok"


@pytest.mark.parametrize("change", LEFT_ALONE, ids=name_of)
def test_doctor_finds_a_break_that_it_may_not_repair_and_leaves_it(
    project: Path, change: Break
) -> None:
    check, status, words = LEFT_ALONE[change]
    change(project)
    before = contents(project)
    found = look(project, check, "--fix", "--yes")
    assert found["status"] == status, found
    assert words in found["message"]
    assert found["fix"]
    assert contents(project) == before


def contents(project: Path) -> dict[Path, bytes]:
    """Read all but what Python and the environment keep for themselves."""
    passing = {".venv", "__pycache__", ".git"}
    paths = (path for path in project.rglob("*") if not passing & set(path.parts))
    return {path: path.read_bytes() for path in paths if path.is_file()}


def test_looking_changes_nothing(project: Path) -> None:
    lose_the_index(project)
    before = contents(project)
    doctor(project)
    assert contents(project) == before


def test_a_damaged_index_is_renamed_and_not_deleted(project: Path) -> None:
    garble_the_index(project)
    damaged = (project / "index" / "keywords" / "keywords.db").read_bytes()
    look(project, "index", "--fix", "--yes")
    assert (project / "index" / "keywords.damaged" / "keywords.db").read_bytes() == damaged


def test_the_printed_fix_repairs_a_lock_that_was_merged_by_hand(project: Path) -> None:
    merge_the_lock_by_hand(project)
    command(look(project, "environment")["fix"].split(), project)
    assert look(project, "environment")["status"] == "ok"


def test_with_a_key_the_other_index_is_named(project: Path) -> None:
    take_a_key(project)
    found = look(project, "index")
    assert found["status"] == "warn"
    assert found["message"] == (
        "there is no index/mistral-embed yet: 10 documents to read; index/keywords has 10 documents"
    )


def test_a_root_cause_is_one_problem(project: Path) -> None:
    set_a_port_that_is_none(project)
    checks = doctor(project, *(f"--only={name}" for name in ("variables", "app", "port", "index")))
    seen = {name: found["status"] for name, found in checks.items()}
    assert seen == {"variables": "fail", "app": "skip", "port": "skip", "index": "skip"}


def test_an_app_is_not_started_by_looking_at_it(project: Path) -> None:
    edit(project / "app.py", 'if __name__ == "__main__":', "if True:")
    found = look(project, "app")
    assert found["status"] == "ok"
    assert "would start the app" in found["message"]


def test_an_occupied_port_is_found_and_another_is_chosen(project: Path) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        edit(project / ".env", "PORT=", f"PORT={port}")
        text, mode = (project / ".env").read_text("utf-8"), (project / ".env").stat().st_mode
        found = look(project, "port")
        assert found["status"] == "fail"
        assert f"{port} is not free" in found["message"]
        assert f"(process {os.getpid()})" in found["message"]
        assert look(project, "port", "--fix", "--yes")["status"] == "ok"
        chosen = ProjectFiles(project).dotenv["PORT"]
        assert (project / ".env").read_text("utf-8") == text.replace(str(port), chosen)
        assert (project / ".env").stat().st_mode == mode


@contextmanager
def running(project: Path, ready: str, *words: str, **env: str) -> Iterator[None]:
    """Run Python in the project until it has printed that it is ready."""
    log = project.parent / "running.log"
    with log.open("wb") as out:
        child = subprocess.Popen(
            [str(ProjectFiles(project).python), *words],
            cwd=project,
            env={**uv.outer_environment(clean_environment()), **env},
            stdout=out,
            stderr=out,
        )
    try:
        while ready not in log.read_text("utf-8", errors="replace"):
            assert child.poll() is None, log.read_text("utf-8")
            time.sleep(0.1)
        yield
    finally:
        child.terminate()
        child.wait(60)


def test_a_running_app_has_its_port_and_its_index_and_is_left_alone(project: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    with running(project, "Open http", "app.py", PORT=port):
        change_the_documents(project)
        names = ("port", "index", "index-lock")
        checks = doctor(project, *(f"--only={name}" for name in names), "--fix", "--yes", PORT=port)
        assert "used by this app" in checks["port"]["message"]
        assert "the running app has it open" in checks["index-lock"]["message"]
        assert checks["index"]["status"] == "warn"
        assert checks["index"]["fix"].startswith("stop the app")


@pytest.mark.skipif(sys.platform == "win32", reason="there the process that has a lock is unknown")
def test_another_process_that_has_the_index_is_named(project: Path) -> None:
    code = (
        "import time; from pathlib import Path; from rag import index_state\n"
        "lock = index_state.claim(Path('index/keywords').absolute())\n"
        "print('ready', flush=True); time.sleep(60)"
    )
    with running(project, "ready", "-c", code):
        found = look(project, "index-lock")
        assert found["status"] == "warn"
        assert found["fix"].startswith("kill ")
