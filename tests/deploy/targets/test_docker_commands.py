"""`hackkit deploy docker` with a docker that the tests play: what it is told, and what not."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import clean_environment, git, write
from fake_docker import FakeDocker

from hackkit.deploy.manifest import Deployment, Options, DeployRequest
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
def order(tmp_path: Path, engine: FakeDocker) -> DeployRequest:
    """DeployRequest a container of a small project with one key in `.env`, one in the environment."""
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


def hush(_words: str) -> None:
    """Progress, and say nothing."""


def deploy(request: DeployRequest) -> Deployment:
    return docker.deploy(request, docker.plan(request), hush)


def test_docker_sees_the_files_of_the_manifest_and_no_others(
    request: DeployRequest, engine: FakeDocker
) -> None:
    deploy(request)
    [build] = engine.seen("build")
    assert build["files"] == [
        *(".dockerignore", ".env.example", ".gitignore", ".hackkit.yml", "Dockerfile", "app.py")
    ]


def test_docker_is_told_no_key(request: DeployRequest, engine: FakeDocker) -> None:
    live = deploy(request)
    docker.rehearse(request, docker.plan(request), hush)
    told = [call["words"] for call in engine.seen()]
    asked = [call["env"] for call in [*engine.seen("build"), *engine.seen("run")]]
    assert KEY not in f"{told} {asked} {live}"
    assert KEY[::-1] not in f"{told} {asked} {live}"


def test_the_command_to_run_it_is_given_with_the_keys_by_name(request: DeployRequest) -> None:
    assert deploy(request).commands == (
        "docker run --rm -p 8080:8080 -v tea:/app/data --env-file .env -e LLM_API_KEY tea",
    )


def test_a_model_server_on_this_machine_is_reached_by_its_name(request: DeployRequest) -> None:
    write(request.project.folder / ".env.example", "LLM_BASE_URL=\n")
    env = {**request.context.env, "LLM_BASE_URL": "http://host.docker.internal:11434/v1"}
    [command] = deploy(replace(request, context=replace(request.context, env=env))).commands
    assert "--add-host host.docker.internal:host-gateway" in command


def test_an_image_takes_the_place_of_the_one_before(request: DeployRequest, engine: FakeDocker) -> None:
    deploy(request)
    assert not engine.seen("image", "prune")
    deploy(request)
    assert list(engine.images) == ["tea"]
    [prune] = engine.seen("image", "prune")
    assert prune["words"][-1] == "label=hackkit.name=tea"


def test_a_container_of_the_older_image_is_to_be_stopped_first(
    request: DeployRequest, engine: FakeDocker
) -> None:
    engine.says("ps", "happy_box\tUp 2 hours\t0.0.0.0:8080->8080/tcp")
    assert deploy(request).commands[0] == "docker stop happy_box"


def test_a_build_that_fails_is_told_in_words_with_its_log(request: DeployRequest, engine: FakeDocker) -> None:
    engine.says("build", f"the key is {KEY}\nE: Unable to locate package teapot")
    with pytest.raises(HackkitError, match="The package teapot was not found") as caught:
        deploy(request)
    log = Path(caught.value.problem.rpartition(" ")[2])
    assert "Unable to locate package" in log.read_text("utf-8")
    assert KEY not in log.read_text("utf-8")
    assert not engine.images


def test_a_rehearsal_runs_the_image_asks_it_stops_it_and_leaves_nothing(
    request: DeployRequest, engine: FakeDocker
) -> None:
    rehearsed = docker.rehearse(request, docker.plan(request), hush)
    names = [step.name.partition(":")[0] for step in rehearsed.steps]
    assert names == ["Build the image", "Start the app", "Load the page", "Ask", "Stop the app"]
    assert rehearsed.steps[0].outcome == "612 MB, runs as 1000"
    assert rehearsed.steps[-1].outcome == "at once"
    assert engine.images == {}
    assert len(engine.seen("rm", "--force")) == 2


def test_an_app_that_crashes_in_the_container_is_reported_and_cleared_away(
    request: DeployRequest, engine: FakeDocker
) -> None:
    engine.says(
        "run", "Traceback (most recent call last):\nModuleNotFoundError: No module named 'tea'"
    )
    with pytest.raises(HackkitError, match="The app needs tea") as caught:
        docker.rehearse(request, docker.plan(request), hush)
    assert "uv add tea" in caught.value.fix
    assert engine.images == {}


def test_status_tells_where_a_container_runs(request: DeployRequest, engine: FakeDocker) -> None:
    assert docker.status(request).words == "there is no image tea here"
    deploy(request)
    assert docker.status(request).words == "the image tea is here (612 MB); no container of it runs"
    assert not docker.status(request).well
    engine.says("ps", "happy_box\tUp 2 hours (healthy)\t0.0.0.0:8080->8080/tcp")
    condition = docker.status(request)
    assert condition.well
    assert condition.address == "http://127.0.0.1:8080"
    assert condition.words == "runs as happy_box: up 2 hours (healthy)"


def test_logs_are_those_of_the_container(request: DeployRequest, engine: FakeDocker) -> None:
    with pytest.raises(HackkitError, match="No container of tea"):
        docker.logs(request)
    engine.says("ps", "happy_box\tExited (1)\t")
    engine.says("logs", "Open http://localhost:7860/")
    assert docker.logs(request) == "Open http://localhost:7860/"
    assert engine.seen("logs")[0]["words"] == ["logs", "--tail", "200", "happy_box"]


def test_down_takes_containers_and_image_away_and_keeps_the_volume(
    request: DeployRequest, engine: FakeDocker
) -> None:
    deploy(request)
    engine.says("ps", "happy_box\tUp 2 hours\t")
    assert docker.down(request) == (
        "the container happy_box and the image tea (612 MB) "
        "(a volume tea stays: docker volume rm tea)"
    )
    assert engine.images == {}
    assert engine.seen("rm", "--force", "--volumes", "happy_box")


def test_down_twice_finds_nothing(request: DeployRequest) -> None:
    deploy(request)
    docker.down(request)
    assert docker.down(request) == "nothing: there was no image tea here"


def test_a_name_of_its_own_makes_an_image_of_its_own(request: DeployRequest, engine: FakeDocker) -> None:
    deploy(replace(request, options=Options(name="Judges")))
    assert list(engine.images) == ["judges"]
