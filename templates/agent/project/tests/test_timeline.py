import json
import time
from datetime import datetime
from typing import Any

import pytest
from bs4 import BeautifulSoup, Tag

from agent import prompts
from agent.events import (
    Answer,
    Approval,
    Call,
    Decision,
    Event,
    Notice,
    Result,
    Task,
    Thought,
    Usage,
)
from agent.timeline import SHOWN, counter, render, to_html

MODEL = "mistral-small-latest"
READ = Call("aaaaaaaaa", "read_file", {"path": "notes.md"})
READ_DONE = Result("aaaaaaaaa", "read_file", "Three lines.", True, 0.31)
ARGS = {"path": "report.md", "content": "# Report"}
WRITE = Approval("bbbbbbbbb", "write_file", ARGS)
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)><a href='javascript:alert(1)'>x</a>"


def rows(*events: Event, live: bool = False) -> list[Tag]:
    return BeautifulSoup(render(events, live), "lxml").select("ol.timeline > li")


def states(*events: Event, live: bool = False) -> list[str]:
    return [state.text for row in rows(*events, live=live) for state in row.select(".state")]


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


@pytest.mark.parametrize("event", [Thought("Hm.", "analyst"), Call("a", "query", {}, "analyst")])
def test_an_event_shows_the_name_of_its_specialist(event: Event) -> None:
    [row] = rows(event)
    assert [chip.text for chip in row.select(".agent")] == ["analyst"]


def test_tasks_and_notices_are_shown_among_the_calls() -> None:
    events = [Task("First"), READ, READ_DONE, Answer("x"), Task("Second"), Notice("y")]
    assert [row["class"][0] for row in rows(*events)] == ["task", "call", "task", "notice"]
    assert render([]) == render([Task("Hello"), Answer("Hi"), Usage(1)]) == ""


# The state of a call


@pytest.mark.parametrize(
    ("events", "live", "state"),
    [
        ([READ], True, "running"),
        ([READ], False, "stopped"),
        ([Task("First"), READ, Answer("Stopped."), Task("Second")], True, "stopped"),
        ([WRITE], False, "waits for you"),
        ([Call("bbbbbbbbb", "write_file", ARGS), WRITE], True, "waits for you"),
        ([WRITE, Task("Something else")], False, "not approved"),
        ([WRITE, Answer("Stopped by you.")], False, "not approved"),
        ([WRITE, Decision("bbbbbbbbb", "refuse", "No.")], False, "rejected"),
        ([Decision("zzzzzzzzz", "refuse", "No.")], False, "rejected"),
    ],
)
def test_a_call_shows_its_state(events: list[Event], live: bool, state: str) -> None:
    assert states(*events, live=live) == [state]


def test_between_two_calls_the_model_is_thinking() -> None:
    assert [row.text for row in rows(READ, READ_DONE, live=True)][1:] == ["Thinking"]
    assert len(rows(READ, live=True)) == len(rows(READ, READ_DONE)) == 1


def test_a_decision_is_marked_and_a_rejection_shows_its_reason() -> None:
    done = Result("bbbbbbbbb", "write_file", "Written.", True, 0.5)
    [row] = rows(WRITE, Decision("bbbbbbbbb", "approve"), done)
    assert [mark.text for mark in row.select(".mark")] == ["approved"]
    refused = Result("bbbbbbbbb", "write_file", "The person refused.", False, 0)
    [row] = rows(WRITE, Decision("bbbbbbbbb", "refuse", "Not on stage."), refused)
    assert [p.text for p in row.select("p")] == ["“Not on stage.”"]


def test_edited_arguments_are_shown_beside_the_original_ones() -> None:
    changed = {"path": "june.md", "content": "# Report"}
    events = [WRITE, Decision("bbbbbbbbb", "edit", args=changed)]
    [row] = rows(*events, Call("bbbbbbbbb", "write_file", changed))  # it starts, as edited
    assert json.loads(folded(row)["Asked for"]) == ARGS
    assert json.loads(folded(row)["Changed to"]) == changed
    assert [mark.text for mark in row.select(".mark")] == ["edited"]
    assert row.code and row.code.text.startswith("path: june.md")


# Text is never markup


@pytest.mark.parametrize(
    "event",
    [
        Task(HOSTILE),
        Thought(HOSTILE, HOSTILE),
        Notice(HOSTILE),
        Call("a", HOSTILE, {HOSTILE: HOSTILE, "b": [HOSTILE]}, HOSTILE),
        Result("a", HOSTILE, HOSTILE, False, 1.0, HOSTILE),
        Decision("a", "refuse", HOSTILE),
        Decision("a", "edit", "", {HOSTILE: HOSTILE}),
    ],
)
def test_text_is_never_markup(event: Event) -> None:
    html = render([Task("One"), event])
    assert "alert(1)" in html
    assert not BeautifulSoup(html, "lxml").select("script, img, a")


def test_invisible_characters_neither_break_the_page_nor_turn_its_text_around() -> None:
    text = "a\x00b\x1b[31mred\x1b[0m \ud800 \u202egnp.exe\u2066 \x07\r\nnext\ttab"
    html = render([READ, Result("aaaaaaaaa", "read_file", text, True, 0.1)])
    [row] = BeautifulSoup(html.encode().decode(), "lxml").select("li")
    assert folded(row)["Result"] == "a�bred � �gnp.exe� �\nnext\ttab"


def nested(depth: int) -> list[Any]:
    return [nested(depth - 1)] if depth else []


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, b"\xff", "\ud800", None, nested(800)])
def test_any_argument_can_be_shown(value: Any) -> None:
    [row] = rows(Call("a", "tool", {"value": value}))
    assert folded(row)["Arguments"].encode()


def test_two_hundred_huge_results_are_cut_quickly() -> None:
    events: list[Event] = []
    for number in range(200):
        events.append(Call(str(number), "read_file", {"path": "server.log", "lines": number}))
        events.append(Result(str(number), "read_file", "x" * 1_204_000, True, 1))
    started = time.thread_time()
    html = render(events)
    assert time.thread_time() - started < 1  # seconds of CPU; usual are 0.02
    assert html.count("x" * SHOWN + "<i>… 1,200,000 more characters") == 200


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, ""),
        (Usage(4, 3.21, 1000, 204, 0.00034), "4 steps · 1,204 tokens · $0.0003 · 3.2 s"),
        (Usage(1, 0.04), "1 step · 40 ms"),
        (Usage(2, 59.97, 900, 100, None), "2 steps · 1,000 tokens · 1 min 0 s"),
    ],
)
def test_the_counter_shows_the_usage(usage: Usage | None, expected: str) -> None:
    assert counter(usage) == expected


# The report

RUN: list[Event] = [
    Task("Why does the checkout fail?", ("dashboard.png",)),
    READ,
    READ_DONE,
    Usage(2, 3.0, 1000, 200, 0.0003),
    Answer("The pool is **too small**.", MODEL),
]


def page(*events: Event, title: str = "The night") -> BeautifulSoup:
    return BeautifulSoup(to_html(title, events), "lxml")


def texts(page: BeautifulSoup, selector: str) -> list[str]:
    return [found.text for found in page.select(selector)]


def test_a_task_comes_with_its_files_its_timeline_its_answer_and_its_usage() -> None:
    report = page(*RUN)
    assert texts(report, "h1") == texts(report, "title") == ["The night"]
    assert f"{datetime.now():%B %Y}" in texts(report, "#head p")[0]
    assert texts(report, ".badge") == [MODEL]
    [section] = report.select("section")
    inner = [found.get("class") or [found.name] for found in section.find_all(recursive=False)]
    assert inner == [["task"], ["timeline"], ["answer"], ["counter"]]
    assert section.h2 and section.h2.text == "Why does the checkout fail?"
    assert [file.text for file in section.select(".file")] == ["dashboard.png"]
    assert texts(report, ".answer strong") == ["too small"]
    assert texts(report, ".counter") == ["2 steps · 1,200 tokens · $0.0003 · 3.0 s"]


def test_each_task_has_its_section_and_cancels_the_calls_that_waited() -> None:
    report = page(Task("One"), WRITE, Task("Two"), WRITE)
    assert texts(report, "h2") == ["One", "Two"]
    assert texts(report, ".state") == ["not approved", "waits for you"]


@pytest.mark.parametrize(
    ("answers", "badge"),
    [
        ([Answer("a", prompts.OFFLINE)], prompts.OFFLINE),
        ([Answer("a", MODEL), Answer("b", prompts.OFFLINE, "Busy.")], f"{MODEL}, offline stand-in"),
        ([], "No answer yet"),
    ],
)
def test_it_says_when_no_model_answered(answers: list[Event], badge: str) -> None:
    assert texts(page(Task("Why?"), *answers), ".badge.off") == [badge]


def test_the_page_makes_no_request_and_runs_no_script() -> None:
    answer = f"- {HOSTILE}\n\n```html\n{HOSTILE}\n```\n`{HOSTILE}` [x](http://e.org) ![x](http://e)"
    hostile = [Task(HOSTILE, (HOSTILE,)), READ, Answer(answer + "\ud800", HOSTILE, HOSTILE)]
    report = page(*hostile, title=HOSTILE)
    assert not report.select("script, link, img, iframe, a, form, [src], [href], [style]")
    [style] = texts(report, "style")
    assert "url(" not in style and "@import" not in style
