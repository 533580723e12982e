"""A workspace runs small apps: some work, others break in every way."""

import contextlib
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from gradio_server import App, running

from hackkit.deploy.manifest import DeployRequest, Options, RehearsalResult
from hackkit.deploy.rehearsal.workspace import Workspace, folder_size, free_port, rehearsal
from hackkit.errors import HackkitError, Problem
from hackkit.project.app_status import AppStatus
from hackkit.project.context import Context
from hackkit.project.files import ProjectFiles

HERE = Path(__file__).parent
SUPPORT = HERE.parents[1] / "support"
KEY = "a1b2c3d4" * 4
QUESTION = "What do the judges look at?"
PORT = 'int(os.environ["PORT"])'
APP = f"""import os, subprocess, sys, threading
sys.path.insert(0, {str(SUPPORT)!r})
from gradio_server import App, event, running
"""
SERVE = """
with running({app}, {port}) as app:
    print("Open", app.address, flush=True)
    threading.Event().wait()
"""
GOOD = APP + SERVE.format(app="App()", port=PORT)


@dataclass
class Trial:
    """Rehearses apps in a test: keeps their project, logs, folders and progress messages."""

    folder: Path
    env: Mapping[str, str]
    python: Path = Path(sys.executable)
    status: AppStatus = field(default_factory=lambda: AppStatus(question=QUESTION))
    logs: list[Path] = field(default_factory=list)
    places: list[Path] = field(default_factory=list)
    progress: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def workspace(self, **env: str) -> Iterator[Workspace]:
        project = ProjectFiles(self.folder)
        context = Context(folder=self.folder, project=project, env={**self.env, **env})
        request = DeployRequest(project, context, Options())
        with rehearsal("test", request, self.progress.append) as workspace:
            self.logs.append(workspace.log)
            self.places.append(workspace.folder.parent)
            yield workspace

    def passes(
        self, code: str, seconds: float = 60, script: str = "app.py", port: int = 0, **env: str
    ) -> RehearsalResult:
        """Rehearse an app that is this Python code, on a free port unless one is named."""
        (self.folder / "app.py").write_text(code, "utf-8")
        with self.workspace(**env) as workspace:
            (workspace.folder / "app.py").write_text(code, "utf-8")
            port, folder = port or free_port(), workspace.folder
            words = (str(self.python), script)
            app = workspace.start(*words, folder=folder, env={"PORT": str(port)})
            workspace.try_app(app, port, self.status, seconds)
            return workspace.result()

    def fails(
        self, code: str, seconds: float = 60, script: str = "app.py", port: int = 0, **env: str
    ) -> HackkitError:
        """Rehearse an app that breaks; return the error."""
        with pytest.raises(HackkitError) as caught:
            self.passes(code, seconds, script, port, **env)
        assert caught.value.problem.endswith(f" Full log: {self.logs[-1]}")
        assert not self.places[-1].exists()
        return caught.value

    @property
    def log(self) -> str:
        return self.logs[-1].read_text("utf-8")


@pytest.fixture
def trial(tmp_path: Path) -> Iterator[Trial]:
    (tmp_path / ".hackkit.yml").touch()
    names = ("PATH", "SYSTEMROOT", "SYSTEMDRIVE")
    made = Trial(tmp_path, {name: os.environ[name] for name in names if name in os.environ})
    yield made
    for log in made.logs:
        log.unlink()


def gone(process: int) -> bool:
    """Return whether a process ends within a minute."""
    for _ in range(600):
        if not psutil.pid_exists(process) or psutil.Process(process).status() == "zombie":
            return True
        time.sleep(0.1)
    return False


# Apps that work


def test_a_good_app_is_started_loaded_and_asked(trial: Trial) -> None:
    done = trial.passes(GOOD)
    names = ["Start the app", "Load the page", f"Ask: {QUESTION}"]
    assert [step.name for step in done.steps] == trial.progress == names
    assert done.steps[2].outcome == "Judges look at four things."
    assert all(step.seconds >= 0 for step in done.steps)


@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        ("the app's status took longer than 10 s", "the app's status took longer than 10 s"),
        ("", "it suggests none"),
    ],
)
def test_another_question_than_the_apps_own_is_named(
    trial: Trial, problem: str, reason: str
) -> None:
    trial.status = AppStatus(problem=problem)
    step = trial.passes(GOOD).steps[2]
    assert step.name == "Ask: What is this about?"
    assert step.outcome == f"Judges look at four things. (not a question of the app: {reason})"


def test_the_log_has_the_output_and_only_its_owner_can_read_it(trial: Trial) -> None:
    done = trial.passes(GOOD)
    assert done.log == trial.logs[0]
    assert "Open http://127.0.0.1:" in trial.log
    assert "== Start the app" in trial.log
    if os.name != "nt":
        assert stat.S_IMODE(done.log.stat().st_mode) == 0o600


def test_only_the_log_stays(trial: Trial) -> None:
    trial.passes(GOOD)
    assert not trial.places[0].exists()


def test_an_app_without_an_endpoint_is_not_asked(trial: Trial) -> None:
    done = trial.passes(APP + SERVE.format(app="App(info={})", port=PORT))
    assert done.steps[2].outcome.startswith("skipped: The app has no API endpoint `ask`")


def test_a_slow_start_is_waited_for(trial: Trial) -> None:
    assert trial.passes("import time\ntime.sleep(1)\n" + GOOD).steps[0].seconds > 1


def test_an_app_that_is_busy_at_first_is_waited_for(trial: Trial) -> None:
    busy = 'App(bodies={"/": (503, "text/plain", b"Loading")})'
    free = "threading.Timer(1, lambda: app.bodies.clear()).start()"
    code = APP + SERVE.format(app=busy, port=PORT).replace(
        "threading.Event", f"{free}\n    threading.Event"
    )
    assert trial.passes(code).steps[0].seconds > 1


def test_a_proxy_is_bypassed(trial: Trial) -> None:
    assert trial.passes(GOOD, http_proxy="http://127.0.0.1:9", no_proxy="example.org").steps


# Apps that break


def test_a_missing_package_is_named(trial: Trial) -> None:
    error = trial.fails("import nowhere_to_be_found\n" + GOOD)
    assert error.problem.startswith("The app needs nowhere_to_be_found, which its requirements")
    assert error.fix.endswith("uv add nowhere_to_be_found")


def test_a_syntax_error_is_named_by_file_and_line(trial: Trial) -> None:
    error = trial.fails("x = 1\ndef main(\n")
    assert error.problem.startswith("app.py:2 is not valid Python: '(' was never closed.")
    assert error.fix == "edit app.py: correct line 2"


def test_a_crash_at_start_is_named_by_its_line(trial: Trial) -> None:
    error = trial.fails("\n\nopen('no-such-file')\n")
    assert error.problem.startswith("The app crashed at app.py:3: FileNotFoundError")


def test_an_app_that_exits_is_quoted(trial: Trial) -> None:
    error = trial.fails("import sys\nsys.exit('It rains.')\n")
    words = "app.py ended with exit code 1 before it answered: It rains."
    assert error.problem.startswith(words)


def test_an_app_that_exits_without_output_is_reported(trial: Trial) -> None:
    error = trial.fails("")
    assert error.problem.startswith("app.py ended with exit code 0 before it answered")


def test_a_missing_start_file_is_named(trial: Trial) -> None:
    error = trial.fails("", script="main.py")
    assert "start file main.py is not among the files" in error.problem
    assert "app_file" in error.fix


def test_an_app_that_listens_on_another_port_gets_the_fix(trial: Trial) -> None:
    error = trial.fails(APP + SERVE.format(app="App()", port="0"), seconds=15)
    assert "The app listens on port " in error.problem
    assert "; the platform connects to port " in error.problem
    assert error.fix == "edit app.py: let it listen on SETTINGS.port"


def test_another_programs_answer_on_its_port_is_not_taken_for_the_apps(trial: Trial) -> None:
    with running(App()) as other:
        taken = int(other.address.rpartition(":")[2])
        error = trial.fails(APP + SERVE.format(app="App()", port="0"), seconds=15, port=taken)
    assert f"; the platform connects to port {taken}." in error.problem
    assert not other.asked


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="makes a link in the place of an engine")
@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("'http://0.0.0.0:7861'", "The app listens on port 7861; the platform connects to port "),
        (
            "'http://127.0.0.1:' + os.environ['PORT']",
            "cannot be reached from outside its",
        ),
    ],
)
def test_the_port_of_an_app_in_a_container_is_read_from_its_output(
    trial: Trial, address: str, words: str
) -> None:
    trial.python = trial.folder / "podman"
    trial.python.symlink_to(sys.executable)
    output = f"print('Running on ' + {address}, flush=True)"
    assert words in trial.fails(f"import os, time\n{output}\ntime.sleep(60)\n").problem


@pytest.mark.slow
def test_a_port_of_another_server_in_the_output_is_ignored(trial: Trial) -> None:
    talk = "print('Model running at http://localhost:11434', flush=True)\n"
    assert trial.passes(talk + "import time\ntime.sleep(12)\n" + GOOD)


def test_an_app_that_never_answers_is_too_slow(trial: Trial) -> None:
    error = trial.fails("import time\nprint('Loading', flush=True)\ntime.sleep(60)\n", seconds=1)
    assert "did not answer on port" in error.problem
    assert "within 1 s. Its last output: Loading Full" in error.problem


def test_an_error_page_is_reported_with_its_cause(trial: Trial) -> None:
    app = 'App(bodies={"/": (500, "text/plain", b"Internal Server Error")})'
    error = trial.fails(APP + SERVE.format(app=app, port=PORT))
    assert 'answered 500 for the page: "Internal Server Error"' in error.problem


def test_an_empty_answer_is_reported(trial: Trial) -> None:
    app = 'App(stream=event("complete", [""]))'
    assert "answer is empty" in trial.fails(APP + SERVE.format(app=app, port=PORT)).problem


def test_an_error_as_an_answer_is_reported(trial: Trial) -> None:
    app = 'App(stream=event("error", {"error": "The index is damaged."}))'
    error = trial.fails(APP + SERVE.format(app=app, port=PORT))
    assert "answered with an error: The index is damaged." in error.problem


# All processes end


@pytest.mark.skipif(os.name == "nt", reason="starts a shell's grandchild")
def test_all_processes_of_the_app_end_with_it(trial: Trial) -> None:
    child = "print('CHILD', subprocess.Popen(['sleep', '300']).pid, flush=True)\n"
    trial.passes(APP + child + SERVE.format(app="App()", port=PORT))
    assert gone(int(trial.log.partition("CHILD ")[2].split()[0]))


@pytest.mark.skipif(os.name == "nt", reason="starts a shell's grandchild")
def test_all_processes_of_a_crashed_app_end_too(trial: Trial) -> None:
    child = "print('CHILD', subprocess.Popen(['sleep', '300']).pid, flush=True)\n"
    trial.fails(APP + child + "sys.exit(1)")
    assert gone(int(trial.log.partition("CHILD ")[2].split()[0]))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals to send to one process")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_an_interrupted_rehearsal_leaves_nothing(trial: Trial, name: str) -> None:
    (trial.folder / "app.py").write_text("import time\nprint('up', flush=True)\ntime.sleep(99)\n")
    script = f"""
import sys
sys.path[:0] = [{str(HERE)!r}, {str(SUPPORT)!r}]
from pathlib import Path
from test_workspace import AppStatus, Trial, free_port
trial = Trial(Path({str(trial.folder)!r}), {dict(trial.env)!r})
with trial.workspace() as workspace:
    app = workspace.start(sys.executable, "app.py", folder=trial.folder, env={{}})
    print(app.process.process.pid, workspace.folder, workspace.log, flush=True)
    workspace.try_app(app, free_port(), AppStatus())
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout
        process, folder, log = run.stdout.readline().split()
        trial.logs.append(Path(log))
        time.sleep(0.5)
        run.send_signal(getattr(signal, name))
        run.communicate(timeout=120)
    assert gone(int(process))
    assert not Path(folder).parent.exists()
    assert run.returncode == {"SIGINT": -2, "SIGTERM": 128 + 15, "SIGHUP": 128 + 1}[name]


# Secrets


def test_the_log_shows_no_secret(trial: Trial) -> None:
    output = f"print({KEY!r}, 'https://ada:hunter22@example.org', flush=True)\n"
    trial.passes(output + GOOD, MISTRAL_API_KEY=KEY)
    assert "https://[secret]@example.org" in trial.log
    assert KEY not in trial.log


def test_an_error_shows_no_secret(trial: Trial) -> None:
    error = trial.fails(f"raise ValueError({KEY!r})", MISTRAL_API_KEY=KEY)
    assert "ValueError: [secret]" in error.problem
    assert KEY not in str(error) + error.problem + error.fix + trial.log


def test_a_secret_on_the_line_after_its_label_is_found(trial: Trial) -> None:
    trial.passes(f"print('mistral api_key\\n{KEY}', flush=True)\n" + GOOD)
    assert KEY not in trial.log


def test_the_app_gets_a_clean_environment(trial: Trial) -> None:
    env = {"MISTRAL_API_KEY": KEY, "MY_SETTING": "1", "LANG": "C.UTF-8"}
    with trial.workspace(**env) as workspace:
        assert not {"MISTRAL_API_KEY", "MY_SETTING", "VIRTUAL_ENV"} & set(workspace.env)
        assert workspace.env["LANG"] == "C.UTF-8"
        assert not [*workspace.folder.iterdir()]
        home = Path(workspace.env["HOME"])
        assert home.is_dir()
        assert not [*home.iterdir()]


@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
def test_localhost_is_added_to_no_proxy(trial: Trial, name: str) -> None:
    with trial.workspace(**{name: "example.org"}) as workspace:
        assert workspace.env["NO_PROXY"] == "example.org,127.0.0.1,localhost,::1"
        assert workspace.env.get("no_proxy", workspace.env["NO_PROXY"]) == workspace.env["NO_PROXY"]


def test_packages_come_from_this_machines_index(trial: Trial) -> None:
    settings = trial.folder / "home" / ".config" / "uv" / "uv.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text("offline = true")
    home = str(trial.folder / "home")
    with trial.workspace(HOME=home, UV_DEFAULT_INDEX="https://mirror.example/index") as workspace:
        assert workspace.env["UV_DEFAULT_INDEX"] == "https://mirror.example/index"
        assert (Path(workspace.env["HOME"]) / ".config" / "uv" / "uv.toml").is_file()


def test_the_app_does_not_see_the_package_index(trial: Trial) -> None:
    show = "print('SEEN', sorted(os.environ), flush=True)\n"
    trial.passes(APP + show + GOOD, UV_DEFAULT_INDEX="https://ada:hunter22@mirror.example")
    assert "'PORT'" in trial.log
    assert "UV_DEFAULT_INDEX" not in trial.log


# Single commands


def test_a_failed_command_is_quoted(trial: Trial) -> None:
    code = "import sys; print('one'); sys.exit('two')"
    with (
        pytest.raises(HackkitError, match=r"failed: one two") as caught,
        trial.workspace() as workspace,
    ):
        workspace.run(sys.executable, "-uc", code, folder=workspace.folder, seconds=60)
    assert "Full log" in caught.value.problem


def test_a_failed_command_is_explained_by_its_output(trial: Trial) -> None:
    seen: list[str] = []

    def explain(output: str) -> Problem:
        seen.append(output)
        return Problem("The index is down.", fix="wait")

    with (
        pytest.raises(HackkitError, match="The index is down") as caught,
        trial.workspace() as s,
    ):
        s.run(sys.executable, "-c", "x", folder=s.folder, seconds=60, explain=explain)
    assert "NameError" in seen[0]
    assert caught.value.fix == "wait"


def test_a_command_that_takes_too_long_is_ended(trial: Trial) -> None:
    words = (sys.executable, "-c", "import time; time.sleep(99)")
    with (
        pytest.raises(HackkitError, match=r"took longer than 0\.5 s"),
        trial.workspace() as workspace,
    ):
        workspace.run(*words, folder=workspace.folder, seconds=0.5)


def test_a_missing_command_is_named(trial: Trial) -> None:
    with (
        pytest.raises(HackkitError, match="no-such-thing was not found"),
        trial.workspace() as s,
    ):
        s.run("no-such-thing", folder=s.folder, seconds=1)


def test_a_step_has_its_outcome(trial: Trial) -> None:
    with trial.workspace() as workspace:
        with workspace.step("Install") as outcome:
            outcome.append("412 MB")
        (step,) = workspace.result().steps
    assert (step.name, step.outcome) == ("Install", "412 MB")


def test_the_size_of_a_folder_is_that_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a" * 2_000_000)
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    assert folder_size(tmp_path) == "2 MB"
