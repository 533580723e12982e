"""A target's config file keeps the team's changes; a name suits every platform."""

from pathlib import Path

import pytest
from conftest import write
from fake_platform import project, requested

from hackkit.deploy import platform_config
from hackkit.deploy.manifest import Options

TEMPLATE = 'name: $name  # a part of the address\nsize: "${size}mb"\n$more'


def test_a_line_that_the_team_changed_keeps_its_value(tmp_path: Path) -> None:
    mine = tmp_path / "file.yaml"
    defaults = {"name": "a", "size": "512", "more": "x: 1\n"}
    write(mine, 'name: mine  # a part of the address\nsize: "2048mb"\n')
    text = platform_config.filled(TEMPLATE, defaults, {}, mine)
    assert text == 'name: mine  # a part of the address\nsize: "2048mb"\nx: 1\n'


def test_what_is_asked_for_wins_over_the_teams_file(tmp_path: Path) -> None:
    mine = tmp_path / "file.yaml"
    write(mine, "name: mine\n")
    text = platform_config.filled(
        TEMPLATE, {"name": "a", "size": "1", "more": ""}, {"name": "b"}, mine
    )
    assert text.startswith("name: b ")


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("", "ask-paris"),
        ("My Café!", "my-cafe"),
        ("2 fast", "app-2-fast"),
        ("x" * 90, "x" * 40),
    ],
)
def test_a_name_is_accepted_by_every_platform(tmp_path: Path, asked: str, name: str) -> None:
    folder = project(tmp_path / "app")
    assert platform_config.service_name(requested(folder, options=Options(name=asked))) == name
