"""Render: it builds the pushed commit, asks for the keys itself, and runs one instance."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT, clean_environment, git, write
from fake_platform import KEY, FakePlatform, project, requested, secretless

from hackkit.deploy.manifest import Deployment, DeployRequest, Options
from hackkit.deploy.targets import fly, render
from hackkit.errors import HackkitError
from hackkit.system.command_line import hackkit

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the made-up programs are scripts")

YES = Options(yes=True)
ADDRESS = "https://ask-paris.onrender.com"
SERVICE = {"id": "srv-1", "name": "ask-paris", "serviceDetails": {"url": ADDRESS}}
NEW = "https://dashboard.render.com/blueprint/new?repo=https://github.com/ada/paris"
SCHEMAS = ROOT / "src" / "hackkit" / "deploy" / "targets" / "schemas"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return project(tmp_path / "app")


@pytest.fixture
def cli(tmp_path: Path) -> FakePlatform:
    """Make a render with a logged-in user and no service."""
    rules = {"whoami": (0, "ada"), "services": (0, "[]"), "deploys list": (0, "[]")}
    return FakePlatform(tmp_path / "bin", "render", rules)


def push(folder: Path) -> str:
    """Commit the blueprint and push to a repository in place of GitHub's."""
    write(folder / "render.yaml", render.plan(requested(folder)).writes[0].read().decode())
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "Ship")
    there = folder.parent / "there.git"
    if not there.exists():
        git(folder, "init", "--quiet", "--bare", str(there))
        git(folder, "remote", "add", "origin", str(there))
    git(folder, "push", "--quiet", "--set-upstream", "origin", "HEAD")
    git(folder, "remote", "set-url", "origin", "git@github.com:ada/paris.git")
    return git(folder, "rev-parse", "HEAD")


def service(made: DeployRequest) -> dict[str, Any]:
    read = yaml.safe_load(render.plan(made).writes[0].read())
    (only,) = read["services"]
    assert isinstance(only, dict)
    return only


def deploy(made: DeployRequest) -> Deployment:
    return render.deploy(made, render.plan(made), lambda _: None)


def test_the_blueprint_asks_for_one_instance_of_the_dockerfile(folder: Path) -> None:
    made = service(requested(folder))
    assert made["runtime"] == "docker"
    assert made["numInstances"] == 1
    assert made["healthCheckPath"] == "/"
    assert made["plan"] == "free"


def test_render_asks_for_the_key_itself(folder: Path) -> None:
    manifest = render.plan(requested(folder))
    assert {"key": "MISTRAL_API_KEY", "sync": False} in service(requested(folder))["envVars"]
    assert not any(KEY.encode() in each.read() for each in manifest.files)


def test_plan_and_region_are_as_asked(folder: Path) -> None:
    made = service(requested(folder, options=Options(hardware="starter", region="oregon")))
    assert (made["plan"], made["region"]) == ("starter", "oregon")


def test_a_tracked_env_file_is_a_problem(folder: Path) -> None:
    git(folder, "add", "--force", ".env")
    problem = render.plan(requested(folder)).problems[0]
    assert ".env" in problem.problem
    assert problem.fix == "git rm --cached -- .env"


def test_a_project_inside_a_larger_repository_is_not_found_by_render(tmp_path: Path) -> None:
    folder = project(tmp_path / "big" / "app")
    (folder / ".git").rename(tmp_path / "big" / ".git")
    git(tmp_path / "big", "add", "--all")
    assert any("at its top" in each.problem for each in render.plan(requested(folder)).problems)


def test_changes_that_are_not_pushed_are_noted(folder: Path) -> None:
    push(folder)
    write(folder / "app.py", "print('changed')\n")
    assert any("app.py" in each for each in render.plan(requested(folder)).notes)


def test_a_new_dockerfile_is_committed_too(folder: Path) -> None:
    push(folder)
    git(folder, "rm", "--quiet", "--cached", "Dockerfile")
    git(folder, "commit", "--quiet", "--message", "Forget")
    assert deploy(requested(folder)).commands[0] == "git add render.yaml Dockerfile"


def test_without_a_remote_the_commands_start_with_one(folder: Path) -> None:
    assert deploy(requested(folder)).commands == (
        "git add render.yaml Dockerfile",
        "git commit --all --message 'Deploy to Render'",
        "open https://github.com/new",
        "git remote add origin https://github.com/YOU/ask-paris.git",
        "git push --set-upstream origin HEAD",
        hackkit("deploy", "render"),
    )


def test_a_pushed_project_is_imported_on_renders_page(folder: Path, cli: FakePlatform) -> None:
    push(folder)
    assert deploy(requested(folder)).commands == (f"open {NEW}",)
    assert deploy(requested(folder, cli, options=YES)).commands == (f"open {NEW}",)


@pytest.mark.parametrize(
    "remote",
    [
        "git@github.com:ada/paris.git",
        "https://github.com/ada/paris",
        "https://ada:hunter2-secret@github.com/ada/paris.git",
        "ssh://git@github.com:22/ada/paris.git",
    ],
)
def test_the_page_names_the_repository_and_no_password(folder: Path, remote: str) -> None:
    push(folder)
    git(folder, "remote", "set-url", "origin", remote)
    assert deploy(requested(folder)).commands[-1] == f"open {NEW}"


def test_an_older_service_is_built_from_the_pushed_commit(folder: Path, cli: FakePlatform) -> None:
    commit = push(folder)
    cli.answer({"services": (0, json.dumps([{"service": SERVICE}]))})
    live = deploy(requested(folder, cli, options=YES))
    assert live.address == ADDRESS
    assert cli.seen[-1].line == (
        f"render deploys create srv-1 --commit {commit} --wait --confirm --output json"
    )
    assert secretless(cli)


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_deployed_commit_is_not_built_again(
    folder: Path, cli: FakePlatform, *, wrapped: bool
) -> None:
    deployment = {"status": "live", "commit": {"id": push(folder)}}
    listed = [{"deploy": deployment}] if wrapped else [deployment]
    cli.answer({"services": (0, json.dumps([SERVICE])), "deploys list": (0, json.dumps(listed))})
    assert deploy(requested(folder, cli, options=YES)).address == ADDRESS
    assert not any("create" in each.words for each in cli.seen)


def test_an_update_that_is_not_pushed_is_pushed_first(folder: Path, cli: FakePlatform) -> None:
    push(folder)
    cli.answer({"services": (0, json.dumps([SERVICE]))})
    write(folder / "app.py", "print('changed')\n")
    git(folder, "commit", "--quiet", "--all", "--message", "Change")
    live = deploy(requested(folder, cli, options=YES))
    assert live.commands == ("git push", hackkit("deploy", "render", "--yes"))
    assert live.address == ""


def test_a_failed_build_shows_renders_own_log(folder: Path, cli: FakePlatform) -> None:
    push(folder)
    cli.answer(
        {
            "services": (0, json.dumps([SERVICE])),
            "deploys create": (1, '{"status": "build_failed"}'),
            "logs": (0, f"error: no space, and {KEY}"),
        }
    )
    with pytest.raises(HackkitError, match="could not build") as caught:
        deploy(requested(folder, cli, options=YES))
    assert "no space" in caught.value.problem
    assert KEY not in caught.value.problem
    assert caught.value.fix.endswith("deploy render --rehearse")


def test_its_status_and_its_log(folder: Path, cli: FakePlatform) -> None:
    made = requested(folder, cli)
    assert not render.status(made).ok
    cli.answer(
        {
            "services": (0, json.dumps([SERVICE])),
            "deploys list": (0, json.dumps([{"status": "update_in_progress"}])),
            "logs": (0, "hello"),
        }
    )
    assert render.status(made).text == "update in progress"
    assert render.logs(made) == "hello"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["render", "fly"])
def test_the_files_match_the_schemas(tmp_path: Path, name: str) -> None:
    folder = project(tmp_path / "app")
    written = {"render": render, "fly": fly}[name].plan(requested(folder)).writes[0]
    path = tmp_path / written.path
    path.write_bytes(written.read())
    assert _checked("--schemafile", SCHEMAS / f"{name}.json", path) == 0
    assert _checked("--check-metaschema", SCHEMAS / f"{name}.json") == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("render", "numInstances: 1", "numInstances: 2"),
        ("render", "healthCheckPath", "healthcheckPath"),
        ("render", "sync: false", "value: aB3dE6gH\n        sync: false"),
        ("render", "region: frankfurt", "region: paris"),
        ("fly", "internal_port", "internalPort"),
        ("fly", 'grace_period = "60s"', "grace_period = 60"),
        ("fly", 'auto_stop_machines = "stop"', "auto_stop_machines = true"),
    ],
)
def test_the_schemas_find_mistakes(tmp_path: Path, name: str, old: str, new: str) -> None:
    folder = project(tmp_path / "app")
    written = {"render": render, "fly": fly}[name].plan(requested(folder)).writes[0]
    text = written.read().decode()
    assert old in text
    write(tmp_path / written.path, text.replace(old, new))
    assert _checked("--schemafile", SCHEMAS / f"{name}.json", tmp_path / written.path) == 1


def _checked(*words: str | Path) -> int:
    return subprocess.run(
        ["uv", "run", "--no-project", "--with", "check-jsonschema", "check-jsonschema", *words],
        env=clean_environment(),
        capture_output=True,
        check=False,
    ).returncode
