"""Fly.io: one machine, keys only by fly's input, and no second app when it runs again."""

import json
import os
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import git, write
from fake_platform import KEY, FakePlatform, project, requested, secretless

from hackkit.deploy.manifest import Deployment, DeployRequest, Options
from hackkit.deploy.targets import fly
from hackkit.errors import HackkitError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the made-up programs are scripts")

YES = Options(yes=True)
LOOKS = ("whoami", "status")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return project(tmp_path / "app")


@pytest.fixture
def cli(tmp_path: Path) -> FakePlatform:
    """Make a fly with a logged-in user and no app."""
    rules = {"auth whoami": (0, "ada@example.org"), "status": (1, "Could not find App")}
    return FakePlatform(tmp_path / "bin", "fly", rules)


def config(made: DeployRequest) -> dict[str, object]:
    return tomllib.loads(fly.plan(made).writes[0].read().decode())


def deploy(made: DeployRequest) -> Deployment:
    return fly.deploy(made, fly.plan(made), lambda _: None)


def test_the_file_asks_for_one_machine_on_the_apps_port(folder: Path) -> None:
    made = config(requested(folder))
    service = made["http_service"]
    assert isinstance(service, dict)
    assert made["app"] == "ask-paris"
    assert made["env"] == {
        "HOST": "0.0.0.0",  # noqa: S104 - the platform's rule
        "PORT": "7860",
        "CHAT_MODEL": "mistral-small-latest",
    }
    assert service["internal_port"] == 7860
    assert service["checks"][0]["path"] == "/"
    assert len(made["vm"]) == 1  # type: ignore[arg-type]


def test_no_key_is_sent(folder: Path) -> None:
    manifest = fly.plan(requested(folder))
    assert not any(KEY.encode() in each.read() for each in manifest.files)
    assert not any(each.path == ".env" for each in manifest.files)
    assert manifest.secrets == {"MISTRAL_API_KEY": KEY}
    assert manifest.ok


def test_a_project_without_a_dockerfile_gets_the_fix(tmp_path: Path) -> None:
    manifest = fly.plan(requested(project(tmp_path / "bare", dockerfile=False)))
    assert manifest.problems[0].fix.endswith("hackkit deploy docker")


def test_without_yes_the_exact_commands_are_written_out(folder: Path) -> None:
    live = deploy(requested(folder))
    assert live.address == ""
    assert live.commands == (
        "curl -L https://fly.io/install.sh | sh",
        "fly auth login",
        "fly apps create ask-paris --org personal",
        "grep '^MISTRAL_API_KEY=' .env | fly secrets import --app ask-paris --stage",
        "fly deploy --app ask-paris --config fly.toml --remote-only --ha=false --yes",
    )


def test_without_fly_they_are_written_out_even_with_yes(folder: Path) -> None:
    assert deploy(requested(folder, options=YES)).commands == deploy(requested(folder)).commands


def test_with_yes_they_are_run_in_their_order(folder: Path, cli: FakePlatform) -> None:
    live = deploy(requested(folder, cli, options=YES))
    assert cli.lines(*LOOKS) == [
        "fly apps create ask-paris --org personal",
        "fly secrets import --app ask-paris --stage",
        "fly deploy --app ask-paris --config fly.toml --remote-only --ha=false --yes",
    ]
    assert live.address == "https://ask-paris.fly.dev"
    assert cli.seen[-2].given == f"MISTRAL_API_KEY={KEY}\n"
    assert secretless(cli, "given")


def test_fly_sees_the_files_of_the_manifest_and_no_others(folder: Path, cli: FakePlatform) -> None:
    write(folder / "private.txt", "not in git")
    made = requested(folder, cli, options=YES)
    deploy(made)
    assert cli.seen[-1].files == sorted(each.path for each in fly.plan(made).files)
    assert not {".env", "private.txt"} & set(cli.seen[-1].files)
    assert not Path(cli.seen[-1].folder).exists()


def test_a_dockerfile_that_is_not_yet_committed_is_sent(folder: Path, cli: FakePlatform) -> None:
    git(folder, "rm", "--quiet", "--cached", "Dockerfile")
    deploy(requested(folder, cli, options=YES))
    assert "Dockerfile" in cli.seen[-1].files


def test_a_second_time_updates_the_app_and_creates_none(folder: Path, cli: FakePlatform) -> None:
    made = requested(folder, cli, options=YES)
    deploy(made)
    cli.forget()
    cli.answer({"status": (0, "{}")})
    deploy(made)
    assert not any("create" in line for line in cli.lines())
    assert cli.seen[-1].words[:2] == ["fly", "deploy"]


def test_interrupted_after_the_first_step_it_resumes(folder: Path, cli: FakePlatform) -> None:
    cli.answer({"secrets import": (1, "dial tcp: i/o timeout")})
    made = requested(folder, cli, options=YES)
    with pytest.raises(HackkitError, match="i/o timeout") as caught:
        deploy(made)
    assert KEY not in caught.value.problem
    assert not any("deploy" in each.words for each in cli.seen)
    cli.forget()
    cli.answer({"secrets import": (0, ""), "status": (0, "{}")})
    assert deploy(made).address == "https://ask-paris.fly.dev"
    assert not any("create" in line for line in cli.lines())


def test_the_name_of_the_first_time_is_kept(folder: Path, cli: FakePlatform) -> None:
    named = requested(folder, cli, options=Options(name="demo-42", region="ams", yes=True))
    write(folder / "fly.toml", fly.plan(named).writes[0].read().decode())
    git(folder, "add", "--all")
    assert deploy(requested(folder, cli, options=YES)).address == "https://demo-42.fly.dev"
    assert config(requested(folder))["primary_region"] == "ams"


def test_a_memory_that_the_team_has_set_stays(folder: Path) -> None:
    text = fly.plan(requested(folder)).writes[0].read().decode()
    assert 'memory = "1024mb"' in text
    write(folder / "fly.toml", text.replace("1024mb", "2048mb"))
    assert config(requested(folder))["vm"][0]["memory"] == "2048mb"  # type: ignore[index]


@pytest.mark.parametrize(
    ("said", "words", "fix"),
    [
        ("Error: Name has already been taken", "The name is taken", "--name"),
        ("We need your payment information to continue", "payment method", "billing"),
        ("Error: region zzz not found", "region", "fly platform regions"),
    ],
)
def test_known_errors_of_fly_are_explained(
    folder: Path, cli: FakePlatform, said: str, words: str, fix: str
) -> None:
    cli.answer({"apps create": (1, said)})
    with pytest.raises(HackkitError, match=words) as caught:
        deploy(requested(folder, cli, options=YES))
    assert fix in caught.value.fix


def test_an_app_that_does_not_answer_points_to_its_log(folder: Path, cli: FakePlatform) -> None:
    cli.answer(
        {"deploy": (1, "Error: smoke checks for 4d89 failed: the app appears to be crashing")}
    )
    with pytest.raises(HackkitError, match="did not answer in time") as caught:
        deploy(requested(folder, cli, options=YES))
    assert caught.value.fix.endswith("deploy fly --logs")


def test_a_user_who_is_not_logged_in_gets_the_fix(folder: Path, cli: FakePlatform) -> None:
    cli.answer({"auth whoami": (1, "Error: no access token available")})
    with pytest.raises(HackkitError) as caught:
        deploy(requested(folder, cli, options=YES))
    assert caught.value.fix == "fly auth login"


@pytest.mark.parametrize("value", ["two\nlines-of-a-secret-1", 'with"quote-000001'])
def test_a_key_that_fly_would_mangle_is_not_sent(
    folder: Path, cli: FakePlatform, value: str
) -> None:
    made = requested(folder, cli, options=YES)
    manifest = replace(fly.plan(made), secrets={"LLM_API_KEY": value})
    with pytest.raises(HackkitError, match="LLM_API_KEY") as caught:
        fly.deploy(made, manifest, lambda _: None)
    assert value not in caught.value.problem


def test_the_status_is_that_of_its_machine(folder: Path, cli: FakePlatform) -> None:
    made = requested(folder, cli)
    assert not fly.status(made).ok
    cli.answer({"status": (0, json.dumps({"Machines": [{"state": "started"}]}))})
    assert fly.status(made).text == "started"
    assert fly.status(made).ok
    cli.answer({"status": (0, json.dumps({"Machines": [{"state": "stopped"}]}))})
    assert not fly.status(made).ok
    cli.answer({"status": (0, "no json")})
    assert not fly.status(made).ok


def test_its_log_and_its_removal(folder: Path, cli: FakePlatform) -> None:
    made = requested(folder, cli)
    cli.answer({"logs": (0, "hello"), "apps destroy": (0, "Destroyed app ask-paris")})
    assert fly.logs(made) == "hello"
    assert "ask-paris" in fly.down(made)
    assert cli.seen[-1].line == "fly apps destroy ask-paris --yes"
