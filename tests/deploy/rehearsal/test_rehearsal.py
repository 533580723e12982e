"""A rehearsal of a real app: what would fail on the platform fails here, with a fix."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from conftest import Run, clean_environment, git

from hackkit.deploy.rehearsal.workspace import free_port
from hackkit.system import uv

pytestmark = pytest.mark.slow

KEY = "aB3dE6gH" * 4
CRASH = 'raise RuntimeError("no model for " + "aB3dE6gH" * 4)\n'


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make and install one project, once for all tests."""
    folder = tmp_path_factory.mktemp("rehearsal") / "app"
    words = [sys.executable, "-m", "hackkit", "new", "rag-app", str(folder), "--defaults"]
    subprocess.run(words, env=clean_environment(), capture_output=True, check=True, timeout=900)
    return folder


@dataclass
class Rehearsal:
    """A project that may be broken first, and how its rehearsal went."""

    folder: Path
    temporary: Path
    hackkit: Run

    def edit(self, name: str, change: Callable[[str], str]) -> None:
        path = self.folder / name
        before = path.read_text("utf-8")
        after = change(before)
        assert after != before
        path.write_text(after, "utf-8")

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Rehearse; check that only a log without secrets stays."""
        names = ("TMPDIR", "TEMP", "TMP")
        env = {**clean_environment(), **dict.fromkeys(names, str(self.temporary))}
        kept = {"GRADIO_TEMP_DIR", "HF_TOKEN", "MISTRAL_API_KEY"}
        result = self.hackkit(
            *("deploy", "spaces", self.folder, "--rehearse", *words),
            env={name: value for name, value in env.items() if name not in kept},
        )
        assert not self.left()
        assert KEY not in result.stdout + result.stderr + self.log
        return result

    def interrupted(self, step: str, name: str) -> int:
        """Send a signal as soon as this step has started; return the exit code."""
        names = ("TMPDIR", "TEMP", "TMP")
        words = [sys.executable, "-m", "hackkit", "deploy", "spaces", str(self.folder)]
        with subprocess.Popen(
            [*words, "--rehearse"],
            env={**clean_environment(), **dict.fromkeys(names, str(self.temporary))},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as run:
            until = time.monotonic() + 120
            while f"== {step}" not in self.log and run.poll() is None and time.monotonic() < until:
                time.sleep(0.1)
            run.send_signal(getattr(signal, name))
            return run.wait(120)

    def fails(self) -> tuple[str, str]:
        """Rehearse a broken app; return the problem and its fix."""
        result = self.run()
        assert result.returncode == 1, result.stdout + result.stderr
        assert "Traceback" not in result.stderr
        problem, _, fix = " ".join(result.stderr.split()).partition(" Fix: ")
        return problem, fix

    def left(self) -> list[str]:
        """Return the files and processes that remain, besides the log."""
        files = [each.name for each in self.temporary.iterdir() if each.suffix != ".log"]
        return [*files, *still_running(self.temporary)]

    @property
    def log(self) -> str:
        return "".join(path.read_text("utf-8") for path in self.temporary.glob("hackkit-*.log"))

    def log_named_in(self, words: str) -> Path:
        found = re.search(r"Full log: (\S+\.log)", words)
        assert found, words
        return Path(found[1])


def still_running(place: Path) -> list[str]:
    """Return the processes that were started for a rehearsal with this temporary folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words = [*(process.info["cmdline"] or ()), process.info["cwd"] or ""]
        if any(str(place) in word for word in words):
            found.append(" ".join(words))
    return found


@pytest.fixture
def app(fresh: Path, tmp_path: Path, hackkit: Run) -> Rehearsal:
    """Return a copy of the project, with a key in its .env."""
    folder, temporary = tmp_path / "app", tmp_path / "temporary"
    shutil.copytree(fresh, folder, symlinks=True, ignore=shutil.ignore_patterns(".venv"))
    if sys.platform != "win32":  # the suggested question comes from there
        (folder / ".venv").symlink_to(fresh / ".venv")
    (folder / ".env").write_text(f"MISTRAL_API_KEY={KEY}\n", "utf-8")
    temporary.mkdir()
    return Rehearsal(folder, temporary, hackkit)


def test_a_good_app_is_installed_started_and_asked(app: Rehearsal) -> None:
    result = app.run("--json")
    assert result.returncode == 0, result.stderr
    said = json.loads(result.stdout)
    names = [step["name"] for step in said["steps"]]
    assert names[-3:] == ["Start the app", "Load the page", "Ask: What do the judges look at?"]
    assert said["steps"][-1]["outcome"].startswith("These sentences of the documents")
    assert any(step["outcome"].endswith(" MB") for step in said["steps"])
    assert "the index has" in app.log
    assert Path(said["log"]).is_file()


def test_an_app_that_programs_cannot_ask_is_not_asked(app: Rehearsal) -> None:
    app.edit("app.py", lambda text: re.sub(r"gr\.api\(ask, .*", "pass", text))
    result = app.run("--json")
    assert result.returncode == 0, result.stderr
    last = json.loads(result.stdout)["steps"][-1]
    assert last["outcome"].startswith("skipped: The app has no API endpoint `ask`")


def test_a_requirement_that_is_not_listed_is_named_with_the_fix(app: Rehearsal) -> None:
    line = re.compile(r'(?m)^    "snowballstemmer.*\n')
    app.edit("pyproject.toml", lambda text: line.sub("", text))
    env = uv.outer_environment(clean_environment())
    words = [*uv.command(), "lock"]
    subprocess.run(words, cwd=app.folder, env=env, capture_output=True, check=True, timeout=120)
    problem, fix = app.fails()
    assert "The app needs snowballstemmer, which its requirements do not list." in problem
    assert fix.endswith("uv add snowballstemmer")
    assert "ModuleNotFoundError" in app.log_named_in(problem).read_text("utf-8")


def test_a_syntax_error_is_named_by_file_and_line(app: Rehearsal) -> None:
    app.edit("app.py", lambda text: text + "\ndef broken(:\n    pass\n")
    number = (app.folder / "app.py").read_text("utf-8").count("\n") - 1
    problem, fix = app.fails()
    assert f"app.py:{number} is not valid Python" in problem
    assert fix == f"edit app.py: correct line {number}"
    assert app.log_named_in(problem).is_file()


def test_a_wrong_port_is_named_with_the_fix(app: Rehearsal) -> None:
    mine = free_port()
    other = f'serving(build(), SETTINGS.model_copy(update={{"port": {mine}}})'
    app.edit("app.py", lambda text: text.replace("serving(build(), SETTINGS", other))
    problem, fix = app.fails()
    assert f"The app listens on port {mine}; the platform connects to port " in problem
    assert fix == "edit app.py: let it listen on SETTINGS.port"
    assert app.log_named_in(problem).is_file()


def test_a_crash_at_start_is_named_by_its_line(app: Rehearsal) -> None:
    app.edit("rag/pipeline.py", lambda text: text + "\n" + CRASH)
    number = (app.folder / "rag" / "pipeline.py").read_text("utf-8").count("\n")
    problem, fix = app.fails()
    assert f"crashed at rag/pipeline.py:{number}: RuntimeError: no model for [secret]." in problem
    assert fix == f"edit rag/pipeline.py: correct line {number}"
    assert "no model for [secret]" in app.log_named_in(problem).read_text("utf-8")


def test_a_crash_when_it_is_asked_is_named_by_its_line(app: Rehearsal) -> None:
    app.edit("app.py", lambda text: text.replace("    return as_dict(", "    return as_dict(0, "))
    number = next(
        number
        for number, text in enumerate((app.folder / "app.py").read_text("utf-8").splitlines(), 1)
        if "as_dict(0, " in text
    )
    problem, fix = app.fails()
    assert "The app answered with an error" in problem
    assert f"crashed at app.py:{number}: TypeError: as_dict() takes 1" in problem
    assert fix == f"edit app.py: correct line {number}"


def test_a_file_that_git_does_not_track_is_missed(app: Rehearsal) -> None:
    (app.folder / "rag" / "extra.py").write_text("", "utf-8")
    app.edit(
        "app.py", lambda text: text.replace("import gradio", "import rag.extra\nimport gradio")
    )
    problem, fix = app.fails()
    assert "imports rag/extra.py, which is not sent" in problem
    assert fix == "git add -- rag/extra.py"


def test_a_start_file_that_is_not_there_stops_it_before_anything_is_done(app: Rehearsal) -> None:
    app.edit("README.md", lambda text: text.replace("app_file: app.py", "app_file: main.py"))
    problem, fix = app.fails()
    assert 'app_file is "main.py", which does not exist' in problem
    assert fix == "edit README.md: app_file must be a file of this folder"
    assert not app.log


def test_a_huge_file_stops_it_before_anything_is_done(app: Rehearsal) -> None:
    with (app.folder / "video.mp4").open("wb") as file:
        file.truncate(101_000_000)
    git(app.folder, "add", "video.mp4")
    problem, fix = app.fails()
    assert "video.mp4 is 101.0 MB (limit 100 MB)." in problem
    assert fix == "git rm --cached -- video.mp4"
    assert not app.log


@pytest.mark.skipif(sys.platform == "win32", reason="no signals are sent to one process there")
@pytest.mark.parametrize(
    ("step", "name", "code"),
    [
        ("Install requirements.txt", "SIGINT", 130),
        ("Start the app", "SIGINT", 130),
        ("Start the app", "SIGTERM", 143),
        ("Start the app", "SIGHUP", 129),
    ],
)
def test_an_interrupted_rehearsal_leaves_nothing_behind(
    app: Rehearsal, step: str, name: str, code: int
) -> None:
    assert app.interrupted(step, name) == code
    assert not app.left()
