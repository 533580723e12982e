"""When a training is broken off because of its loss."""

import math
import random

import pytest

from tune.trainer import loss_problem

WORDS = 32_000  # of a vocabulary: a blind guess has a loss of 10.4


@pytest.mark.parametrize("before", [[], [2.0], [2.0, 1.5, 1.2, 0.9]])
def test_a_loss_that_is_nan_or_infinite_is_named_immediately(before: list[float]) -> None:
    assert loss_problem([*before, math.nan], WORDS, 40) == "The loss became NaN at step 40."
    assert loss_problem([*before, math.inf], WORDS, 40).startswith(
        "The loss exploded at step 40 (inf;"
    )


def test_a_loss_that_stays_high_has_exploded() -> None:
    losses = [2.0, 1.8, 7.0, 8.0, 9.5]
    assert loss_problem(losses, WORDS, 40) == "The loss exploded at step 40 (9.5; it began at 2)."


@pytest.mark.parametrize(
    "losses",
    [
        [2.0],
        [9.5, 9.5, 9.5],
        [2.0, 8.0, 9.0, 1.9],  # odd batches
        [2.0, 8.0, 9.0, 1.9, 8.0, 9.0],
        [2.0, 5.5, 5.5, 5.5],  # under three times the first
        [0.01, 0.9, 0.9, 0.9],  # far above the first, and still good
    ],
)
def test_a_loss_that_is_only_high_has_not_exploded(losses: list[float]) -> None:
    assert loss_problem(losses, WORDS, 40) == ""


@pytest.mark.parametrize("seed", range(20))
def test_a_noisy_training_is_not_stopped(seed: int) -> None:
    chance = random.Random(seed)
    losses: list[float] = []
    for step in range(300):  # it falls from 2.5 to 0.5; each batch is as much as 2.7 times off
        losses.append((0.5 + 2 * math.exp(-step / 60)) * math.exp(chance.uniform(-1, 1)))
        assert loss_problem(losses, WORDS, step) == ""


def test_a_model_that_starts_with_blind_guesses_is_not_stopped() -> None:
    words = 500
    assert loss_problem([math.log(words) + 0.1] * 50, words, 50) == ""
