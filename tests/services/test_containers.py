"""Container engines: which one is found, its commands, and why a build failed.

The engines here are small fake programs on PATH.
"""

import json
import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from hackkit.deploy.explain import build_log
from hackkit.errors import HackkitError
from hackkit.project.context import Context
from hackkit.services import containers
from hackkit.services.containers import Container, Engine, Image, RunSettings
from hackkit.system.processes import Ran, runner

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the fake engines are scripts")

DOCKERFILE = """\
# FROM nothing
FROM python:3.11-slim AS build
COPY pyproject.toml .
RUN pip install --no-cache-dir uv && \\
    uv sync
RUN apt-get install no-such-tool
"""
IMAGE = Image("id", "600 MB", "1000", ("sh", "-c", "exec python app.py"), "/app/data")
NOT_RUNNING = "sys.exit('Cannot connect to the Docker daemon. Is the docker daemon running?')"


def engines(folder: Path, **code: str) -> dict[str, str]:
    """Put programs of these names and this Python code on a PATH of their own."""
    for name, text in code.items():
        path = folder / name
        path.write_text(f"#!{sys.executable}\nimport json, sys, time\n{text}\n", "utf-8")
        path.chmod(0o755)
    return {"PATH": str(folder)}


def context(env: dict[str, str], system: str = "linux") -> Context:
    return Context(env=env, system=system, run=runner(env))


def engine(folder: Path, name: str, code: str) -> Engine:
    return Engine(name, context(engines(folder, **{name: code})))


# Finding one


def test_without_any_engine_the_fix_installs_one(tmp_path: Path) -> None:
    for system, start in {"linux": "sudo apt-get", "darwin": "brew", "windows": "winget"}.items():
        with pytest.raises(HackkitError, match="No container engine was found") as caught:
            containers.find(context(engines(tmp_path), system))
        assert caught.value.fix.startswith(start)


def test_docker_without_its_daemon_differs_from_no_docker(tmp_path: Path) -> None:
    with pytest.raises(HackkitError, match="docker is installed, but its engine") as caught:
        containers.find(context(engines(tmp_path, docker=NOT_RUNNING)))
    assert caught.value.fix == "sudo systemctl start docker"


def test_docker_without_permission_names_the_group(tmp_path: Path) -> None:
    denied = "sys.exit('permission denied while trying to connect to the Docker daemon socket')"
    with pytest.raises(HackkitError, match="you have no permission to use its engine") as caught:
        containers.find(context(engines(tmp_path, docker=denied)))
    assert "usermod -aG docker" in caught.value.fix


def test_podman_replaces_a_docker_that_is_down(tmp_path: Path) -> None:
    env = engines(tmp_path, docker=NOT_RUNNING, podman="", buildah="")
    assert containers.find(context(env)).name == "podman"


def test_podman_under_dockers_name_is_called_podman(tmp_path: Path) -> None:
    alias = "print('Emulate Docker CLI using podman.', file=sys.stderr)"
    assert containers.find(context(engines(tmp_path, docker=alias, podman=""))).name == "podman"


def test_the_users_choice_wins(tmp_path: Path) -> None:
    env = engines(tmp_path, docker="", buildah="")
    assert containers.find(context(env)).name == "docker"
    assert containers.find(context(env | {"CONTAINER_ENGINE": "buildah"})).name == "buildah"
    with pytest.raises(HackkitError, match="podman is needed"):
        containers.find(context(env | {"CONTAINER_ENGINE": "podman"}))


def test_an_engine_that_hangs_is_reported() -> None:
    def run(*words: str, folder: Path | None = None, seconds: float = 3) -> Ran | None:
        assert folder is None
        assert seconds < 10
        return Ran(-1, timed_out=True) if words[0] == "docker" else None

    with pytest.raises(HackkitError, match="docker is installed, but it does not answer"):
        containers.find(Context(run=run))


def test_a_look_at_an_engine_ends_with_its_time(tmp_path: Path) -> None:
    late = tmp_path / "late"
    code = f"time.sleep(60); open({str(late)!r}, 'w')"
    ran = context(engines(tmp_path, docker=code)).run("docker", "ps", seconds=0.5)
    assert ran is not None
    assert ran.timed_out
    assert not late.exists()


def test_a_docker_elsewhere_that_is_down_is_not_started_here(tmp_path: Path) -> None:
    env = engines(tmp_path, docker=NOT_RUNNING) | {"DOCKER_HOST": "ssh://gone"}
    with pytest.raises(HackkitError) as caught:
        containers.find(context(env))
    assert caught.value.fix == "unset DOCKER_HOST"


def test_an_engine_sees_where_its_images_are_and_no_key() -> None:
    env = {"HOME": "/h", "DOCKER_HOST": "x", "MISTRAL_API_KEY": "k", "XDG_RUNTIME_DIR": "/r"}
    assert set(Engine("docker", Context(env=env)).env) == {"HOME", "DOCKER_HOST", "XDG_RUNTIME_DIR"}


# The commands


def test_each_engine_builds_a_folder_under_a_tag() -> None:
    for name in containers.ENGINES:
        words = Engine(name, Context()).build_command("tea", "/stage", "tea")
        assert words[:2] == (name, "build")
        assert words[-3:] == ("--tag", "tea", "/stage")
        assert "hackkit.name=tea" in words


def test_podman_and_buildah_keep_the_health_check() -> None:
    for name in ("podman", "buildah"):
        words = Engine(name, Context()).build_command("tea", "/stage")
        assert words[words.index("--format") + 1] == "docker"


def test_an_image_with_a_data_folder_runs_read_only() -> None:
    words = Engine("docker", Context()).run_command("tea", IMAGE, "box", 4321)
    assert words[:4] == ("docker", "run", "--rm", "--name")
    assert {"--read-only", "--cap-drop", "no-new-privileges"} <= set(words)
    assert words[words.index("--volume") + 1] == "/app/data"
    assert words[-5:] == ("--publish", "127.0.0.1:4321:4321", "--env", "PORT=4321", "tea")


def test_another_image_is_run_as_it_is() -> None:
    words = Engine("podman", Context()).run_command("tea", Image("id"), "box", 4321)
    assert "--read-only" not in words


def test_buildah_runs_the_images_own_command_in_a_container_that_it_made_first() -> None:
    builder = Engine("buildah", Context())
    assert builder.prepare_command("tea", "box") == ("buildah", "from", "--name", "box", "tea")
    assert builder.run_command("tea", IMAGE, "box", 4321)[-5:] == ("box", "--", *IMAGE.command)


def test_the_command_for_the_user_names_keys_and_shows_none() -> None:
    running = RunSettings("tea", IMAGE, env_file=True, names=("LLM_API_KEY",))
    assert containers.typed_command(Engine("docker", Context()), running) == (
        "docker run --rm -p 7860:7860 -v tea:/app/data --env-file .env -e LLM_API_KEY tea"
    )


def test_the_command_follows_the_port_in_env_and_opens_the_host() -> None:
    running = RunSettings("tea", Image("id"), port=8080, fixed={"HOST": "0.0.0.0"})  # noqa: S104 - inside
    assert containers.typed_command(Engine("podman", Context()), running) == (
        "podman run --rm -p 8080:8080 -e HOST=0.0.0.0 tea"
    )


def test_docker_gets_the_address_of_a_server_on_this_machine() -> None:
    running = RunSettings("tea", Image("id"), calls_host=True)
    added = "--add-host host.docker.internal:host-gateway"
    assert added in containers.typed_command(Engine("docker", Context()), running)
    assert added not in containers.typed_command(Engine("podman", Context()), running)


def test_buildahs_command_passes_the_keys_without_showing_them() -> None:
    typed = containers.typed_command(
        Engine("buildah", Context()), RunSettings("tea", IMAGE, env_file=True)
    )
    assert shlex.split(typed)[-2:] == ["<", ".env"]
    assert "exec python app.py" in typed


# The answers


def test_an_image_is_read_from_dockers_json(tmp_path: Path) -> None:
    config = {"User": "1000", "Cmd": ["python"], "Labels": {"hackkit.data": "/app/data"}}
    output = json.dumps([{"Id": "sha256:1", "Size": 612_400_000, "Config": config}])
    image = engine(tmp_path, "docker", f"print({output!r})").find_image("tea")
    assert image == Image("sha256:1", "612 MB", "1000", ("python",), "/app/data")
    assert not image.runs_as_root


def test_an_image_is_read_from_buildahs_json(tmp_path: Path) -> None:
    config = {"User": "", "Entrypoint": ["python"], "Cmd": ["app.py"], "Labels": None}
    output = json.dumps({"FromImageID": "1", "Docker": {"config": config}})
    code = f"print({output!r} if sys.argv[1] == 'inspect' else '612 MB')"
    image = engine(tmp_path, "buildah", code).find_image("tea")
    assert image == Image("1", "612 MB", "", ("python", "app.py"))
    assert image.runs_as_root


@pytest.mark.parametrize("code", ["sys.exit(1)", "print('no JSON')", "print('[]')"])
def test_a_missing_or_unreadable_image_raises_nothing(tmp_path: Path, code: str) -> None:
    image = engine(tmp_path, "docker", code).find_image("tea")
    assert image is None or image.size == ""


def test_running_containers_come_with_their_port(tmp_path: Path) -> None:
    row = "happy_box\tUp 5 minutes (healthy)\t0.0.0.0:7861->7860/tcp, :::7861->7860/tcp"
    docker = engine(tmp_path, "docker", f"print({row!r})")
    assert docker.containers("tea") == (Container("happy_box", "up 5 minutes (healthy)", 7861),)


def test_older_images_are_pruned_by_their_owner_alone(tmp_path: Path) -> None:
    log = tmp_path / "output"
    code = f"open({str(log)!r}, 'a').write(' '.join(sys.argv[1:]))"
    engine(tmp_path, "docker", code).remove_older("sha256:1", "tea")
    assert log.read_text("utf-8") == "image prune --force --filter label=hackkit.name=tea"


# Why a build failed


@dataclass(frozen=True)
class Failure:
    """An engine's output, and the explanation of it."""

    output: str
    problem: str
    fix: str


FAILURES = {
    "no network, docker": Failure(
        "ERROR: failed to solve: python:3.11-slim: failed to resolve source metadata for "
        "docker.io/library/python:3.11-slim: dial tcp: lookup registry-1.docker.io: no such host",
        "The base image python:3.11-slim could not be downloaded: its registry does not answer.",
        "docker pull python:3.11-slim",
    ),
    "no network, podman": Failure(
        "Error: creating build container: initializing source docker://python:3.11-slim: pinging "
        'container registry registry-1.docker.io: Get "https://registry-1.docker.io/v2/": dial '
        "tcp: i/o timeout",
        "The base image python:3.11-slim could not be downloaded: its registry does not answer.",
        "docker pull python:3.11-slim",
    ),
    "no such image": Failure(
        "ERROR: failed to solve: python:3.11-slim: failed to resolve source metadata for "
        "docker.io/library/python:3.11-slim: docker.io/library/python:3.11-slim: not found",
        "The base image python:3.11-slim was not found in any configured registry.",
        "edit Dockerfile: use an existing image in line 2",
    ),
    "short name": Failure(
        'Error: creating build container: short-name "python:3.11-slim" did not resolve to an '
        "alias and no unqualified-search registries are defined",
        "The base image python:3.11-slim was not found in any configured registry.",
        "edit Dockerfile: use an existing image in line 2",
    ),
    "too many": Failure(
        "failed to resolve source metadata: toomanyrequests: You have reached your pull rate limit",
        "The base image python:3.11-slim could not be downloaded: the rate limit is reached.",
        "docker login",
    ),
    "uv, no such package": Failure(
        "No solution found when resolving dependencies:\n  ╰─▶ Because no-such-thing was not "
        "found in the package registry and your project depends on no-such-thing",
        "The package no-such-thing was not found.",
        "edit pyproject.toml: correct or remove no-such-thing",
    ),
    "apt, no such package": Failure(
        'E: Unable to locate package no-such-tool\nError: building at STEP "RUN apt-get install '
        'no-such-tool": exit status 100',
        "The package no-such-tool was not found.",
        "edit Dockerfile: correct line 6",
    ),
    "no way to the index": Failure(
        "error: Failed to fetch: `https://packages.example/simple/gradio/`\n  Caused by: dns error",
        "Packages could not be downloaded inside the build: the package index is unreachable.",
        "doctor",
    ),
    "a certificate": Failure(
        "error: Failed to fetch: `https://packages.example/`\n cause: invalid peer certificate",
        "Packages could not be downloaded inside the build: this network replaces certificates by "
        "its own, which the base image does not trust.",
        "update-ca-certificates",
    ),
    "a full drive": Failure(
        "write /var/lib/docker/tmp: no space left on device",
        "The disk is full: there is no space for the image.",
        "docker system prune",
    ),
    "an unknown instruction": Failure(
        "ERROR: dockerfile parse error on line 3: unknown instruction: COPPY",
        "Dockerfile:3: COPPY is not an instruction.",
        "edit Dockerfile: correct line 3",
    ),
    "a missing file, buildah": Failure(
        'Error: building at STEP "COPY pyproject.toml .": checking on sources under "/tmp/x": '
        'copier: stat: "/pyproject.toml": no such file or directory',
        "Dockerfile:3 copies pyproject.toml, which is not sent",
        "git add -- pyproject.toml",
    ),
    "a missing file, docker": Failure(
        "ERROR: failed to solve: failed to compute cache key: failed to calculate checksum of ref "
        'abc: "/pyproject.toml": not found',
        "Dockerfile:3 copies pyproject.toml, which is not sent",
        "git add -- pyproject.toml",
    ),
    "a failing step, docker": Failure(
        '#8 0.412 something went wrong\n#8 0.413 in this way\n#8 ERROR: process "/bin/sh -c pip '
        'install --no-cache-dir uv && uv sync" did not complete successfully: exit code: 1\n'
        "------\n > [build 3/3] RUN pip install:\n0.412 something went wrong\n0.413 in this way\n"
        'Dockerfile:4\nERROR: failed to solve: process "/bin/sh -c pip install --no-cache-dir uv '
        '&& uv sync" did not complete successfully: exit code: 1',
        "Dockerfile:4 failed: something went wrong in this way",
        "edit Dockerfile: correct line 4",
    ),
    "a failing step, podman": Failure(
        "STEP 3/4: RUN pip install --no-cache-dir uv && uv sync\nin this way\nsubprocess exited "
        'with status 1\nError: building at STEP "RUN pip install --no-cache-dir uv &&     uv '
        'sync": while running runtime: exit status 1',
        "Dockerfile:4 failed: in this way",
        "edit Dockerfile: correct line 4",
    ),
    "no runtime": Failure(
        "error running container: from /usr/bin/crun creating container for [/bin/sh -c id]: no\n"
        'Error: building at STEP "RUN id": while running runtime: exit status 1',
        "docker cannot run commands in a container here: error running container",
        "docker info",
    ),
}


@pytest.mark.parametrize("case", FAILURES)
def test_a_build_that_failed_is_explained(case: str) -> None:
    failure = FAILURES[case]
    found = build_log.explain(failure.output, DOCKERFILE, "docker")
    assert found is not None
    assert found.problem.startswith(failure.problem)
    assert failure.fix in found.fix


def test_an_unknown_message_is_not_explained() -> None:
    assert build_log.explain("something else", DOCKERFILE, "docker") is None
