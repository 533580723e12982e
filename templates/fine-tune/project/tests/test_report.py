import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from tune import report
from tune.metrics import Interval
from tune.report import Evaluation, Sample, System

HOSTILE = '<script>alert(1)</script><img src=x onerror=alert(1)>" onload="alert(1)'


class Page(HTMLParser):
    """A page's elements as (name, attributes), its text, and the elements left open."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.open = "", list[str]()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in {"meta", "img", "input"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data if not self.open or self.open[-1] != "style" else ""

    def all(self, name: str, kind: str = "") -> list[dict[str, str | None]]:
        found = [attributes for tag, attributes in self.elements if tag == name]
        return [each for each in found if kind in (each.get("class") or "").split() or not kind]


def system(label: str, value: float) -> System:
    each = Interval(value, max(0, value - 5), min(100, value + 5))
    return System(label, 4, {"exact_match": each, "rouge_l": each}, Interval(0.25, 0.2, 0.3))


def sample(base: str, tuned: str, expected: str = "blue", line: int = 1) -> Sample:
    scores = {"base": 100.0 * (base == expected), "tuned": 100.0 * (tuned == expected)}
    question = ({"role": "user", "content": "Which colour?"},)
    return Sample(line, question, expected, {"base": base, "tuned": tuned}, scores)


FOUND = Evaluation(
    run="2026-11-25-1432-tiny",
    created="2026-11-25T14:32:00+00:00",
    rows=4,
    verdict="better",
    headline="exact_match",
    because="the expected answers are short",
    why="Better: 75 % exact match against 25 %, a gain of 20 to 80 points on 4 rows.",
    notes=("4 rows prove little.",),
    systems={"base": system("tiny", 25), "tuned": system("tiny, tuned", 75)},
    differences={"exact_match": Interval(50, 20, 80), "rouge_l": Interval(-3, -9, 2)},
    settings={"test_file": "data/test.jsonl"},
    samples=(
        sample("red", "blue", line=1),
        sample("blue", "red", line=2),
        sample("blue", "blue", line=3),
        sample("red", "green", line=4),
    ),
)


def page(**changes: Any) -> Page:
    return Page(report.to_html(replace(FOUND, **changes)))


# What it says


def test_the_verdict_is_on_top_with_its_reason() -> None:
    text = page().text
    parts = [
        "2026-11-25-1432-tiny: base against tuned",
        "Better",
        "75 % exact match against 25 %, a gain of 20 to 80 points on 4 rows.",
        "Exact match decides: the expected answers are short.",
        "4 rows prove little.",
        "Figures",
        "Answers",
        "25 November 2026, 14:32 UTC · 4 examples · data/test.jsonl",
    ]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


@pytest.mark.parametrize("verdict", ["better", "no proof", "worse"])
def test_each_verdict_has_its_colour(verdict: str) -> None:
    assert len(page(verdict=verdict).all("section", verdict.replace(" ", "-"))) == 1


def test_a_proven_gain_is_green_and_others_are_not() -> None:
    found = page()
    assert len(found.all("td", "good")) == 1
    assert found.all("td", "bad") == []
    assert "−3" in found.text and "−9 to +2" in found.text


def test_intervals_are_drawn_from_low_to_high() -> None:
    drawn = page().all("path", "reach")
    assert [each["d"] for each in drawn[:2]] == ["M50 10H70", "M150 22H170"]


def test_a_third_system_has_its_own_column() -> None:
    systems = {**FOUND.systems, "prompted": system("small, prompted", 60)}
    found = page(systems=systems)
    assert "small, prompted" in found.text
    assert len(found.all("path", "reach")) == 6


# The answers side by side


def test_each_answer_has_its_mark() -> None:
    marks = [str(each["aria-label"]) for each in page().all("b")]
    assert marks[:4] == ["base: differs", "tuned: right", "base: right", "tuned: differs"]


def test_answers_in_sentences_have_their_score() -> None:
    near = replace(sample("a", "b"), scores={"base": 40.0, "tuned": 55.5})
    names = {"rouge_l": Interval(50, 40, 60)}
    systems = {name: replace(each, metrics=names) for name, each in FOUND.systems.items()}
    found = page(headline="rouge_l", samples=(near,), systems=systems, differences=names)
    assert [each["aria-label"] for each in found.all("b")] == ["base: 40", "tuned: 55.5"]


def test_a_page_that_shows_some_examples_only_says_so() -> None:
    assert "the first 4 of 10,000" in page(rows=10_000).text
    assert "the first" not in page().text


# Differences


def test_what_differs_from_the_expected_answer_is_marked() -> None:
    marked = report.marked(
        '{"team": "billing", "urgent": true}', '{"team": "billing", "urgent": false}'
    )
    assert marked == (
        "{&quot;team&quot;: &quot;billing&quot;, &quot;urgent&quot;: <mark>false</mark>}"
    )


def test_an_answer_that_is_quite_different_is_not_marked_all_over() -> None:
    assert report.marked("billing", "I am sorry about that.") == "I am sorry about that."


def test_an_answer_as_expected_has_no_mark() -> None:
    assert report.marked("It is blue.", " It is blue.\n") == "It is blue."


def test_long_texts_are_not_compared_for_minutes() -> None:
    long = "so and so " * 10_000
    assert report.marked(long, "so and then so") == "so and then so"


def test_an_empty_answer_is_shown_as_one() -> None:
    assert report.marked("blue", " \n") == "<i>no answer</i>"


# What it must not do


def test_nothing_that_a_model_or_a_person_wrote_is_live() -> None:
    hostile = replace(
        sample(HOSTILE, f"blue {HOSTILE}", f"blue {HOSTILE}!"),
        question=({"role": HOSTILE, "content": HOSTILE}, {"role": "user", "content": HOSTILE}),
    )
    systems = {name: replace(each, label=HOSTILE) for name, each in FOUND.systems.items()}
    found = page(
        run=HOSTILE,
        why=HOSTILE,
        because=HOSTILE,
        notes=(HOSTILE,),
        systems=systems,
        samples=(hostile,),
        settings={"test_file": HOSTILE},
    )
    assert not found.all("script") and not found.all("img")
    assert not any(name.startswith("on") for _, attributes in found.elements for name in attributes)
    assert found.open == []
    assert found.text.count("alert(1)") > 10


def test_the_page_asks_for_nothing_and_runs_nothing() -> None:
    html = report.to_html(FOUND)
    assert "<script" not in html and "http:" not in html and "https:" not in html
    assert not re.search(r"(?:src|href|url)\s*[=(]\s*[\"']?(?!data:)\w", html)


def test_the_browser_is_allowed_this_style_sheet_alone() -> None:
    html = report.to_html(FOUND)
    [style] = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    [policy] = [each for each in Page(html).all("meta") if each.get("http-equiv")]
    assert f"style-src 'sha256-{digest}'" in str(policy["content"])
    assert "default-src 'none'" in str(policy["content"])
    assert " style=" not in html


def test_the_page_is_well_formed() -> None:
    assert page().open == []
