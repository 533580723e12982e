import numpy as np
import pytest

from tune import metrics, verdict
from tune.metrics import Interval
from tune.verdict import Verdict

EXPECTED = [f"label {n % 3}" for n in range(60)]


def judged(base: list[bool], tuned: list[bool]) -> Verdict:
    """The verdict on two systems, each right on the rows that are true."""
    expected = EXPECTED[: len(base)]
    systems = {
        name: metrics.score(
            expected, [text if ok else "?" for text, ok in zip(expected, right, strict=True)]
        )
        for name, right in (("base", base), ("tuned", tuned))
    }
    ahead = metrics.differences(systems["tuned"], systems["base"])["exact_match"]
    return verdict.judge("exact_match", systems, ahead)


# Better, worse, or no proof


def test_a_clear_gain_is_better_with_its_figures() -> None:
    found = judged([n < 2 for n in range(60)], [n < 55 for n in range(60)])
    assert found.word == "better"
    assert found.why.startswith("Better: 91.7 % exact match against 3.3 %, a gain of ")
    assert found.why.endswith(" points on 60 rows.")
    assert found.notes == ()


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
    assert note == "If the difference of 1.7 points is real, about 470 rows would show it."


def test_for_equal_models_more_rows_are_no_advice() -> None:
    found = judged([True] * 30 + [False] * 30, [False] * 30 + [True] * 30)
    assert found.word == "no proof"
    assert found.notes == (
        "Both do equally well on these rows: more rows of this kind will not change that.",
    )


def test_few_rows_always_prove_little() -> None:
    found = judged([False] * 12, [True] * 12)
    assert found.word == "better"
    assert found.notes == ("12 rows prove little: add test rows.",)


def test_so_few_rows_that_luck_could_win_them_all_prove_nothing() -> None:
    assert judged([False] * 5, [True] * 5).word == "no proof"
    assert judged([True] * 5, [False] * 5).word == "no proof"
    assert judged([False] * 6, [True] * 6).word == "better"


def test_so_few_differences_that_luck_could_make_them_all_prove_nothing() -> None:
    found = judged([n >= 5 for n in range(60)], [True] * 60)
    assert found.word == "no proof"
    assert found.why.endswith("it may be chance, as they differ on only 5 of them.")
    assert judged([n >= 6 for n in range(60)], [True] * 60).word == "better"


def test_one_row_has_no_plural() -> None:
    found = judged([False], [True])
    assert "on 1 row:" in found.why
    assert found.notes[0].startswith("1 row proves little")


def test_a_verdict_names_a_metric_of_words() -> None:
    expected = [f"The lamp number {n} is on its way to you." for n in range(30)]
    systems = {
        "base": metrics.score(expected, ["No idea."] * 30),
        "tuned": metrics.score(expected, [text.replace("lamp", "mug") for text in expected]),
    }
    ahead = metrics.differences(systems["tuned"], systems["base"])["rouge_l"]
    found = verdict.judge("rouge_l", systems, ahead)
    assert found.why == "Better: ROUGE-L 90 against 0, a gain of 90 points on 30 rows."


def test_an_interval_that_touches_zero_is_no_proof() -> None:
    assert verdict.decide(Interval(5, 0, 10), 60) == "no proof"
    assert verdict.decide(Interval(-5, -10, 0), 60) == "no proof"
    assert verdict.decide(Interval(5, 0.1, 10), 60) == "better"
    assert verdict.decide(Interval(-5, -10, -0.1), 60) == "worse"


def test_enough_rows_are_enough_in_four_of_five_cases() -> None:
    """Draw many test sets of that size, and count those in which the mean is surely above 0."""
    rows = verdict.needed(np.array([100.0, 100.0, -100.0] + [0.0] * 17))
    assert rows
    drawn = np.random.default_rng(2).choice([100, -100, 0], (2000, rows), p=[0.1, 0.05, 0.85])
    sure = drawn.mean(axis=1) > 1.96 * drawn.std(axis=1) / rows**0.5
    assert 0.75 <= sure.mean() <= 0.85


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
    name, why = verdict.headline(expected)
    assert name == metric
    assert because in why


# Figures as people read them


@pytest.mark.parametrize(
    ("value", "shown"), [(92, "92"), (91.666, "91.7"), (0, "0"), (99.96, "100"), (0.04, "0")]
)
def test_a_figure_has_no_trailing_zero(value: float, shown: str) -> None:
    assert verdict.points(value) == shown


def test_points_ahead_and_behind_have_a_sign_and_none_have_no_sign() -> None:
    shown = [verdict.signed(value) for value in (4.0, -2.55, 0.0, -0.01)]
    assert shown == ["+4", "−2.5", "0", "0"]


@pytest.mark.parametrize(("rows", "expected"), [(7, 7), (99, 99), (467, 470), (16_812, 17_000)])
def test_a_number_of_rows_is_rounded_up(rows: int, expected: int) -> None:
    assert verdict.rounded(rows) == expected
