import json
import tracemalloc
import unicodedata

import numpy as np
import pytest
from sacrebleu import corpus_bleu, sentence_chrf

from tune import metrics
from tune.metrics import Interval

WANTED = ["The lamp is on its way.", "We send you a new mug today.", "Your money comes back soon."]
GIVEN = ["The lamp is on the way.", "We send a mug.", "No idea at all, sorry."]


def mean(expected: str, answer: str, metric: str) -> float:
    scores = metrics.score([expected], [answer])
    return float(scores.rows[metric][0])


def means(expected: list[str], answers: list[str]) -> dict[str, float]:
    found = metrics.intervals(metrics.score(expected, answers))
    return {name: each.mean for name, each in found.items()}


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
    assert scores.rows["exact_match"][0] == scores.rows["json_shape"][0] == 0


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
        ("हिन्दी में लिखो", ["हिन्दी", "में", "लिखो"]),
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


def test_the_memory_of_rouge_does_not_grow_with_the_square_of_the_words() -> None:
    text = " ".join(map(str, range(4000)))
    metrics.words(text)
    tracemalloc.start()
    assert metrics.rouge_l(text, text) == 1
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 4e6  # a table of all pairs of words has 16 million cells


def test_rouge_keeps_words_with_accents_whole() -> None:
    assert mean("été", "etc", "rouge_l") == 0
    assert mean("la caméra", "la caméra", "rouge_l") == 100
    assert mean("лампа", "кружка", "rouge_l") == 0


def test_bleu_is_that_of_all_rows_together() -> None:
    assert means(WANTED, GIVEN)["bleu"] == pytest.approx(
        corpus_bleu(GIVEN, [WANTED]).score, abs=1e-3
    )


def test_chrf_is_the_mean_over_the_rows() -> None:
    theirs = [
        sentence_chrf(text, [wanted]).score for text, wanted in zip(GIVEN, WANTED, strict=True)
    ]
    assert means(WANTED, GIVEN)["chrf"] == pytest.approx(np.mean(theirs), abs=1e-3)


def test_equal_answers_get_full_marks_everywhere() -> None:
    found = means(WANTED, WANTED)
    comparing = ("exact_match", "token_f1", "rouge_l", "bleu", "chrf")  # yours may do without
    assert {found[name] for name in comparing} == {100}


def test_answers_without_a_word_can_be_equal() -> None:
    assert mean("{}", "{}", "rouge_l") == 100
    assert mean("{}", "a word", "rouge_l") == mean("a word", "{}", "rouge_l") == 0


def test_an_empty_answer_scores_0() -> None:
    assert set(means(WANTED, [""] * 3).values()) == {0}


# JSON


def test_json_is_looked_at_only_where_json_is_expected() -> None:
    assert "json_valid" not in metrics.score(WANTED, GIVEN).rows
    assert "json_valid" not in metrics.score(["1", "true"], ["1", "true"]).rows
    assert "json_valid" not in metrics.score(['{"a": 1}', "none"], ["", ""]).rows


@pytest.mark.parametrize(
    ("answer", "valid", "shape"),
    [
        ('{"team": "x", "n": 2.5, "tags": ["b"]}', 100, 100),
        ('{"team": "x", "n": "2", "tags": ["b"]}', 100, 0),
        ('{"team": "x", "n": true, "tags": ["b"]}', 100, 0),
        ('{"team": "x", "tags": ["b"]}', 100, 0),
        ('{"team": "x", "n": 1, "tags": ["b"], "more": 1}', 100, 0),
        ("team: x", 0, 0),
        ('"x"', 0, 0),
    ],
)
def test_json_needs_the_same_keys_and_types(answer: str, valid: float, shape: float) -> None:
    wanted = json.dumps({"team": "a", "n": 1, "tags": ["a", "b"]})
    assert mean(wanted, answer, "json_valid") == valid
    assert mean(wanted, answer, "json_shape") == shape


# How sure the figures are


def test_the_same_answers_give_the_same_intervals() -> None:
    first, second = (metrics.intervals(metrics.score(WANTED, GIVEN)) for _ in range(2))
    assert first == second


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


def test_a_difference_is_measured_row_by_row() -> None:
    expected = [f"answer {n}" for n in range(60)]
    base = [text if n % 2 else "" for n, text in enumerate(expected)]
    tuned = [text if n % 2 or n % 12 == 0 else "" for n, text in enumerate(expected)]
    ours, theirs = metrics.score(expected, tuned), metrics.score(expected, base)
    found = metrics.differences(ours, theirs)["exact_match"]
    each = metrics.intervals(ours)["exact_match"]
    assert found.mean == pytest.approx(100 * 5 / 60, abs=1e-3)
    assert found.low > 0
    assert found.high - found.low < each.high - each.low


def test_the_memory_of_an_interval_does_not_grow_with_the_rows() -> None:
    tracemalloc.start()
    found = metrics.interval([0.0, 100.0] * 5000)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 48 < found.low < 50 < found.high < 52
    assert most < 40e6


@pytest.mark.parametrize("rows", [6, 12, 20])
def test_few_rows_do_not_make_an_interval_too_sure(rows: int) -> None:
    chance = np.random.default_rng(2)
    found = [metrics.interval(chance.normal(50, 20, rows)) for _ in range(400)]
    held = np.mean([each.low <= 50 <= each.high for each in found])
    assert 0.925 < held < 0.975  # plain percentiles: 0.86, 0.91, 0.92


def test_rows_drawn_in_several_parts_are_those_drawn_together() -> None:
    rows = 3000  # several parts
    drawn = np.random.default_rng(metrics.SEED).multinomial(
        rows, [1 / rows] * rows, metrics.RESAMPLES
    )
    parts = list(metrics.resamples(rows))
    assert len(parts) > 1
    assert np.array_equal(np.concatenate(parts), drawn)


def test_nothing_is_ahead_of_itself() -> None:
    scores = metrics.score(WANTED, GIVEN)
    assert set(metrics.differences(scores, scores).values()) == {Interval(0, 0, 0)}


def test_the_first_rows_can_be_compared_alone() -> None:
    two = metrics.score(WANTED, GIVEN).first(2)
    assert metrics.intervals(two) == metrics.intervals(metrics.score(WANTED[:2], GIVEN[:2]))


def test_five_hundred_rows_are_measured_in_seconds() -> None:
    expected = [f"{text} {n}" for n in range(170) for text in WANTED]
    scores = metrics.score(expected, expected[::-1])
    assert len(scores.rows["rouge_l"]) == 510
    assert metrics.intervals(scores)["bleu"].low > 0
