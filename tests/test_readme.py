"""The README's set-up is two commands, and they are what they say."""

import re
import shlex
import subprocess

import pytest
from conftest import ROOT, Run

SETUP = (
    "python3 -m pip install uv && uv run hackkit new rag-app ../my-app --defaults --start",
    "python3 -m pip install uv && uv run pytest",
)


def blocks() -> list[str]:
    """Return the README's code blocks."""
    text = (ROOT / "README.md").read_text("utf-8")
    return [
        block.strip() for block in re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    ]


@pytest.mark.parametrize("command", SETUP)
def test_each_set_up_command_is_a_block_of_its_own(command: str) -> None:
    assert command in blocks()
    subprocess.run(["bash", "-n", "-c", command], check=True)


def test_the_first_set_up_command_makes_a_project(hackkit: Run) -> None:
    words = shlex.split(SETUP[0].split("hackkit", 1)[1])
    words = ["my-app" if word == "../my-app" else word for word in words]
    result = hackkit(*(word for word in words if word != "--start"), "--no-install")
    assert result.returncode == 0, result.stderr


def test_every_command_in_the_readme_exists(hackkit: Run) -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    known = hackkit("--help").stdout
    words = set(re.findall(r"`hackkit ([a-z]+)", text))
    assert len(words) > 2
    for word in words:
        assert re.search(rf"^  {word} ", known, re.MULTILINE), word
