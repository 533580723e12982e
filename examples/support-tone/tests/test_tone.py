"""The rules of the tone, and the rows that teach it."""

import json
from pathlib import Path

import pytest

from tune import metrics, tone
from tune.settings import ROOT

GOOD = f"Your lamp is late. We call the courier today. Shall we write to you?\n{tone.SIGNATURE}"


def test_an_answer_in_our_tone_has_no_fault() -> None:
    assert tone.faults(GOOD) == []


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (GOOD.replace(tone.SIGNATURE, "Regards"), "it is not signed"),
        (GOOD.replace(" Shall we write to you?", ""), "it has 2 sentences, not 3"),
        (GOOD.replace("today.", "today!"), "it shouts"),
        (GOOD.replace("is late", "is unfortunately late"), 'it says "unfortunately"'),
    ],
)
def test_what_breaks_the_tone_is_named(answer: str, fault: str) -> None:
    assert tone.faults(answer) == [fault]


@pytest.mark.parametrize("name", ["train", "validation", "test"])
def test_every_row_teaches_the_tone(name: str) -> None:
    lines = Path(ROOT, "data", f"{name}.jsonl").read_text("utf-8").splitlines()
    answers = [json.loads(line)["messages"][-1]["content"] for line in lines]
    assert {answer: tone.faults(answer) for answer in answers if tone.faults(answer)} == {}


def test_the_evaluation_measures_the_tone() -> None:
    scores = metrics.score([GOOD, GOOD], [GOOD, "No!"])
    assert scores["in_tone"].tolist() == [100, 0]
