"""Weights from preferences: the right maximum, hidden weights recovered, and nothing wild where little is known."""

import numpy as np
import pytest

from worker.learning.preference_fit import BETA, MAX_WEIGHT, Array, Fitted, fit_weights, gradient, log_posterior

PRIOR = np.array([1.0, 1.0, 1.0])
HIDDEN = np.array([2.2, 0.7, 0.1])
"""Sums up to what the prior does."""


def simulated_pairs(seed: int, num_pairs: int, weights: Array = HIDDEN) -> Array:
    """Differences of features in nats, as large as those of short texts, turned as a noisy user would choose."""
    rng = np.random.default_rng(seed)
    deltas = rng.normal(scale=15.0, size=(num_pairs, len(weights)))
    prefers_first = rng.random(num_pairs) < 1 / (1 + np.exp(-BETA * (deltas @ weights)))
    return np.where(prefers_first[:, None], deltas, -deltas)


def fitted(deltas: Array, prior: Array = PRIOR) -> Fitted:
    found = fit_weights(deltas, prior, total=prior.sum() or len(prior))
    assert found is not None
    return found


def test_the_gradient_is_that_of_the_log_posterior() -> None:
    deltas, weights = simulated_pairs(0, 12), np.array([0.3, 1.7, 0.9])
    step = 1e-5

    slopes = [
        (log_posterior(deltas, PRIOR, weights + move) - log_posterior(deltas, PRIOR, weights - move)) / (2 * step)
        for move in np.eye(3) * step
    ]

    assert gradient(deltas, PRIOR, weights) == pytest.approx(np.array(slopes), rel=1e-6, abs=1e-8)


def test_a_weight_at_its_most_leaves_what_is_left_to_the_others_in_proportion() -> None:
    rng = np.random.default_rng(3)
    num_full = 0
    for seed in range(200):
        num_principles = int(rng.integers(2, 7))
        prior = rng.uniform(0, MAX_WEIGHT, num_principles)
        deltas = rng.normal(scale=40.0, size=(8, num_principles)) + rng.normal(scale=60.0, size=num_principles)

        found = fit_weights(deltas, prior, total=float(prior.sum()))
        below = fit_weights(deltas, prior, total=1.0)

        if found is not None and below is not None:
            weights, proportions = np.array(found.weights), np.array(below.weights)
            reachable = MAX_WEIGHT * np.count_nonzero(weights)
            assert weights.min() >= 0, seed
            assert weights.max() <= MAX_WEIGHT, seed
            assert weights.sum() == pytest.approx(min(prior.sum(), reachable), rel=1e-12), seed
            scale = (weights / np.where(proportions > 0, proportions, np.inf)).max()
            assert weights == pytest.approx(np.minimum(proportions * scale, MAX_WEIGHT)), seed
            num_full += bool((weights == MAX_WEIGHT).any())
    assert num_full > 50


def test_no_other_weights_are_more_probable() -> None:
    rng = np.random.default_rng(1)
    for seed in range(20):
        deltas = simulated_pairs(seed, 15)
        best = np.array(fitted(deltas, PRIOR).weights)

        # Up to scale, which the sum of the prior fixes: look along the ray through the weights, too.
        reached = max(log_posterior(deltas, PRIOR, best * scale) for scale in np.linspace(0.1, 4, 400))
        others = rng.uniform(0, 4, size=(500, 3))
        assert max(log_posterior(deltas, PRIOR, other) for other in others) <= reached + 1e-4


def test_hidden_weights_are_recovered_the_better_the_more_pairs_there_are() -> None:
    errors = []
    for num_pairs in (5, 10, 20, 50, 100):
        found = [np.array(fitted(simulated_pairs(seed, num_pairs)).weights) for seed in range(60)]
        errors.append(float(np.mean([np.abs(weights - HIDDEN).mean() for weights in found])))

    knowing_nothing = np.abs(PRIOR - HIDDEN).mean()
    assert errors == sorted(errors, reverse=True)
    assert errors[0] < 0.8 * knowing_nothing
    assert errors[-1] < 0.35 * knowing_nothing


def test_the_uncertainty_covers_the_error_and_shrinks() -> None:
    inside, widths = [], []
    for num_pairs in (10, 100):
        fits = [fitted(simulated_pairs(seed, num_pairs)) for seed in range(60)]
        within = [np.abs(np.array(fit.weights) - HIDDEN) < 2 * np.array(fit.deviations) for fit in fits]
        inside.append(float(np.mean(within)))
        widths.append(float(np.mean([fit.deviations for fit in fits])))

    assert min(inside) > 0.8
    assert widths[1] < 0.7 * widths[0]


def test_the_order_of_the_pairs_does_not_matter() -> None:
    deltas = simulated_pairs(3, 25)

    assert fitted(deltas[::-1]).weights == pytest.approx(fitted(deltas).weights, abs=1e-7)


def test_pairs_that_say_nothing_leave_the_weights_as_they_are() -> None:
    found = fitted(np.zeros((8, 3)), np.array([2.0, 0.5, 0.0]))

    assert found.weights == pytest.approx((2.0, 0.5, 0.0))
    assert found.deviations == pytest.approx((1.0, 1.0, 1.0))


def test_a_user_who_never_wavers_gets_finite_weights() -> None:
    found = fitted(np.tile([[200.0, 0.0, -200.0]], (100, 1)))

    assert sum(found.weights) == pytest.approx(3.0)
    assert found.weights[0] > found.weights[1] > found.weights[2] >= 0
    assert found.agreement == 1.0


def test_no_weight_leaves_what_a_profile_takes() -> None:
    for seed in range(20):
        found = fitted(simulated_pairs(seed, 30, np.array([3.0, -2.0, 0.5])), np.array([9.0, 9.0, 9.0]))

        assert all(0 <= weight <= MAX_WEIGHT for weight in found.weights)


def test_pairs_against_every_principle_fit_nothing() -> None:
    assert fit_weights(np.tile([[-80.0, -90.0, -70.0]], (50, 1)), PRIOR, total=3.0) is None


def test_weights_and_their_deviations_are_scaled_to_the_sum_that_is_asked_for() -> None:
    deltas = simulated_pairs(4, 20)

    one, three = (fit_weights(deltas, PRIOR, total) for total in (1.0, 3.0))

    assert one is not None
    assert three is not None
    assert sum(one.weights) == pytest.approx(1.0)
    assert np.array(three.weights) == pytest.approx(3 * np.array(one.weights))
    assert np.array(three.deviations) == pytest.approx(3 * np.array(one.deviations))


def test_a_profile_whose_weights_are_all_zero_can_learn() -> None:
    found = fitted(simulated_pairs(5, 60), np.zeros(3))

    assert sum(found.weights) == pytest.approx(3.0)
    assert found.weights[0] == max(found.weights)


def test_where_next_to_nothing_is_left_of_the_weights_no_deviation_exceeds_their_range() -> None:
    against_all_but_a_little = np.array([[-400.0, 0.001, -400.0]] * 6)

    found = fitted(against_all_but_a_little, np.array([1.0, 1e-4, 1.0]))

    assert max(found.deviations) == MAX_WEIGHT
