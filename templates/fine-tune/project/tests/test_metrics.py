import json
import unicodedata
from typing import NamedTuple

import numpy as np
import pytest

from tune import metrics

WANTED = ["The lamp is on its way.", "We send you a new mug today.", "Your money comes back soon."]
GIVEN = ["The lamp is on the way.", "We send a mug.", "No idea at all, sorry."]


def mean(expected: str, answer: str, metric: str) -> float:
    scores = metrics.score([expected], [answer])
    return float(scores[metric][0])


def means(expected: list[str], answers: list[str]) -> dict[str, float]:
    return {name: float(each.mean()) for name, each in metrics.score(expected, answers).items()}


# Exact match


def test_outer_space_does_not_matter() -> None:
    assert metrics.exact_match("refund", " refund\n") == 1


def test_space_between_words_counts_once() -> None:
    assert metrics.exact_match("card not\nworking", "card  not working") == 1


def test_accents_may_be_written_in_two_ways() -> None:
    assert metrics.exact_match("Gerät zurück", unicodedata.normalize("NFD", "Gerät zurück")) == 1


@pytest.mark.parametrize("answer", ["Refund", "refund.", "a refund", ""])
def test_another_text_does_not_match(answer: str) -> None:
    assert metrics.exact_match("refund", answer) == 0


def test_json_matches_by_value_whatever_its_layout() -> None:
    wanted = '{"team": "billing", "urgent": true}'
    assert metrics.exact_match(wanted, '{\n "urgent":true,"team":"billing"}') == 1


@pytest.mark.parametrize("value", ["1", '"true"', "false", "null"])
def test_json_of_another_type_does_not_match(value: str) -> None:
    assert metrics.exact_match('{"urgent": true}', f'{{"urgent": {value}}}') == 0


def test_json_in_a_code_fence_does_not_match() -> None:
    assert metrics.exact_match('{"a": 1}', '```json\n{"a": 1}\n```') == 0


@pytest.mark.parametrize("nonsense", ["[" * 100_000, "9" * 5000, "\ud800", "NaN", "{"])
def test_no_answer_is_too_odd_to_be_measured(nonsense: str) -> None:
    scores = metrics.score(['{"a": 1}'], [nonsense])
    assert scores["exact_match"][0] == scores["json_fields"][0] == 0


# Words


def test_word_f1_is_the_harmonic_mean_of_precision_and_recall() -> None:
    assert metrics.token_f1("the red lamp", "red lamp, blue lamp") == pytest.approx(4 / 7)


def test_word_f1_reads_every_script() -> None:
    assert metrics.token_f1("Où est ma lampe ?", "où EST mon colis") == pytest.approx(0.5)
    assert metrics.token_f1("где лампа", "Где лампа?") == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("灯坏了，请退款。", ["灯", "坏", "了", "请", "退", "款"]),
        ("USBケーブル 2本", ["usb", "ケ", "ー", "ブ", "ル", "2", "本"]),
        ("L'été, c'est fini!", ["l", "été", "c", "est", "fini"]),
        ("team_2: ok", ["team_2", "ok"]),
    ],
)
def test_words_are_those_of_their_script(text: str, words: list[str]) -> None:
    assert metrics.words(text) == words


def test_a_chinese_answer_that_is_nearly_right_is_nearly_right() -> None:
    wanted, given = "您的包裹明天会送到。", "您的包裹今天会送到。"
    assert metrics.token_f1(wanted, given) == pytest.approx(8 / 9)
    assert mean(wanted, given, "rouge_l") == pytest.approx(100 * 8 / 9)


def test_two_empty_answers_are_alike_and_one_is_not() -> None:
    assert metrics.token_f1("", "...") == 1
    assert metrics.token_f1("", "word") == metrics.token_f1("word", "") == 0


@pytest.mark.parametrize(
    ("wanted", "given", "value"),
    [
        ("The lamp is on its way.", "The lamp is on the way.", 5 / 6),
        ("We send you a new mug today.", "We send a mug.", 8 / 11),
        ("Your money comes back soon.", "No idea at all, sorry.", 0),
        ("a b c d", "d c b a", 1 / 4),
        ("a a a b", "a a", 2 / 3),
        ("Yes, yes: YES!", "yes", 1 / 2),
        ("the cat sat on the mat", "on the mat the cat sat", 1 / 2),
    ],
)
def test_rouge_is_what_the_package_rouge_score_says(wanted: str, given: str, value: float) -> None:
    assert metrics.rouge_l(wanted, given) == pytest.approx(value)


def test_rouge_keeps_words_with_accents_whole() -> None:
    assert mean("été", "etc", "rouge_l") == 0
    assert mean("la caméra", "la caméra", "rouge_l") == 100
    assert mean("лампа", "кружка", "rouge_l") == 0


def test_equal_answers_get_full_marks_everywhere() -> None:
    found = means(WANTED, WANTED)
    comparing = ("exact_match", "token_f1", "rouge_l")  # yours may do without
    assert {found[name] for name in comparing} == {100}


def test_answers_without_a_word_can_be_equal() -> None:
    assert mean("{}", "{}", "rouge_l") == 100
    assert mean("{}", "a word", "rouge_l") == mean("a word", "{}", "rouge_l") == 0


def test_an_empty_answer_scores_0() -> None:
    assert set(means(WANTED, [""] * 3).values()) == {0}


# JSON


def test_json_is_looked_at_only_where_json_is_expected() -> None:
    assert "json_valid" not in metrics.score(WANTED, GIVEN)
    assert "json_valid" not in metrics.score(["1", "true"], ["1", "true"])
    assert "json_valid" not in metrics.score(['{"a": 1}', "none"], ["", ""])


@pytest.mark.parametrize(
    ("answer", "valid", "fields"),
    [
        ('{"team": "x", "n": 1, "tags": ["a", "b"]}', 100, 75),
        ('{"team": "a", "n": 1, "tags": ["a", "b"], "more": 1}', 100, 100),
        ('{"team": "a", "n": true, "tags": []}', 100, 25),
        ("team: a", 0, 0),
        ('"a"', 0, 0),
    ],
)
def test_the_fields_of_json_are_counted(answer: str, valid: float, fields: float) -> None:
    wanted = json.dumps({"team": "a", "n": 1, "tags": ["a", "b"]})
    assert mean(wanted, answer, "json_valid") == valid
    assert mean(wanted, answer, "json_fields") == fields


def test_a_metric_of_your_own_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    short = metrics.Metric("Short", "% of short answers", lambda _, answer: len(answer) < 9)
    monkeypatch.setitem(metrics.METRICS, "short", short)
    assert metrics.score(WANTED, ["Yes.", *GIVEN[1:]])["short"].tolist() == [100, 0, 0]


# How sure the figures are


def test_more_rows_make_an_interval_narrower() -> None:
    few, many = (metrics.interval([0, 100] * times) for times in (10, 160))
    assert (many.high - many.low) == pytest.approx((few.high - few.low) / 4, rel=0.15)


def test_an_interval_holds_the_true_mean_in_most_of_many_trials() -> None:
    chance = np.random.default_rng(1)
    held = 0
    for _ in range(100):
        found = metrics.interval(100.0 * (chance.random(60) < 0.7))
        held += found.low <= 70 <= found.high
    assert 88 <= held <= 99


class Judged(NamedTuple):
    word: str
    why: str
    notes: list[str]


def judged(base: list[bool], tuned: list[bool]) -> Judged:
    """The verdict on two systems, each right on the examples that are true."""
    old, new = 100 * np.array(base, dtype=float), 100 * np.array(tuned, dtype=float)
    why = metrics.sentence("exact_match", new, old)
    return Judged(metrics.decide(new - old), why, metrics.doubts(new - old))


# Better, worse, or no proof


def test_a_clear_gain_is_better_with_its_figures() -> None:
    found = judged([n < 2 for n in range(60)], [n < 55 for n in range(60)])
    assert found.word == "better"
    assert found.why.startswith("Better: 91.7 % exact match against 3.3 %, a gain of ")
    assert found.why.endswith(" points on 60 examples.")
    assert found.notes == []


def test_a_clear_loss_is_worse_with_its_figures() -> None:
    found = judged([n < 50 for n in range(60)], [n < 20 for n in range(60)])
    assert found.word == "worse"
    assert found.why.startswith("Worse: 33.3 % exact match against 83.3 %, a loss of ")
    assert "-" not in found.why and "−" not in found.why


def test_a_small_gain_is_no_proof_and_says_how_many_rows_would_be_one() -> None:
    found = judged([n % 2 == 0 for n in range(60)], [n % 2 == 0 or n < 3 for n in range(60)])
    assert found.word == "no proof"
    assert "it may be chance" in found.why
    [note] = found.notes
    assert note == "If 1.7 points are real, about 460 examples would show it."


def test_for_equal_models_more_rows_are_no_advice() -> None:
    found = judged([True] * 30 + [False] * 30, [False] * 30 + [True] * 30)
    assert found.word == "no proof"
    [note] = found.notes
    assert note.startswith("Both do equally well")


def test_few_rows_always_prove_little() -> None:
    found = judged([False] * 12, [True] * 12)
    assert found.word == "better"
    assert found.notes == ["12 examples prove little: add some."]


def test_so_few_rows_that_luck_could_win_them_all_prove_nothing() -> None:
    assert judged([False] * 5, [True] * 5).word == "no proof"
    assert judged([True] * 5, [False] * 5).word == "no proof"
    assert judged([False] * 6, [True] * 6).word == "better"


def test_so_few_differences_that_luck_could_make_them_all_prove_nothing() -> None:
    found = judged([n >= 5 for n in range(60)], [True] * 60)
    assert found.word == "no proof"
    assert found.why.endswith("it may be chance.")
    assert judged([n >= 6 for n in range(60)], [True] * 60).word == "better"


def test_one_row_has_no_plural() -> None:
    found = judged([False], [True])
    assert "on 1 example:" in found.why
    assert found.notes[0].startswith("1 example proves little")


def test_a_verdict_names_a_metric_of_words() -> None:
    expected = [f"The lamp number {n} is on its way to you." for n in range(30)]
    base = metrics.score(expected, ["No idea."] * 30)["rouge_l"]
    tuned = metrics.score(expected, [text.replace("lamp", "mug") for text in expected])["rouge_l"]
    found = metrics.sentence("rouge_l", tuned, base)
    assert found == "Better: ROUGE-L 90 against 0, a gain of 90 points on 30 examples."


# Which metric decides


@pytest.mark.parametrize(
    ("expected", "metric", "because"),
    [
        (['{"team": "x"}', "[1]"], "exact_match", "JSON"),
        (["card_lost", "top up failed"], "exact_match", "short"),
        (["We are sorry about that, and send a new one."] * 3, "rouge_l", "sentences"),
        (
            ["yes"] * 9 + ["Yes, but only on the second day after the order."],
            "exact_match",
            "short",
        ),
        (["您的包裹明天会送到，请您在家等候。"], "rouge_l", "sentences"),
        (["yes"] * 8 + ["Yes, but only on the second day after the order."] * 2, "rouge_l", "sent"),
    ],
)
def test_what_is_expected_decides_which_metric_decides(
    expected: list[str], metric: str, because: str
) -> None:
    name, why = metrics.headline(expected)
    assert name == metric
    assert because in why


# Figures as people read them


@pytest.mark.parametrize(
    ("value", "shown"), [(92, "92"), (91.666, "91.7"), (0, "0"), (99.96, "100"), (0.04, "0")]
)
def test_a_figure_has_no_trailing_zero(value: float, shown: str) -> None:
    assert metrics.points(value) == shown


def test_points_ahead_and_behind_have_a_sign_and_none_have_no_sign() -> None:
    shown = [metrics.signed(value) for value in (4.0, -2.55, 0.0, -0.01)]
    assert shown == ["+4", "−2.5", "0", "0"]
