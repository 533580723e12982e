import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tune import report
from tune.metrics import Interval
from tune.results import Evaluation, Sample, System
from tune.runs import Record, Run

HOSTILE = '<script>alert(1)</script><img src=x onerror=alert(1)>" onload="alert(1)'
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
TRAINED_WITH = {"rank": 16, "learning_rate": 0.0002, "epochs": 3, "batch_size": 4, "accumulate": 2}


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
    return System(label, 4, {"exact_match": each, "bleu": each}, Interval(0.25, 0.2, 0.3), each)


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
    differences={"exact_match": Interval(50, 20, 80), "bleu": Interval(-3, -9, 2)},
    settings={"test_file": "data/test.jsonl"},
    samples=(
        sample("red", "blue", line=1),
        sample("blue", "red", line=2),
        sample("blue", "blue", line=3),
        sample("red", "green", line=4),
    ),
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run(tmp_path / "run")
    data = {"train": {"file": "data/train.jsonl", "rows": 1300, "used": 1234}}
    run.write(Record("tiny", "lora", "done", TRAINED_WITH | {"processes": 2}, data, {"steps": 57}))
    return run


def page(of: Run, **changes: Any) -> Page:
    return Page(report.to_html(replace(FOUND, **changes), of))


# What it says


def test_the_verdict_is_on_top_with_its_reason(run: Run) -> None:
    text = page(run).text
    parts = [
        "2026-11-25-1432-tiny: base against tuned",
        "25 November 2026, 14:32 UTC · 4 rows · data/test.jsonl",
        "Better",
        "75 % exact match against 25 %, a gain of 20 to 80 points on 4 rows.",
        "Exact match decides: the expected answers are short.",
        "4 rows prove little.",
        "Figures",
        "Training",
        "Answers",
    ]
    places = [text.index(part) for part in parts[2:]]
    assert places == sorted(places)
    assert parts[0] in text and parts[1] in text


@pytest.mark.parametrize("verdict", ["better", "no proof", "worse"])
def test_each_verdict_has_its_colour(run: Run, verdict: str) -> None:
    assert len(page(run, verdict=verdict).all("section", verdict.replace(" ", "-"))) == 1


def test_a_proven_gain_is_green_and_others_are_not(run: Run) -> None:
    found = page(run)
    assert len(found.all("td", "good")) == 1
    assert found.all("td", "bad") == []
    assert "−3" in found.text and "−9 to +2" in found.text


def test_intervals_are_drawn_from_low_to_high(run: Run) -> None:
    drawn = page(run).all("path", "reach")
    assert [each["d"] for each in drawn[:2]] == ["M50 10H70", "M150 22H170"]


def test_a_third_system_has_its_own_column(run: Run) -> None:
    systems = {**FOUND.systems, "prompted": system("small, prompted", 60)}
    found = page(run, systems=systems)
    assert "small, prompted" in found.text
    assert len(found.all("path", "reach")) == 6


def test_the_record_of_the_run_shows_how_it_was_trained(run: Run) -> None:
    text = page(run).text
    for fact in (
        "Rank16",
        "Training rows1,234",
        "Rows per step16",
        "Learning rate0.0002",
        "Steps57",
    ):
        assert fact in text
    assert "Validation loss" not in text


def test_the_loss_plot_is_inside_the_page(run: Run) -> None:
    assert page(run).all("img") == []
    run.plot.write_bytes(PIXEL)
    [image] = page(run).all("img")
    kind, _, data = str(image["src"]).partition(",")
    assert (kind, base64.b64decode(data)) == ("data:image/png;base64", PIXEL)


# The answers side by side


def test_each_row_is_filed_under_its_outcome(run: Run) -> None:
    classes = [each["class"] for each in page(run).all("article")]
    assert classes == ["sample gained", "sample lost", "sample right", "sample wrong"]


def test_the_filters_count_their_rows(run: Run) -> None:
    text = page(run).text
    for filter_ in (
        "All4",
        "Tuned wrong2",
        "Base right, tuned wrong1",
        "Both wrong1",
        "Base wrong, tuned right1",
    ):
        assert filter_ in text


def test_every_filter_is_in_the_style_sheet(run: Run) -> None:
    style = report.STYLE.read_text("utf-8")
    names = [str(each["id"]) for each in page(run).all("input")]
    assert len(names) == 6
    assert all(f"#{name}:checked" in style for name in names if name != "show-all")


def test_answers_in_sentences_are_closer_or_farther(run: Run) -> None:
    near = replace(sample("a", "b"), scores={"base": 40.0, "tuned": 55.5})
    names = {"rouge_l": Interval(50, 40, 60)}
    systems = {name: replace(each, metrics=names) for name, each in FOUND.systems.items()}
    found = page(run, headline="rouge_l", samples=(near,), systems=systems, differences=names)
    assert "Tuned closer · line 1" in found.text
    assert "55.5" in found.text
    assert "Tuned wrong" not in found.text


def test_an_earlier_turn_is_shown_with_who_said_it(run: Run) -> None:
    question = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"})
    found = page(run, samples=(replace(FOUND.samples[0], question=question),))
    assert "system: Be brief." in found.text
    assert "user: Why?" not in found.text


def test_without_answers_there_is_no_empty_section(run: Run) -> None:
    assert "Answers" not in page(run, samples=()).text


def test_a_page_that_shows_some_rows_only_says_so(run: Run) -> None:
    assert "The first 4 of 10,000 rows." in page(run, rows=10_000).text
    assert "The first" not in page(run).text


def test_what_is_written_from_right_to_left_is_shown_so(run: Run) -> None:
    found = page(run, samples=(sample("أحمر", "أزرق", "أزرق"),))
    assert {each.get("dir") for each in [*found.all("pre"), *found.all("p", "ask")]} == {"auto"}


def test_seconds_say_how_they_were_measured(run: Run) -> None:
    systems = {**FOUND.systems, "prompted": system("small, prompted", 60)}
    assert "its share; prompted: one by one" in page(run, systems=systems).text
    assert "one by one" not in page(run).text


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


def test_nothing_that_a_model_or_a_person_wrote_is_live(run: Run) -> None:
    hostile = replace(
        sample(HOSTILE, f"blue {HOSTILE}", f"blue {HOSTILE}!"),
        question=({"role": HOSTILE, "content": HOSTILE}, {"role": "user", "content": HOSTILE}),
    )
    systems = {name: replace(each, label=HOSTILE) for name, each in FOUND.systems.items()}
    found = page(
        run,
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
    assert found.text.count("alert(1)") > 20


def test_the_page_asks_for_nothing_and_runs_nothing(run: Run) -> None:
    html = report.to_html(FOUND, run)
    assert "<script" not in html and "http:" not in html and "https:" not in html
    assert not re.search(r"(?:src|href|url)\s*[=(]\s*[\"']?(?!data:)\w", html)


def test_the_browser_is_allowed_this_style_sheet_alone(run: Run) -> None:
    html = report.to_html(FOUND, run)
    [style] = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    [policy] = [each for each in Page(html).all("meta") if each.get("http-equiv")]
    assert f"style-src 'sha256-{digest}'" in str(policy["content"])
    assert "default-src 'none'" in str(policy["content"])
    assert " style=" not in html


def test_the_page_is_well_formed(run: Run) -> None:
    assert page(run).open == []
