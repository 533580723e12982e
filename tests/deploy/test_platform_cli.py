"""A platform's own program is found and run, or its commands are written out for the user."""

import os
import subprocess
from pathlib import Path

import pytest
from conftest import write
from fake_platform import KEY, FakePlatform, project, requested, secretless

from hackkit.deploy import platform_cli
from hackkit.deploy.platform_cli import Cli, Command, Tool
from hackkit.errors import HackkitError, Problem

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the made-up programs are scripts")

TOOL = Tool(
    program="cloud",
    title="The Cloud",
    install={"linux": "get cloud", "darwin": "brew install cloud"},
    login="cloud login",
    login_check=("whoami",),
    known_errors={"(?i)quota": Problem("The quota is used up.", "open https://example.org/quota")},
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return project(tmp_path / "app")


@pytest.fixture
def cloud(tmp_path: Path) -> FakePlatform:
    return FakePlatform(tmp_path / "bin", "cloud", {"whoami": (0, "ada@example.org")})


def command(*words: str, given: str = "") -> Command:
    return Command("Calling it", ("cloud", *words), given=given)


def test_a_program_that_is_missing_is_installed_first(folder: Path) -> None:
    cli = Cli(TOOL, requested(folder))
    assert cli.setup_commands() == ("get cloud", "cloud login")
    with pytest.raises(HackkitError) as caught:
        cli.require_login()
    assert caught.value.fix == "get cloud"


def test_the_command_that_installs_it_is_that_of_the_system(folder: Path) -> None:
    assert Cli(TOOL, requested(folder, system="darwin")).setup_commands()[0] == "brew install cloud"


def test_a_user_who_is_not_logged_in_logs_in_first(folder: Path, cloud: FakePlatform) -> None:
    cloud.answer({"whoami": (1, "no token")})
    cli = Cli(TOOL, requested(folder, cloud))
    assert cli.setup_commands() == ("cloud login",)
    with pytest.raises(HackkitError, match="You are not logged in") as caught:
        cli.require_login()
    assert caught.value.fix == "cloud login"


def test_a_login_check_without_output_is_no_login(folder: Path, cloud: FakePlatform) -> None:
    cloud.answer({"whoami": (0, "")})
    assert not Cli(TOOL, requested(folder, cloud)).logged_in()


def test_a_secret_reaches_a_command_only_by_its_input(folder: Path, cloud: FakePlatform) -> None:
    Cli(TOOL, requested(folder, cloud)).run(command("set", given=KEY), folder)
    assert cloud.seen[0].given == KEY
    assert secretless(cloud, "given")


def test_a_program_does_not_see_the_apps_secrets(folder: Path, cloud: FakePlatform) -> None:
    made = requested(folder, cloud, env={"MISTRAL_API_KEY": KEY, "CLOUD_TOKEN": "its own"})
    Cli(TOOL, made, ["MISTRAL_API_KEY"]).run(command("ship"), folder)
    assert "MISTRAL_API_KEY" not in cloud.seen[0].env
    assert cloud.seen[0].env["CLOUD_TOKEN"] == "its own"


def test_a_known_error_gets_its_problem_and_fix(folder: Path, cloud: FakePlatform) -> None:
    cloud.answer({"ship": (1, "error 429: Quota exceeded")})
    with pytest.raises(HackkitError, match=r"(?s)The quota is used up\..*error 429") as caught:
        Cli(TOOL, requested(folder, cloud)).run(command("ship"), folder)
    assert caught.value.fix == "open https://example.org/quota"


def test_an_unknown_error_shows_the_last_lines_without_secrets(
    folder: Path, cloud: FakePlatform
) -> None:
    lines = "\n".join(f"line {number}" for number in range(40))
    cloud.answer({"ship": (3, f"{lines}\nthe key {KEY} is bad")})
    with pytest.raises(HackkitError, match="exit code 3") as caught:
        Cli(TOOL, requested(folder, cloud)).run(command("ship"), folder)
    assert "line 39" in caught.value.problem
    assert "line 5\n" not in caught.value.problem
    assert KEY not in caught.value.problem
    assert caught.value.fix == "cloud ship"


def test_even_a_short_secret_is_removed_from_the_output(folder: Path, cloud: FakePlatform) -> None:
    cloud.answer({"set": (1, "cannot take pw-77")})
    with pytest.raises(HackkitError) as caught:
        Cli(TOOL, requested(folder, cloud)).run(command("set", given="pw-77\n"), folder)
    assert "pw-77" not in caught.value.problem


def test_a_command_that_takes_too_long_is_ended(tmp_path: Path, folder: Path) -> None:
    script = tmp_path / "slow" / "cloud"
    write(script, "#!/bin/sh\nexec /bin/sleep 30\n")
    script.chmod(0o755)
    made = requested(folder, env={"PATH": str(script.parent)})
    with pytest.raises(HackkitError, match=r"took longer than 0\.2 s"):
        Cli(TOOL, made).run(Command("Sleeping", ("cloud", "x"), seconds=0.2), folder)


def test_a_command_that_is_not_needed_is_skipped(folder: Path, cloud: FakePlatform) -> None:
    made = Command("Making it", ("cloud", "make"), unless=("cloud", "look"))
    progress: list[str] = []
    cli = Cli(TOOL, requested(folder, cloud))
    platform_cli.run_all(cli, [made, command("ship")], folder, progress.append)
    assert cloud.lines() == ["cloud look", "cloud ship"]
    cloud.forget()
    cloud.answer({"look": (1, "not found")})
    platform_cli.run_all(cli, [made], folder, progress.append)
    assert cloud.lines() == ["cloud look", "cloud make"]
    assert progress == ["Making it", "Calling it", "Making it"]


def test_a_value_that_differs_is_set_again(folder: Path, cloud: FakePlatform) -> None:
    setting = Command("Setting", ("cloud", "set"), unless=("cloud", "get"), same="new")
    cli = Cli(TOOL, requested(folder, cloud))
    cloud.answer({"get": (0, "old")})
    assert cli.is_needed(setting)
    cloud.answer({"get": (0, "new")})
    assert not cli.is_needed(setting)


def test_a_value_is_piped_from_where_the_user_has_it(folder: Path) -> None:
    words = ("cloud", "set")
    from_file = platform_cli.piped(requested(folder).context, "MISTRAL_API_KEY", words, whole=True)
    assert from_file == "grep '^MISTRAL_API_KEY=' .env | cloud set"
    here = requested(folder, env={"MISTRAL_API_KEY": KEY}).context
    line = platform_cli.piped(here, "MISTRAL_API_KEY", words, whole=False)
    assert line == "printf '%s' \"$MISTRAL_API_KEY\" | cloud set"


def test_on_windows_it_is_piped_by_powershell(folder: Path) -> None:
    context = requested(folder, system="windows").context
    line = platform_cli.piped(context, "MISTRAL_API_KEY", ("cloud", "set"), whole=False)
    assert line.startswith("(Select-String '^MISTRAL_API_KEY=(.*)' .env)")
    assert line.endswith("| cloud set")


@pytest.mark.parametrize("value", [KEY, f'"{KEY}"', f"'{KEY}'"])
def test_the_quotes_of_an_env_file_are_no_part_of_a_value(folder: Path, value: str) -> None:
    write(folder / ".env", f"MISTRAL_API_KEY={value}\n")
    line = platform_cli.piped(requested(folder).context, "MISTRAL_API_KEY", ("cat",), whole=False)
    ran = subprocess.run(line, shell=True, cwd=folder, capture_output=True, text=True, check=True)  # noqa: S602 - as a user types it
    assert ran.stdout == KEY
