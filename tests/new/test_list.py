"""`hackkit list` and what all commands have in common."""

import json
import os
import re
import shlex
import subprocess
import sys

import pytest
from conftest import Run

from hackkit.project.catalog import Catalog
from hackkit.version import VERSION

COMMANDS = ("new", "list")


def test_the_list_names_every_template_slot_and_example(hackkit: Run) -> None:
    shown, catalog = hackkit("list").stdout, Catalog.here()
    assert catalog.templates
    assert catalog.examples
    for template in catalog.templates:
        assert template.name in shown
        for slot in template.slots:
            assert f"--set {slot.name}=" in shown
            assert not [value for value in slot.values if value not in shown]
    assert not [example.name for example in catalog.examples if example.name not in shown]


def test_json_is_one_document_and_nothing_else(hackkit: Run) -> None:
    result = hackkit("list", "--json")
    document = json.loads(result.stdout)
    assert result.stderr == ""
    assert document["templates"][0]["name"] == "rag-app"
    stores = document["templates"][0]["slots"][0]
    assert (stores["name"], stores["default"]) == ("store", "chroma")
    assert {option["name"] for option in stores["options"]} >= {"chroma", "qdrant"}


def test_the_value_that_leaves_a_slot_out_is_offered_last(catalog: Catalog) -> None:
    with (catalog.templates_folder / "tiny" / "about.toml").open("a") as about:
        about.write('\nwithout = "grey"\n')
    [slot] = catalog.templates[0].slots
    assert (slot.without, slot.values) == ("grey", ("blue", "red", "grey"))
    assert slot.options[-1].summary == "leave it out"


def test_an_option_of_whole_files_is_a_yes_or_a_no(catalog: Catalog) -> None:
    with (catalog.templates_folder / "tiny" / "about.toml").open("a") as about:
        about.write('\n[slots.cloud]\ndefault = "no"\nwithout = "no"\n')
        about.write('summary = "Rent a GPU"\nfiles = ["cloud"]\n')
    slot = catalog.templates[0].slots[1]
    options = [(option.name, option.summary) for option in slot.options]
    assert options == [("yes", "Rent a GPU"), ("no", "leave it out")]
    assert slot.files == ("cloud",)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_each_command_has_one_example(hackkit: Run, command: str) -> None:
    result = hackkit(command, "--help")
    assert result.returncode == 0
    assert result.stdout.count("Example: hackkit") == 1


def test_the_version_is_the_package_s(hackkit: Run) -> None:
    assert hackkit("--version").stdout == f"hackkit {VERSION}\n"


def test_no_command_shows_the_help_and_counts_as_wrong_use(hackkit: Run) -> None:
    result = hackkit()
    assert result.returncode == 2
    assert "Usage: hackkit" in result.stdout


@pytest.mark.parametrize("words", [["list"], ["new", "no-such", "x"]])
def test_no_color_is_honoured(hackkit: Run, words: list[str]) -> None:
    def colours(**env: str) -> list[str]:
        result = hackkit(*words, env={"FORCE_COLOR": "1", **env})
        return re.findall(r"\x1b\[[\d;]*3\dm", result.stdout + result.stderr)

    assert colours()
    assert not colours(NO_COLOR="1")


@pytest.mark.parametrize("columns", ["20", "40", "200"])
def test_a_narrow_terminal_cuts_nothing_off(hackkit: Run, columns: str) -> None:
    result = hackkit("list", env={"COLUMNS": columns})
    words = result.stdout.replace("\n", "").replace(" ", "")
    assert "chroma" in words
    assert Catalog.here().templates[0].summary.replace(" ", "")[:12] in words


def test_a_terminal_that_cannot_show_a_name_is_no_failure(hackkit: Run) -> None:
    env = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    result = hackkit("new", "rag-app", "é", "--defaults", "--no-install", env=env)
    assert result.returncode == 0, result.stderr


@pytest.mark.skipif(os.name == "nt", reason="bash")
def test_a_closed_pipe_is_no_traceback() -> None:
    command = f"{shlex.quote(sys.executable)} -m hackkit list | true"
    result = subprocess.run(
        ["bash", "-c", command], capture_output=True, encoding="utf-8", check=False
    )
    assert "Traceback" not in result.stderr
