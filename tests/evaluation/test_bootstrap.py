import math

import numpy as np
import pytest

from evaluation.bootstrap import Estimate, Sample, difference, mean, ratio


def test_the_interval_of_a_share_is_the_known_one() -> None:
    values = [1.0] * 30 + [0.0] * 70

    estimate = mean(Sample(values, range(100)))

    error = math.sqrt(0.3 * 0.7 / 100)
    assert estimate.mean == pytest.approx(0.3)
    assert estimate.low == pytest.approx(0.3 - 1.96 * error, abs=0.012)
    assert estimate.high == pytest.approx(0.3 + 1.96 * error, abs=0.012)


def test_texts_of_one_prompt_count_as_one_draw() -> None:
    values = [1.0] * 30 + [0.0] * 70

    alone = mean(Sample(values, range(100)))
    kin = mean(Sample(values * 4, [*range(100)] * 4))

    assert kin.high - kin.low == pytest.approx(alone.high - alone.low, rel=0.1)


def test_equal_values_leave_no_doubt() -> None:
    estimate = mean(Sample([1.0] * 10, range(10)))

    assert (estimate.mean, estimate.low, estimate.high) == (1.0, 1.0, 1.0)


def test_larger_texts_count_more() -> None:
    assert mean(Sample([1.0, 4.0], [0, 1], sizes=[3.0, 1.0])).mean == pytest.approx(1.75)


def test_a_paired_difference_is_surer_than_two_intervals() -> None:
    rng = np.random.default_rng(0)
    hard = rng.normal(size=200)
    prompts = range(200)

    gain = difference(Sample((hard + 0.1).tolist(), prompts), Sample(hard.tolist(), prompts))

    assert gain.low == pytest.approx(0.1)
    assert gain.is_above_zero
    assert not gain.is_below_zero


def test_a_difference_of_nothing_is_not_beyond_chance() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.integers(0, 2, size=(2, 300)).astype(float)

    gain = difference(Sample(one.tolist(), range(300)), Sample(other.tolist(), range(300, 600)))

    assert not gain.is_above_zero
    assert not gain.is_below_zero


def test_the_same_sample_gives_the_same_interval_again() -> None:
    sample = Sample([0.0, 1.0, 1.0, 0.0, 1.0], range(5))

    assert mean(sample) == mean(sample)


def test_a_ratio_of_means_is_drawn_by_prompt() -> None:
    values = [1.0, 3.0] * 50

    doubled = ratio(Sample([2 * value for value in values], range(100)), Sample(values, range(100)))
    apart = ratio(Sample([2 * value for value in values], range(100)), Sample(values, range(100, 200)))

    assert [doubled.mean, doubled.low, doubled.high] == pytest.approx([2.0] * 3)
    assert apart.mean == pytest.approx(2.0)
    assert apart.low < 1.9
    assert apart.high > 2.1


def test_a_ratio_to_nothing_is_1_or_endless() -> None:
    nothing, something = Sample([0.0, 0.0], [1, 2]), Sample([0.0, 1.0], [1, 2])

    assert ratio(nothing, nothing) == Estimate(1.0, 1.0, 1.0)
    assert ratio(something, nothing).mean == math.inf
