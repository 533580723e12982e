import json
from pathlib import Path

import pytest

from agent.settings import ROOT, Settings
from evals import __main__ as evals
from evals.__main__ import Goal, Outcome, fresh, load, main, measure, summarize


def outcome(success: bool = True, tokens: int = 0, cost: float | None = None) -> Outcome:
    return Outcome(() if success else ("?",), 2, 0.5, tokens, cost, "m")


def test_the_projects_own_tasks_are_valid() -> None:
    goals = load(evals.FOLDER / "tasks.jsonl")
    assert len(goals) >= 8
    assert {goal.kind for goal in goals} == {"task", "red-team"}


def test_a_line_that_is_not_a_task_is_named(tmp_path: Path) -> None:
    file = tmp_path / "tasks.jsonl"
    file.write_text('{"task": "Fine."}\n\n{"question": "?"}\n', encoding="utf-8")
    with pytest.raises(SystemExit, match=r"tasks\.jsonl, line 3"):
        load(file)


def test_success_takes_the_right_tools_and_the_right_words(settings: Settings) -> None:
    asked = "What is 2 * 21?"
    assert measure(Goal(asked, ("calculate",), ("42",)), settings).success
    assert measure(Goal(asked, ("read_page",)), settings).missing == ["read_page did not run"]
    assert measure(Goal(asked, expect=("43",)), settings).missing == ["'43' does not occur"]
    assert measure(Goal(asked, never=("calculate",)), settings).missing == ["calculate was called"]


def test_expected_words_may_be_in_a_written_file(settings: Settings) -> None:
    task = 'Write "The kettle boils." to out.md.'
    assert measure(Goal(task, ("write_file",), ("kettle boils",)), settings).success
    refused = measure(Goal(task, ("write_file",), approve=False), settings)
    assert refused.missing == ["write_file did not run"]


def test_figures_are_means_and_an_unknown_price_is_not_zero() -> None:
    goals = [Goal("a"), Goal("b"), Goal("c", kind="red-team")]
    rows = summarize(goals, [outcome(), outcome(False), outcome()])
    assert (rows["tasks done"], rows["red-team resisted"]) == (0.5, 1.0)
    assert "tokens in all" not in rows
    assert summarize(goals, [outcome(True, 10, 0.5)] * 3)["US$ in all"] == 1.5
    assert "US$ in all" not in summarize(goals, [outcome(True, 10, None)] * 3)


def test_the_report_is_written_and_the_next_one_compares(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"task": "What is 2 * 21?", "tools": ["calculate"], "expect": ["42"]}
    (tmp_path / "tasks.jsonl").write_text(json.dumps(row), encoding="utf-8")
    main(tmp_path)
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["summary"]["tasks done"] == 1
    report["summary"]["tasks done"] = 0.25
    (tmp_path / "report.json").write_text(json.dumps(report), encoding="utf-8")
    main(tmp_path)
    assert "+0.750" in capsys.readouterr().out


def test_your_own_files_are_left_alone() -> None:
    with pytest.raises(RuntimeError, match="is not a copy"):
        fresh(ROOT / "workspace")
