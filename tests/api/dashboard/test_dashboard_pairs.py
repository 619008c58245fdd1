"""Which two texts a user is asked about: where the answer tells most about the weights."""

import math

import pytest

from api.dashboard import pair_choice
from api.dashboard.pair_choice import Weights, expected_information, most_informative
from worker.learning import preference_fit

UNKNOWN = Weights([1.0, 1.0], [1.0, 1.0])


def test_the_model_of_an_answer_is_the_one_that_weights_are_learnt_by() -> None:
    assert (pair_choice.BETA, pair_choice.PRIOR_DEVIATION) == (preference_fit.BETA, preference_fit.PRIOR_DEVIATION)


def test_texts_that_principles_hold_alike_tell_nothing_however_open_the_answer_is() -> None:
    assert expected_information([0.0, 0.0], UNKNOWN) == 0
    assert most_informative([[3.0, 1.0], [3.0, 1.0]], UNKNOWN) is None


def test_an_answer_that_is_sure_tells_little_and_so_does_one_about_weights_that_are_known() -> None:
    open_ = expected_information([20.0, -20.0], UNKNOWN)

    assert open_ > 4 * expected_information([40.0, 40.0], Weights([1.0, 1.0], [0.1, 0.1]))
    assert open_ > 20 * expected_information([20.0, -20.0], Weights([1.0, 1.0], [0.1, 0.1]))
    assert open_ < math.log(2)


def test_the_information_is_the_mutual_one_of_answer_and_weights() -> None:
    """Against a sum over a fine grid of both weights."""
    delta, weights = [12.0, -5.0], Weights([0.7, 1.5], [1.0, 0.4])
    grid = [-6 + 12 * index / 240 for index in range(241)]
    total = chance = spread = 0.0
    for x in grid:
        for y in grid:
            density = math.exp(-(x**2 + y**2) / 2)
            u = delta[0] * (0.7 + x) + delta[1] * (1.5 + 0.4 * y)
            p = 1 / (1 + math.exp(-0.1 * u))
            total += density
            chance += density * p
            spread += density * entropy(p)

    expected = entropy(chance / total) - spread / total

    assert expected_information(delta, weights) == pytest.approx(expected, rel=1e-3)


def entropy(p: float) -> float:
    return -(p * math.log(p) + (1 - p) * math.log(1 - p))


def test_the_pair_is_about_the_principle_that_is_least_known_and_none_is_asked_about_twice() -> None:
    features = [[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]]
    weights = Weights([1.0, 1.0], [0.05, 1.5])

    first = most_informative(features, weights)
    second = most_informative(features, weights, {frozenset((first.first, first.second))} if first else ())

    assert first is not None
    assert second is not None
    assert 2 in {first.first, first.second}
    assert {first.first, first.second} != {second.first, second.second}
    assert most_informative(features, weights, {frozenset(p) for p in ((0, 1), (0, 2), (1, 2))}) is None
