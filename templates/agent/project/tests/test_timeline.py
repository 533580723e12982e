import json
import time
from typing import Any

import pytest
from bs4 import BeautifulSoup, Tag

from agent.steps import Answer, Approval, Call, Decision, Notice, Result, Step, Task, Thought, Usage
from agent.timeline import SHOWN, counter, render

READ = Call("aaaaaaaaa", "read_file", {"path": "notes.md"})
READ_DONE = Result("aaaaaaaaa", "read_file", "Three lines.", True, 0.31)
ARGS = {"path": "report.md", "content": "# Report"}
WRITE = Approval("bbbbbbbbb", "write_file", ARGS)
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)><a href='javascript:alert(1)'>x</a>"


def rows(*steps: Step, live: bool = False) -> list[Tag]:
    return BeautifulSoup(render(steps, live), "lxml").select("ol.timeline > li")


def states(*steps: Step, live: bool = False) -> list[str]:
    return [state.text for row in rows(*steps, live=live) for state in row.select(".state")]


def folded(row: Tag) -> dict[str, str]:
    """The content of an expanded row: each text under its heading."""
    names = [name.text for name in row.select("details > small")]
    return dict(zip(names, (text.text for text in row.select("pre")), strict=True))


# Rows


def test_a_call_and_its_result_are_one_row() -> None:
    [row] = rows(READ, READ_DONE)
    assert row.b and row.b.text == "read_file"
    assert row.code and row.code.text == "notes.md"
    assert states(READ, READ_DONE) == ["done in 0.3 s"]
    assert json.loads(folded(row)["Arguments"]) == {"path": "notes.md"}
    assert folded(row)["Result"] == "Three lines."


def test_parallel_calls_are_matched_to_their_results_by_id() -> None:
    other = Call("ccccccccc", "today", {})
    steps = [READ, other, Result("ccccccccc", "today", "Monday", False, 2.0), READ_DONE]
    assert states(*steps) == ["done in 0.3 s", "failed after 2.0 s"]


def test_several_arguments_are_named_on_one_short_line() -> None:
    [row] = rows(Call("a", "write_file", {"path": "a.md", "content": "one\ntwo " * 100, "n": 3}))
    assert row.code and row.code.text.startswith("path: a.md, content: one two one two")
    assert row.code.text.endswith("…")
    assert len(row.code.text) < 130


def test_a_failure_shows_its_first_line_without_being_opened() -> None:
    failed = Result("aaaaaaaaa", "read_file", "There is no notes.md.\nTry list_files.", False, 0.02)
    [row] = rows(READ, failed)
    assert row.p and row.p.text == "There is no notes.md."
    assert states(READ, failed) == ["failed after 20 ms"]


def test_a_thought_shows_the_name_of_its_specialist() -> None:
    [row] = rows(Thought("I look at the logs.", "researcher"))
    assert [chip.text for chip in row.select(".agent")] == ["researcher"]
    assert row.text == "researcherI look at the logs."


def test_a_call_shows_the_name_of_its_specialist() -> None:
    [row] = rows(Call("a", "query", {}, "analyst"), Result("a", "query", "", True, 1, "analyst"))
    assert [chip.text for chip in row.select(".agent")] == ["analyst"]


def test_notices_are_shown_among_the_steps() -> None:
    assert [row["class"] for row in rows(READ, Notice("A limit was reached."))] == [
        ["call", "stopped"],
        ["notice"],
    ]


def test_without_steps_there_is_nothing() -> None:
    assert render([]) == render([Task("Hello"), Answer("Hi"), Usage(1)]) == ""


def test_tasks_separate_a_conversation() -> None:
    parted = rows(Task("First"), READ, READ_DONE, Answer("x"), Task("Second"), Thought("y"))
    assert [row["class"][0] for row in parted] == ["task", "call", "task", "thought"]


# The state of a call


def test_a_call_without_a_result_is_running_while_the_run_goes_on() -> None:
    assert states(READ, live=True) == ["running"]


def test_a_call_without_a_result_was_stopped_once_the_run_is_over() -> None:
    assert states(READ) == ["stopped"]


def test_a_call_of_an_earlier_task_is_not_running() -> None:
    steps = [Task("First"), READ, Answer("Stopped by you."), Task("Second")]
    assert states(*steps, live=True) == ["stopped"]


def test_between_two_calls_the_model_is_thinking() -> None:
    assert [row.text for row in rows(READ, READ_DONE, live=True)][1:] == ["Thinking"]
    assert len(rows(READ, live=True)) == len(rows(READ, READ_DONE)) == 1


def test_an_approval_waits_for_you() -> None:
    assert states(WRITE) == states(Call("bbbbbbbbb", "write_file", ARGS), WRITE, live=True)
    assert states(WRITE) == ["waits for you"]


@pytest.mark.parametrize("later", [Task("Something else"), Answer("Stopped by you.")])
def test_a_later_task_or_answer_cancels_an_approval(later: Step) -> None:
    assert states(WRITE, later) == ["not approved"]


def test_an_approved_call_says_so() -> None:
    done = Result("bbbbbbbbb", "write_file", "Written.", True, 0.5)
    [row] = rows(WRITE, Decision("bbbbbbbbb", "approve"), done)
    assert [mark.text for mark in row.select(".mark")] == ["approved"]
    assert states(WRITE, Decision("bbbbbbbbb", "approve"), done) == ["done in 0.5 s"]


def test_a_rejection_shows_its_reason() -> None:
    refused = Result("bbbbbbbbb", "write_file", "The person refused.", False, 0)
    for steps in ([WRITE], [WRITE, refused]):
        decided = [steps[0], Decision("bbbbbbbbb", "refuse", "Not on stage."), *steps[1:]]
        assert states(*decided) == ["rejected"]
        assert [p.text for row in rows(*decided) for p in row.select("p")] == ["“Not on stage.”"]


def test_edited_arguments_are_shown_beside_the_original_ones() -> None:
    changed = {"path": "june.md", "content": "# Report"}
    steps = [WRITE, Decision("bbbbbbbbb", "edit", args=changed)]
    [row] = rows(*steps, Call("bbbbbbbbb", "write_file", changed))  # it starts, as edited
    assert json.loads(folded(row)["Asked for"]) == ARGS
    assert json.loads(folded(row)["Changed to"]) == changed
    assert [mark.text for mark in row.select(".mark")] == ["edited"]
    assert row.code and row.code.text.startswith("path: june.md")


def test_a_repeated_id_is_another_call() -> None:
    assert states(READ, READ_DONE, READ, live=True) == ["done in 0.3 s", "running"]


def test_a_decision_about_an_unknown_call_breaks_nothing() -> None:
    assert states(Decision("zzzzzzzzz", "refuse", "No.")) == ["rejected"]


# Text is never markup


@pytest.mark.parametrize(
    "step",
    [
        Task(HOSTILE),
        Thought(HOSTILE, HOSTILE),
        Notice(HOSTILE),
        Call("a", HOSTILE, {HOSTILE: HOSTILE, "b": [HOSTILE]}, HOSTILE),
        Result("a", HOSTILE, HOSTILE, False, 1.0, HOSTILE),
        Approval("a", HOSTILE, {"a": HOSTILE}),
        Decision("a", "refuse", HOSTILE),
        Decision("a", "edit", "", {HOSTILE: HOSTILE}),
    ],
)
def test_text_is_never_markup(step: Step) -> None:
    html = render([Task("One"), step])
    assert "alert(1)" in html
    assert not BeautifulSoup(html, "lxml").select("script, img, a")


def test_invisible_characters_neither_break_the_page_nor_turn_its_text_around() -> None:
    text = "a\x00b\x1b[31mred\x1b[0m \ud800 \u202egnp.exe\u2066 \x07\r\nnext\ttab"
    html = render([READ, Result("aaaaaaaaa", "read_file", text, True, 0.1)])
    [row] = BeautifulSoup(html.encode().decode(), "lxml").select("li")
    assert folded(row)["Result"] == "a�bred � �gnp.exe� �\nnext\ttab"


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, b"\xff", "\ud800", [[]], None, [10**5000]])
def test_any_argument_can_be_shown(value: Any) -> None:
    [row] = rows(Call("a", "tool", {"value": value}))
    assert folded(row)["Arguments"].encode()


def test_arguments_nested_too_deeply_are_left_out() -> None:
    nested: list[Any] = []
    for _ in range(20_000):
        nested = [nested]
    [row] = rows(Call("a", "tool", {"value": nested}))
    assert folded(row)["Arguments"] == "(cannot be shown)"


def test_a_huge_result_is_cut_and_counted() -> None:
    [row] = rows(READ, Result("aaaaaaaaa", "read_file", "x" * (SHOWN + 12_345), True, 1))
    assert folded(row)["Result"] == "x" * SHOWN + "… 12,345 more characters"


def test_two_hundred_steps_take_no_time() -> None:
    steps: list[Step] = []
    for number in range(200):
        steps.append(Call(str(number), "read_file", {"path": "server.log", "lines": number}))
        steps.append(Result(str(number), "read_file", "<b>line</b>\n" * 100_000, True, 1))
    started = time.thread_time()
    render(steps)
    assert time.thread_time() - started < 1  # seconds of CPU; usual are 0.02


# The counter


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, ""),
        (Usage(4, 3.21, 1000, 204, 0.00034), "4 steps · 1,204 tokens · $0.0003 · 3.2 s"),
        (Usage(1, 0.04), "1 step · 40 ms"),
        (Usage(2, 59.97, 900, 100, None), "2 steps · 1,000 tokens · 1 min 0 s"),
        (Usage(2, 125, 9, 1, 0.00001), "2 steps · 10 tokens · under $0.0001 · 2 min 5 s"),
        (Usage(2, 1, 9, 1, 1.5), "2 steps · 10 tokens · $1.50 · 1.0 s"),
    ],
)
def test_the_counter_shows_the_usage(usage: Usage | None, expected: str) -> None:
    assert counter(usage) == expected
