"""Asking git, and changing a repository with it: each failure has a message."""

from pathlib import Path

import pytest
from conftest import clean_environment, git
from facts import commands

from hackkit.system.git import ask, change
from hackkit.system.processes import Ran, runner

RUN = runner(clean_environment())


def test_a_change_that_succeeds_has_no_message(tmp_path: Path) -> None:
    assert change(RUN, tmp_path, "init", "--quiet") == ""
    assert change(RUN, tmp_path, "config", "--local", "hackkit.tea.space", "me/tea") == ""
    assert ask(RUN, tmp_path, "config", "--get", "hackkit.tea.space").out == "me/tea"


def test_a_change_that_fails_has_gits_own_message(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    assert "nowhere.txt" in change(RUN, tmp_path, "add", "--", "nowhere.txt")


@pytest.mark.parametrize(
    ("ran", "message"),
    [
        (None, "git is not installed"),
        (Ran(-1, timed_out=True), "git did not end within 3 s"),
        (Ran(3), "exit code 3"),
    ],
)
def test_a_change_that_says_nothing_is_explained(ran: Ran | None, message: str) -> None:
    assert change(commands({"git commit": ran}), Path(), "commit") == message
