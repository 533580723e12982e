"""rehearsal: the stage, with small apps that run well or break in every way."""

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

from hackkit.deploy.manifest import Options, DeployRequest, RehearsalResult
from hackkit.deploy.rehearsal.workspace import Workspace, free_port, rehearsal, folder_size
from hackkit.errors import HackkitError
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
class Theatre:
    """Where apps are rehearsed in a test: their project, and the logs that they left."""

    folder: Path
    env: Mapping[str, str]
    python: Path = Path(sys.executable)
    logs: list[Path] = field(default_factory=list)
    places: list[Path] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def stage(self, **env: str) -> Iterator[Workspace]:
        project = ProjectFiles(self.folder)
        context = Context(folder=self.folder, project=project, env={**self.env, **env})
        with rehearsal("test", DeployRequest(project, context, Options()), self.told.append) as stage:
            self.logs.append(stage.log)
            self.places.append(stage.folder.parent)
            yield stage

    def play(self, code: str, seconds: float = 20, script: str = "app.py", **env: str) -> RehearsalResult:
        """Rehearse an app that is this Python code."""
        (self.folder / "app.py").write_text(code, "utf-8")
        with self.stage(**env) as stage:
            (stage.folder / "app.py").write_text(code, "utf-8")
            port = free_port()
            folder = stage.folder
            stage.start(str(self.python), script, folder=folder, env={"PORT": str(port)})
            stage.try_app(port, QUESTION, seconds)
            return stage.done()

    def flop(
        self, code: str, seconds: float = 20, script: str = "app.py", **env: str
    ) -> HackkitError:
        """Rehearse an app that breaks; return what is said about it."""
        with pytest.raises(HackkitError) as caught:
            self.play(code, seconds, script, **env)
        assert caught.value.problem.endswith(f" Full log: {self.logs[-1]}")
        assert not self.places[-1].exists()
        return caught.value

    @property
    def log(self) -> str:
        return self.logs[-1].read_text("utf-8")


@pytest.fixture
def theatre(tmp_path: Path) -> Iterator[Theatre]:
    (tmp_path / ".hackkit.yml").touch()
    names = ("PATH", "SYSTEMROOT", "SYSTEMDRIVE")
    opened = Theatre(tmp_path, {name: os.environ[name] for name in names if name in os.environ})
    yield opened
    for log in opened.logs:
        log.unlink()


def gone(process: int) -> bool:
    """Tell whether a process ends within a few seconds."""
    for _ in range(50):
        if not psutil.pid_exists(process) or psutil.Process(process).status() == "zombie":
            return True
        time.sleep(0.1)
    return False


# What goes well


def test_a_good_app_is_started_loaded_and_asked(theatre: Theatre) -> None:
    done = theatre.play(GOOD)
    names = ["Start the app", "Load the page", f"Ask: {QUESTION}"]
    assert [step.name for step in done.steps] == theatre.told == names
    assert done.steps[2].outcome == "Judges look at four things."
    assert all(step.seconds >= 0 for step in done.steps)


def test_the_log_keeps_what_was_said_for_its_owner_alone(theatre: Theatre) -> None:
    done = theatre.play(GOOD)
    assert done.log == theatre.logs[0]
    assert "Open http://127.0.0.1:" in theatre.log
    assert "== Start the app" in theatre.log
    if os.name != "nt":
        assert stat.S_IMODE(done.log.stat().st_mode) == 0o600


def test_nothing_else_stays(theatre: Theatre) -> None:
    theatre.play(GOOD)
    assert not theatre.places[0].exists()


def test_an_app_that_programs_cannot_ask_is_not_asked(theatre: Theatre) -> None:
    done = theatre.play(APP + SERVE.format(app="App(info={})", port=PORT))
    assert done.steps[2].outcome.startswith("skipped: The app has no endpoint `ask`")


def test_a_slow_start_is_waited_for(theatre: Theatre) -> None:
    assert theatre.play("import time\ntime.sleep(1)\n" + GOOD).steps[0].seconds > 1


def test_an_app_that_is_busy_at_first_is_waited_for(theatre: Theatre) -> None:
    busy = 'App(bodies={"/": (503, "text/plain", b"Loading")})'
    free = "threading.Timer(1, lambda: app.bodies.clear()).start()"
    code = APP + SERVE.format(app=busy, port=PORT).replace(
        "threading.Event", f"{free}\n    threading.Event"
    )
    assert theatre.play(code).steps[0].seconds > 1


def test_a_proxy_is_no_hindrance(theatre: Theatre) -> None:
    assert theatre.play(GOOD, http_proxy="http://127.0.0.1:9", no_proxy="example.org").steps


# What breaks


def test_a_package_that_is_not_there_is_named(theatre: Theatre) -> None:
    error = theatre.flop("import nowhere_to_be_found\n" + GOOD)
    assert error.problem.startswith("The app needs nowhere_to_be_found, which its requirements")
    assert error.fix.endswith("uv add nowhere_to_be_found")


def test_wrong_syntax_is_named_by_file_and_line(theatre: Theatre) -> None:
    error = theatre.flop("x = 1\ndef main(\n")
    assert error.problem.startswith("app.py:2 is not valid Python: '(' was never closed.")
    assert error.fix == "edit app.py: mend line 2"


def test_a_crash_at_start_is_named_by_its_line(theatre: Theatre) -> None:
    error = theatre.flop("\n\nopen('no-such-file')\n")
    assert error.problem.startswith("The app crashed at app.py:3: FileNotFoundError")


def test_an_app_that_gives_up_is_quoted(theatre: Theatre) -> None:
    error = theatre.flop("import sys\nsys.exit('It rains.')\n")
    words = "app.py ended with exit code 1 before it answered: It rains."
    assert error.problem.startswith(words)


def test_an_app_that_just_ends_is_told(theatre: Theatre) -> None:
    error = theatre.flop("")
    assert error.problem.startswith("app.py ended with exit code 0 before it answered")


def test_a_start_file_that_is_not_there_is_told(theatre: Theatre) -> None:
    error = theatre.flop("", script="main.py")
    assert "started with main.py, which is not among the files" in error.problem
    assert "app_file" in error.fix


def test_an_app_that_listens_elsewhere_is_told_how_to_obey(theatre: Theatre) -> None:
    error = theatre.flop(APP + SERVE.format(app="App()", port="0"), seconds=15)
    assert "The app listens on " in error.problem
    assert ", where the platform asks it." in error.problem
    assert error.fix == "edit app.py: pass server_port=SETTINGS.port to launch()"


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="makes a link in the place of an engine")
@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("'http://0.0.0.0:7861'", "The app listens on 7861, not on "),
        ("'http://127.0.0.1:' + os.environ['PORT']", "nobody outside its container can reach"),
    ],
)
def test_an_app_in_a_container_is_believed_where_it_says_that_it_listens(
    theatre: Theatre, address: str, words: str
) -> None:
    theatre.python = theatre.folder / "podman"
    theatre.python.symlink_to(sys.executable)
    said = f"print('Running on ' + {address}, flush=True)"
    assert words in theatre.flop(f"import os, time\n{said}\ntime.sleep(60)\n").problem


@pytest.mark.slow
def test_a_server_that_the_app_only_names_is_not_taken_for_its_own(theatre: Theatre) -> None:
    talk = "print('Model running at http://localhost:11434', flush=True)\n"
    assert theatre.play(talk + "import time\ntime.sleep(12)\n" + GOOD)


def test_an_app_that_never_answers_is_given_up(theatre: Theatre) -> None:
    error = theatre.flop("import time\nprint('Loading', flush=True)\ntime.sleep(60)\n", seconds=1)
    assert "did not answer on port" in error.problem
    assert "within 1 s. The last that it said: Loading Full" in error.problem


def test_a_page_with_an_error_is_told_with_its_cause(theatre: Theatre) -> None:
    app = 'App(bodies={"/": (500, "text/plain", b"Internal Server Error")})'
    error = theatre.flop(APP + SERVE.format(app=app, port=PORT))
    assert 'answers 500 for the page: "Internal Server Error"' in error.problem


def test_an_empty_answer_is_told(theatre: Theatre) -> None:
    app = 'App(stream=event("complete", [""]))'
    assert "answer is empty" in theatre.flop(APP + SERVE.format(app=app, port=PORT)).problem


def test_an_error_as_an_answer_is_told(theatre: Theatre) -> None:
    app = 'App(stream=event("error", {"error": "The index is damaged."}))'
    error = theatre.flop(APP + SERVE.format(app=app, port=PORT))
    assert "answered with an error: The index is damaged." in error.problem


# What is started ends


@pytest.mark.skipif(os.name == "nt", reason="starts a shell's grandchild")
def test_whatever_the_app_has_started_ends_with_it(theatre: Theatre) -> None:
    child = "print('CHILD', subprocess.Popen(['sleep', '300']).pid, flush=True)\n"
    theatre.play(APP + child + SERVE.format(app="App()", port=PORT))
    assert gone(int(theatre.log.partition("CHILD ")[2].split()[0]))


@pytest.mark.skipif(os.name == "nt", reason="starts a shell's grandchild")
def test_whatever_a_crashed_app_has_started_ends_too(theatre: Theatre) -> None:
    child = "print('CHILD', subprocess.Popen(['sleep', '300']).pid, flush=True)\n"
    theatre.flop(APP + child + "sys.exit(1)")
    assert gone(int(theatre.log.partition("CHILD ")[2].split()[0]))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals to send to one process")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_an_interrupted_rehearsal_leaves_nothing(theatre: Theatre, name: str) -> None:
    (theatre.folder / "app.py").write_text("import time\nprint('up', flush=True)\ntime.sleep(99)\n")
    script = f"""
import sys
sys.path[:0] = [{str(HERE)!r}, {str(SUPPORT)!r}]
from pathlib import Path
from test_stage import Theatre, free_port
theatre = Theatre(Path({str(theatre.folder)!r}), {dict(theatre.env)!r})
with theatre.stage() as stage:
    stage.start(sys.executable, "app.py", folder=theatre.folder, env={{}})
    app = stage._children[0].process.pid
    print(app, stage.folder, stage.log, flush=True)
    stage.try_app(free_port(), "")
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout
        process, folder, log = run.stdout.readline().split()
        theatre.logs.append(Path(log))
        time.sleep(0.5)
        run.send_signal(getattr(signal, name))
        run.communicate(timeout=20)
    assert gone(int(process))
    assert not Path(folder).parent.exists()
    assert run.returncode == {"SIGINT": -2, "SIGTERM": 128 + 15, "SIGHUP": 128 + 1}[name]


# What stays secret


def test_the_log_shows_no_secret(theatre: Theatre) -> None:
    said = f"print({KEY!r}, 'https://ada:hunter22@example.org', flush=True)\n"
    theatre.play(said + GOOD, MISTRAL_API_KEY=KEY)
    assert "https://[secret]@example.org" in theatre.log
    assert KEY not in theatre.log


def test_an_error_shows_no_secret(theatre: Theatre) -> None:
    error = theatre.flop(f"raise ValueError({KEY!r})", MISTRAL_API_KEY=KEY)
    assert "ValueError: [secret]" in error.problem
    assert KEY not in str(error) + error.problem + error.fix + theatre.log


def test_a_secret_on_the_line_after_what_gives_it_away_is_found(theatre: Theatre) -> None:
    theatre.play(f"print('mistral api_key\\n{KEY}', flush=True)\n" + GOOD)
    assert KEY not in theatre.log


def test_the_app_sees_a_fresh_machine(theatre: Theatre) -> None:
    env = {"MISTRAL_API_KEY": KEY, "MY_SETTING": "1", "LANG": "C.UTF-8"}
    with theatre.stage(**env) as stage:
        assert not {"MISTRAL_API_KEY", "MY_SETTING", "VIRTUAL_ENV"} & set(stage.env)
        assert stage.env["LANG"] == "C.UTF-8"
        assert not [*stage.folder.iterdir()]
        home = Path(stage.env["HOME"])
        assert home.is_dir()
        assert not [*home.iterdir()]


@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
def test_the_app_reaches_itself_around_a_proxy_and_what_it_reached_so_far(
    theatre: Theatre, name: str
) -> None:
    with theatre.stage(**{name: "example.org"}) as stage:
        assert stage.env["NO_PROXY"] == "example.org,127.0.0.1,localhost,::1"
        assert stage.env.get("no_proxy", stage.env["NO_PROXY"]) == stage.env["NO_PROXY"]


def test_packages_come_from_where_this_machine_gets_them(theatre: Theatre) -> None:
    settings = theatre.folder / "home" / ".config" / "uv" / "uv.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text("offline = true")
    home = str(theatre.folder / "home")
    with theatre.stage(HOME=home, UV_DEFAULT_INDEX="https://mirror.example/index") as stage:
        assert stage.env["UV_DEFAULT_INDEX"] == "https://mirror.example/index"
        assert (Path(stage.env["HOME"]) / ".config" / "uv" / "uv.toml").is_file()


def test_the_app_does_not_see_where_packages_come_from(theatre: Theatre) -> None:
    show = "print('SEEN', sorted(os.environ), flush=True)\n"
    theatre.play(APP + show + GOOD, UV_DEFAULT_INDEX="https://ada:hunter22@mirror.example")
    assert "'PORT'" in theatre.log
    assert "UV_DEFAULT_INDEX" not in theatre.log


# Single commands


def test_a_command_that_fails_is_quoted(theatre: Theatre) -> None:
    code = "import sys; print('one'); sys.exit('two')"
    with pytest.raises(HackkitError, match=r"failed: one two") as caught, theatre.stage() as stage:
        stage.run(sys.executable, "-uc", code, folder=stage.folder, seconds=20)
    assert "Full log" in caught.value.problem


def test_a_command_that_fails_is_explained_by_who_knows_it(theatre: Theatre) -> None:
    seen: list[str] = []

    def explain(said: str) -> HackkitError:
        seen.append(said)
        return HackkitError("The index is down.", fix="wait")

    with pytest.raises(HackkitError, match="The index is down") as caught, theatre.stage() as s:
        s.run(sys.executable, "-c", "x", folder=s.folder, seconds=20, explain=explain)
    assert "NameError" in seen[0]
    assert caught.value.fix == "wait"


def test_a_command_that_does_not_end_is_ended(theatre: Theatre) -> None:
    words = (sys.executable, "-c", "import time; time.sleep(99)")
    with pytest.raises(HackkitError, match=r"did not end within 0\.5 s"), theatre.stage() as stage:
        stage.run(*words, folder=stage.folder, seconds=0.5)


def test_a_command_that_is_not_there_is_told(theatre: Theatre) -> None:
    with pytest.raises(HackkitError, match="no-such-thing was not found"), theatre.stage() as s:
        s.run("no-such-thing", folder=s.folder, seconds=1)


def test_a_step_says_what_it_came_to(theatre: Theatre) -> None:
    with theatre.stage() as stage:
        with stage.step("Install") as note:
            note.outcome = "412 MB"
        (step,) = stage.done().steps
    assert (step.name, step.outcome) == ("Install", "412 MB")


def test_a_folder_weighs_what_its_files_do(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a" * 2_000_000)
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    assert folder_size(tmp_path) == "2 MB"
