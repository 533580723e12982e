"""What deploy shows: whole sentences, special characters as they are, JSON with stable keys."""

import json
from typing import Any

import pytest

from hackkit.deploy.manifest import (
    Deployment,
    DeploymentStatus,
    Manifest,
    Message,
    Published,
)
from hackkit.deploy.outgoing import generated
from hackkit.errors import Problem
from hackkit.screens import deploy as screen
from hackkit.screens.deploy import show_outcome


def test_a_status_is_a_sentence_and_no_line_is_empty(capsys: pytest.CaptureFixture[str]) -> None:
    show_outcome(DeploymentStatus("there is no image app here", ok=False), as_json=False)
    assert capsys.readouterr().out == "There is no image app here\n"


def test_the_screen_shows_the_largest_files_and_says_how_to_see_all(
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = tuple(generated(f"{number}.txt", "x" * number) for number in range(20))
    show_outcome(Manifest("shelf", files), as_json=False)
    shown = capsys.readouterr().out
    assert "and 5 smaller ones (--json lists them)" in shown
    assert "19.txt" in shown


def test_brackets_in_a_question_are_shown_as_they_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with screen.waiting() as progress:
        progress("Asking [/what] is in [secret]?")
    assert "[/what] is in [secret]" in capsys.readouterr().err


def test_the_keys_of_the_json_documents_stay(capsys: pytest.CaptureFixture[str]) -> None:
    problem = Problem("It is too large.", "git rm --cached -- film.mp4")
    manifest = Manifest("shelf", (), problems=(problem,))
    outcomes: list[tuple[Any, dict[str, object]]] = [
        (manifest, {"objections": [{"words": problem.problem, "fix": problem.fix}]}),
        (DeploymentStatus("up", "https://a.example"), {"words": "up", "well": True}),
        (Message("Removed: the app."), {"words": "Removed: the app.", "well": True}),
        (
            Published(manifest, Deployment(), "What?", "", problem),
            {"asked": "What?", "doubt": problem.problem, "fix": problem.fix},
        ),
    ]
    for outcome, expected in outcomes:
        show_outcome(outcome, as_json=True)
        assert expected.items() <= json.loads(capsys.readouterr().out).items()
