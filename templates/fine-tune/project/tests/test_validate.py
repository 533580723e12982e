"""The survey of data files: figures, and problems between examples."""

import json
from pathlib import Path

import pytest

from tune import screen
from tune.validate import Survey, survey

LENGTH = 2048


def write(path: Path, *rows: object) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def pair(prompt: str, completion: str) -> dict[str, str]:
    return {"prompt": prompt, "completion": completion}


def pairs(count: int) -> list[dict[str, str]]:
    return [pair(f"question {at}", f"answer {at}") for at in range(count)]


def lines(found: Survey, kind: str) -> list[int]:
    return [
        each.line for finding in found.findings if finding.kind == kind for each in finding.shown
    ]


def test_good_examples_have_no_findings(tmp_path: Path) -> None:
    assert survey([write(tmp_path / "train.jsonl", *pairs(60))], LENGTH).findings == ()


@pytest.mark.parametrize(
    "again", ["Question 1", " question  1 ", "QUESTION 1", "Question: 1?", "“question” 1…"]
)
def test_an_example_that_is_there_twice_is_a_warning(tmp_path: Path, again: str) -> None:
    file = write(tmp_path / "train.jsonl", *pairs(60), pair(again, "Answer 1"))
    found = survey([file], LENGTH)
    assert (lines(found, "duplicate"), found.errors) == ([61], 0)


def test_one_question_with_two_answers_is_a_warning(tmp_path: Path) -> None:
    file = write(tmp_path / "train.jsonl", *pairs(60), pair("question 1", "something else"))
    found = survey([file], LENGTH)
    assert lines(found, "contradiction") == [61]
    assert "line 2" in found.findings[0].shown[0].text


@pytest.mark.parametrize(
    ("one", "two"), [("1 + 2", "1 - 2"), ("C", "C++"), ("2.5", "25"), ("?", "!"), ("😀", "😡")]
)
def test_signs_that_change_the_meaning_are_not_ignored(tmp_path: Path, one: str, two: str) -> None:
    found = survey([write(tmp_path / "a.jsonl", pair(one, "a"), pair(two, "b"))], LENGTH)
    assert [each.kind for each in found.findings] == ["few"]


def test_a_question_in_two_files_is_an_error(tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", *pairs(60))
    test = write(
        tmp_path / "test.jsonl", *(pair(f"other {at}", "a") for at in range(9)), pairs(3)[2]
    )
    found = survey([train, test], LENGTH)
    (leak,) = next(each for each in found.findings if each.kind == "leak").shown
    assert (leak.line, leak.level) == (10, "error")
    assert "train.jsonl, line 3" in leak.text


def test_another_system_prompt_makes_another_question(tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", {**pair("hi", "a"), "system": "Be brief."})
    test = write(tmp_path / "test.jsonl", pair("hi", "a"))
    assert lines(survey([train, test], LENGTH), "leak") == []


def test_answers_that_are_nearly_all_the_same_are_a_warning(tmp_path: Path) -> None:
    rows = [pair(f"question {at}", "yes" if at else "no") for at in range(60)]
    found = survey([write(tmp_path / "train.jsonl", *rows)], LENGTH)
    assert "98%" in found.findings[0].shown[0].text


@pytest.mark.parametrize(("name", "rows"), [("train.jsonl", 49), ("test.jsonl", 19)])
def test_few_examples_are_a_warning(tmp_path: Path, name: str, rows: int) -> None:
    found = survey([write(tmp_path / name, *pairs(rows))], LENGTH)
    assert [each.kind for each in found.findings] == ["few"]
    assert survey([write(tmp_path / name, *pairs(rows + 1))], LENGTH).findings == ()


def test_a_file_without_a_good_example_is_an_error(tmp_path: Path) -> None:
    assert survey([write(tmp_path / "train.jsonl", "")], LENGTH).errors == 1


def test_all_problems_are_counted_and_the_first_are_shown(tmp_path: Path) -> None:
    file = write(tmp_path / "train.jsonl", *pairs(60), *("{" for _ in range(9)))
    (finding,) = survey([file], LENGTH, show=2).findings
    assert (finding.count, [each.line for each in finding.shown]) == (9, [61, 62])


def test_the_figures_count_examples_and_tokens(tmp_path: Path) -> None:
    system = {"role": "system", "content": "Be brief."}
    hi, hello = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
    lines = ({"messages": [hi, hello]}, {"messages": [system, hi, hello, hi, hello]}, "{")
    (figures,) = survey([write(tmp_path / "train.jsonl", *lines)], 15).files.values()
    assert (figures["examples"], figures["with_errors"], figures["with_tools"]) == (2, 1, 0)
    assert (figures["tokens"], figures["tokens_trained_on"]) == (6 + 16, 2 + 4)
    assert (figures["longest_example"], figures["longest_answer"]) == (16, 4)
    assert figures["too_long"] == 1


def test_a_question_within_a_conversation_is_a_leak_too(tmp_path: Path) -> None:
    said = [("user", "Hi there"), ("assistant", "Hello"), ("user", "Bye"), ("assistant", "Bye")]
    row = {"messages": [{"role": role, "content": text} for role, text in said]}
    train = write(tmp_path / "train.jsonl", *pairs(60), row)
    test = write(tmp_path / "test.jsonl", pair("hi there!", "Welcome"))
    (leak,) = [each for each in survey([train, test], LENGTH).findings if each.kind == "leak"]
    assert "train.jsonl, line 61" in leak.shown[0].text


def test_examples_that_are_too_long_are_named(tmp_path: Path) -> None:
    file = write(tmp_path / "train.jsonl", *pairs(60), pair("a " * 50, "b"))
    assert lines(survey([file], 40), "too-long") == [61]


def test_the_survey_is_json(tmp_path: Path) -> None:
    file = write(tmp_path / "train.jsonl", *pairs(3))
    found = json.loads(json.dumps(survey([file], LENGTH).as_dict()))
    assert found["files"][file.as_posix()]["examples"] == 3


def test_the_screen_shows_figures_and_problems_with_their_fix(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = {"messages": [{"role": "[red]x", "content": "a"}]}  # shown as it is, not as markup
    file = write(tmp_path / "train.jsonl", *pairs(60), "{", "{", wrong)
    screen.show_data(survey([file], LENGTH, show=1))
    shown = capsys.readouterr().out
    for text in ("examples", "line 61", "Fix: write each", "json (2)", "'[red]x'"):
        assert text in shown
