import time

import pytest

from tune import dataset, metrics, offline, prompts
from tune.dataset import Example, last_words
from tune.offline import Nearest
from tune.settings import SETTINGS


def row(question: str, answer: str = "", system: str = "") -> Example:
    before = [{"role": "system", "content": system}] if system else []
    said = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return Example((*before, *said))


PARCEL = row("My parcel was not delivered.", "delivery")
MONEY = row("You charged my card twice.", "billing")
LAMPE = row("La lampe est arrivée cassée.", "returns")


@pytest.mark.parametrize(
    ("question", "wanted"),
    [
        ("When is the delivery of my parcel?", PARCEL),
        ("Why did you charge me 2 times?", MONEY),
        ("ma LAMPE cassée", LAMPE),
    ],
)
def test_the_row_that_shares_the_rarest_ngrams_is_found(question: str, wanted: Example) -> None:
    assert Nearest([PARCEL, MONEY, LAMPE]).find(question) is wanted


@pytest.mark.parametrize("question", ["", "?!", "xyz"])
def test_without_a_shared_ngram_nothing_is_found(question: str) -> None:
    assert Nearest([PARCEL, MONEY]).find(question) is None
    assert Nearest([]).find(question) is None


def test_a_row_finds_itself() -> None:
    rows = dataset.load(SETTINGS.train)
    near = Nearest(rows)
    found = [near.find(last_words(each.question)) for each in rows]
    assert sum(a is not b for a, b in zip(found, rows, strict=True)) <= len(rows) // 50


def test_the_test_rows_are_answered_better_than_by_chance() -> None:
    train, test = dataset.load(SETTINGS.train), dataset.load(SETTINGS.test)
    near = Nearest(train)
    found = [(near.find(last_words(each.question)), each) for each in test]
    ours = [metrics.token_f1(b.answer, a.answer) for a, b in found if a is not None]
    chance = [metrics.token_f1(b.answer, a.answer) for a in train for b in test]
    assert sum(ours) / len(test) > 1.1 * sum(chance) / len(chance)


def test_many_rows_are_cut_short_and_searched_fast() -> None:
    many = Nearest(row(f"Parcel {n % 977}", "x") for n in range(offline.MOST + 9))
    assert len(many.rows) == offline.MOST
    start = time.thread_time()
    many.find("Where is parcel 5?")
    assert time.thread_time() - start < 1  # seconds of CPU; usual are 0.006


# Prompts


def test_the_system_message_comes_first_and_only_once() -> None:
    asked = [{"role": "user", "content": "Hi."}]
    assert prompts.with_system(asked, "") == asked
    [first, last] = prompts.with_system(asked, "Be kind.")
    assert (first, last) == ({"role": "system", "content": "Be kind."}, asked[0])
    assert prompts.with_system([first, last], "Be brief.") == [first, last]


def test_a_model_that_was_not_tuned_sees_each_answer_before_any_comes_twice() -> None:
    rows = [row(f"a{n}", "common") for n in range(50)] + [row("b", "rare"), row("c", "rarer")]
    answers = [each.answer for each in prompts.varied(rows, 4)]
    assert answers == ["common", "rare", "rarer", "common"]


def test_a_model_that_was_not_tuned_sees_examples_and_then_the_question() -> None:
    asked = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "And me?"}]
    sent = prompts.well_prompted(asked, [PARCEL, row("Hello", "hello", system="Be kind.")])
    assert [each["role"] for each in sent] == ["system", *["user", "assistant"] * 2, "user"]
    assert prompts.WELL_PROMPTED in sent[0]["content"]
    assert sent[0]["content"].endswith("Be kind.")
    assert sent[-1] == asked[-1]
