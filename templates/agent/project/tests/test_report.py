import base64
import hashlib
import re
from datetime import datetime

import pytest
from bs4 import BeautifulSoup

from agent import prompts
from agent.report import prose, to_html
from agent.steps import Answer, Approval, Call, Notice, Result, Step, Task, Thought, Usage

MODEL = "mistral-small-latest"
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)> </style> [x](javascript:alert(1))"
RUN: list[Step] = [
    Task("Why does the checkout fail?", ("dashboard.png",)),
    Thought("I look at the logs."),
    Call("aaaaaaaaa", "read_file", {"path": "server.log"}),
    Result("aaaaaaaaa", "read_file", "ERROR timeout", True, 0.31),
    Usage(2, 3.0, 1000, 200, 0.0003),
    Answer("The pool is **too small**.", MODEL),
]


def page(*steps: Step, title: str = "The night") -> BeautifulSoup:
    return BeautifulSoup(to_html(title, steps), "lxml")


def texts(page: BeautifulSoup, selector: str) -> list[str]:
    return [found.text for found in page.select(selector)]


# Content


def test_the_head_shows_title_date_model_and_usage() -> None:
    report = page(*RUN)
    now = datetime.now()
    assert texts(report, "h1") == texts(report, "title") == ["The night"]
    [about] = texts(report, "#head p")
    assert f"{now:%B %Y}" in about
    assert about.endswith("2 steps · 1,200 tokens · $0.0003 · 3.0 s")
    assert texts(report, ".badge") == [MODEL]


def test_a_task_comes_with_its_files_its_timeline_and_its_answer() -> None:
    [section] = page(*RUN).select("section")
    inner = [found.get("class") or [found.name] for found in section.find_all(recursive=False)]
    assert inner == [["task"], ["timeline"], ["answer"], ["counter"]]
    assert section.h2 and section.h2.text == "Why does the checkout fail?"
    assert [file.text for file in section.select(".file")] == ["dashboard.png"]
    assert section.select_one(".answer b").text == "too small"  # type: ignore[union-attr]


def test_each_task_of_a_conversation_has_its_own_section() -> None:
    more: list[Step] = [Task("And now?"), Usage(1, 1.0, 100, 0, 0.0001), Answer("Now.", MODEL)]
    report = page(*RUN, *more)
    assert texts(report, "h2") == ["Why does the checkout fail?", "And now?"]
    assert texts(report, ".counter")[1] == "1 step · 100 tokens · $0.0001 · 1.0 s"
    assert "3 steps · 1,300 tokens · $0.0004 · 4.0 s" in texts(report, "#head p")[0]


def test_the_cost_is_left_out_when_it_is_not_known_of_every_task() -> None:
    report = page(*RUN, Task("And now?"), Usage(1, 1.0, 100, 0, None))
    assert texts(report, "#head p")[0].endswith("3 steps · 1,300 tokens · 4.0 s")


def test_a_later_task_cancels_a_waiting_call() -> None:
    waits = Approval("bbbbbbbbb", "write_file", {})
    assert texts(page(Task("One"), waits), ".state") == ["waits for you"]
    assert texts(page(Task("One"), waits, Task("Two"), waits), ".state") == [
        "not approved",
        "waits for you",
    ]


@pytest.mark.parametrize(
    ("answers", "name", "offline"),
    [
        ([Answer("a", MODEL)], MODEL, False),
        ([Answer("a", prompts.OFFLINE)], prompts.OFFLINE, True),
        ([Answer("a", MODEL), Answer("b", prompts.OFFLINE, "The model is busy.")], None, True),
        ([Answer("Stopped by you.")], "Ended early", True),
        ([], "No answer yet", True),
    ],
)
def test_it_says_which_model_answered(answers: list[Step], name: str | None, offline: bool) -> None:
    report = page(Task("Why?"), *answers)
    assert texts(report, ".badge") == [name or f"{MODEL}, {prompts.OFFLINE}"]
    assert bool(report.select(".badge.off")) is offline


def test_an_offline_answer_says_why() -> None:
    report = page(Task("Why?"), Answer("Because", prompts.OFFLINE, "The model is busy."))
    assert texts(report, ".by") == ["The model is busy. Answered by the offline stand-in"]


def test_a_run_without_a_task_makes_a_page() -> None:
    assert texts(page(), ".badge") == ["No answer yet"]
    assert texts(page(Notice("Please type a task.")), ".notice") == ["Please type a task."]


# The page is self-contained and safe


def test_the_page_makes_no_request_and_runs_no_script() -> None:
    report = page(*RUN)
    assert not report.select("script, link, img, iframe, a, form, [src], [href], [style]")
    [style] = texts(report, "style")
    assert "url(" not in style and "@import" not in style


def test_the_security_policy_allows_this_style_and_nothing_else() -> None:
    report = page(*RUN)
    [policy] = report.select('meta[http-equiv="Content-Security-Policy"]')
    style = re.search("<style>(.*?)</style>", to_html("x", RUN), re.DOTALL)
    assert style
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy["content"] == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def test_text_is_never_markup() -> None:
    answer = f"- {HOSTILE}\n\n```html\n{HOSTILE}\n```\n`{HOSTILE}` **{HOSTILE}**"
    hostile: list[Step] = [
        Task(HOSTILE, (HOSTILE,)),
        Call("a", HOSTILE, {HOSTILE: HOSTILE}),
        Result("a", HOSTILE, HOSTILE, True, 1),
        Answer(answer, HOSTILE, HOSTILE),
    ]
    report = page(*hostile, title=HOSTILE)
    assert not report.select("script, img, a, iframe")
    assert len(report.select("style")) == 1


def test_half_characters_can_be_written() -> None:
    assert to_html("\ud800", [Task("\ud800"), Answer("\ud800 `\ud800`")]).encode()


# An answer's Markdown


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("One\ntwo\n\nthree", "<p>One<br>two</p><p>three</p>"),
        ("Found:\n- a\n* b", "<p>Found:</p><ul><li>a</li><li>b</li></ul>"),
        ("1. a\n2) b", "<ol><li>a</li><li>b</li></ol>"),
        ("## Result\ntext", "<h3>Result</h3><p>text</p>"),
        ("**bold** and `**code**`", "<p><b>bold</b> and <code>**code**</code></p>"),
        ("```sql\nSELECT 1 < 2\n```\nend", "<pre>SELECT 1 &lt; 2\n</pre><p>end</p>"),
        ("```\nopen", "<pre>open</pre>"),
        ("| a | b |\n|---|---|", "<pre>| a | b |\n|---|---|</pre>"),
        ("2 * 3 * 4, 5 ** 6 and -1", "<p>2 * 3 * 4, 5 ** 6 and -1</p>"),
        ("1,204 orders", "<p>1,204 orders</p>"),
        ("", ""),
    ],
)
def test_an_answer_keeps_its_paragraphs_lists_and_code(text: str, html: str) -> None:
    assert prose(text) == html
