"""`hackkit deploy docker` with a fake docker: which commands it gets, and which secrets not."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import clean_environment, git, write
from fake_docker import FakeDocker

from hackkit.deploy.manifest import Deployment, DeployRequest, Options
from hackkit.deploy.targets import docker
from hackkit.errors import HackkitError
from hackkit.project.context import Context
from hackkit.project.files import ProjectFiles
from hackkit.system.processes import runner

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the fake docker is a script")

KEY = "aB3dE6gH" * 4  # made up


@pytest.fixture
def engine(tmp_path: Path) -> FakeDocker:
    return FakeDocker.put(tmp_path / "bin")


@pytest.fixture
def wanted(tmp_path: Path, engine: FakeDocker) -> DeployRequest:
    """Request a container of a small project: one key in `.env`, one in the environment."""
    root = tmp_path / "tea"
    write(root / ".hackkit.yml", "template: rag-app\nproject_name: tea\n")
    write(root / ".env.example", "MISTRAL_API_KEY=\nLLM_API_KEY=\nPORT=\n")
    write(root / ".env", f"MISTRAL_API_KEY={KEY}\nPORT=8080\n")
    write(root / ".gitignore", ".env\n")
    write(root / "app.py", "print('hello')\n")
    write(root / "not-tracked.txt", "mine\n")
    git(root, "init", "--quiet")
    git(root, "add", ".hackkit.yml", ".env.example", ".gitignore", "app.py")
    env = clean_environment() | {"LLM_API_KEY": KEY[::-1], "HOME": str(tmp_path)}
    env["PATH"] = os.pathsep.join([str(engine.folder), env["PATH"]])
    project = ProjectFiles(root)
    return DeployRequest(
        project, Context(folder=root, env=env, project=project, run=runner(env)), Options()
    )


def ignore(_words: str) -> None:
    """Progress, and say nothing."""


def deploy(wanted: DeployRequest) -> Deployment:
    return docker.deploy(wanted, docker.plan(wanted), ignore)


def test_docker_sees_the_files_of_the_manifest_and_no_others(
    wanted: DeployRequest, engine: FakeDocker
) -> None:
    deploy(wanted)
    [build] = engine.seen("build")
    assert build["files"] == [
        *(".dockerignore", ".env.example", ".gitignore", ".hackkit.yml", "Dockerfile", "app.py")
    ]


def test_docker_gets_no_key(wanted: DeployRequest, engine: FakeDocker) -> None:
    deployment = deploy(wanted)
    docker.rehearse(wanted, docker.plan(wanted), ignore)
    commands = [call["words"] for call in engine.seen()]
    asked = [call["env"] for call in [*engine.seen("build"), *engine.seen("run")]]
    assert KEY not in f"{commands} {asked} {deployment}"
    assert KEY[::-1] not in f"{commands} {asked} {deployment}"


def test_the_command_to_run_it_is_given_with_the_keys_by_name(wanted: DeployRequest) -> None:
    assert deploy(wanted).commands == (
        "docker run --rm -p 8080:8080 -v tea:/app/data --env-file .env -e LLM_API_KEY tea",
    )


def test_a_model_server_on_this_machine_is_reached_by_its_name(wanted: DeployRequest) -> None:
    write(wanted.project.folder / ".env.example", "LLM_BASE_URL=\n")
    env = {**wanted.context.env, "LLM_BASE_URL": "http://host.docker.internal:11434/v1"}
    [command] = deploy(replace(wanted, context=replace(wanted.context, env=env))).commands
    assert "--add-host host.docker.internal:host-gateway" in command


def test_an_image_replaces_the_one_before(wanted: DeployRequest, engine: FakeDocker) -> None:
    deploy(wanted)
    assert not engine.seen("image", "prune")
    deploy(wanted)
    assert list(engine.images) == ["tea"]
    [prune] = engine.seen("image", "prune")
    assert prune["words"][-1] == "label=hackkit.name=tea"


def test_a_container_of_the_older_image_is_to_be_stopped_first(
    wanted: DeployRequest, engine: FakeDocker
) -> None:
    engine.says("ps", "happy_box\tUp 2 hours\t0.0.0.0:8080->8080/tcp")
    assert deploy(wanted).commands[0] == "docker stop happy_box"


def test_a_failed_build_is_explained_with_its_log(
    wanted: DeployRequest, engine: FakeDocker
) -> None:
    engine.says("build", f"the key is {KEY}\nE: Unable to locate package teapot")
    with pytest.raises(HackkitError, match="The package teapot was not found") as caught:
        deploy(wanted)
    log = Path(caught.value.problem.rpartition(" ")[2])
    assert "Unable to locate package" in log.read_text("utf-8")
    assert KEY not in log.read_text("utf-8")
    assert not engine.images


def test_a_rehearsal_runs_the_image_asks_it_stops_it_and_leaves_nothing(
    wanted: DeployRequest, engine: FakeDocker
) -> None:
    rehearsed = docker.rehearse(wanted, docker.plan(wanted), ignore)
    names = [step.name.partition(":")[0] for step in rehearsed.steps]
    assert names == ["Build the image", "Start the app", "Load the page", "Ask", "Stop the app"]
    assert rehearsed.steps[0].outcome == "612 MB, runs as 1000"
    assert rehearsed.steps[-1].outcome == "immediately"
    assert engine.images == {}
    assert len(engine.seen("rm", "--force")) == 2


def test_an_app_that_crashes_in_the_container_is_reported_and_cleared_away(
    wanted: DeployRequest, engine: FakeDocker
) -> None:
    engine.says(
        "run", "Traceback (most recent call last):\nModuleNotFoundError: No module named 'tea'"
    )
    with pytest.raises(HackkitError, match="The app needs tea") as caught:
        docker.rehearse(wanted, docker.plan(wanted), ignore)
    assert "uv add tea" in caught.value.fix
    assert engine.images == {}


def test_status_shows_where_a_container_runs(wanted: DeployRequest, engine: FakeDocker) -> None:
    assert docker.status(wanted).text == "there is no image tea here"
    deploy(wanted)
    assert docker.status(wanted).text == "the image tea is here (612 MB); no container of it runs"
    assert not docker.status(wanted).ok
    engine.says("ps", "happy_box\tUp 2 hours (healthy)\t0.0.0.0:8080->8080/tcp")
    status = docker.status(wanted)
    assert status.ok
    assert status.address == "http://127.0.0.1:8080"
    assert status.text == "runs as happy_box: up 2 hours (healthy)"


def test_logs_are_those_of_the_container(wanted: DeployRequest, engine: FakeDocker) -> None:
    with pytest.raises(HackkitError, match="No container of tea"):
        docker.logs(wanted)
    engine.says("ps", "happy_box\tExited (1)\t")
    engine.says("logs", "Open http://localhost:7860/")
    assert docker.logs(wanted) == "Open http://localhost:7860/"
    assert engine.seen("logs")[0]["words"] == ["logs", "--tail", "200", "happy_box"]


def test_down_removes_containers_and_image_and_keeps_the_volume(
    wanted: DeployRequest, engine: FakeDocker
) -> None:
    deploy(wanted)
    engine.says("ps", "happy_box\tUp 2 hours\t")
    assert docker.down(wanted) == (
        "the container happy_box and the image tea (612 MB) "
        "(a volume tea stays: docker volume rm tea)"
    )
    assert engine.images == {}
    assert engine.seen("rm", "--force", "--volumes", "happy_box")


def test_down_twice_finds_nothing(wanted: DeployRequest) -> None:
    deploy(wanted)
    docker.down(wanted)
    assert docker.down(wanted) == "nothing: there was no image tea here"


def test_another_name_makes_another_image(wanted: DeployRequest, engine: FakeDocker) -> None:
    deploy(replace(wanted, options=Options(name="Judges")))
    assert list(engine.images) == ["judges"]
