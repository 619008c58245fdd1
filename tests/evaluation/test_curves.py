from evaluation.bootstrap import Estimate, Sample
from evaluation.curves import first_fall
from evaluation.mixture import Shape, shape


def shares(*percent: int) -> list[Sample]:
    return [Sample([1.0] * each + [0.0] * (100 - each), range(100)) for each in percent]


def rewards(*means: float | None) -> list[Estimate | None]:
    return [None if mean is None else Estimate(mean, mean, mean) for mean in means]


def test_too_much_is_where_the_rule_falls_while_the_reward_rises() -> None:
    assert first_fall(shares(40, 70, 95, 94, 60), rewards(None, 1.0, 2.0, 3.0, 4.0)) == 4


def test_a_fall_within_chance_is_none() -> None:
    assert first_fall(shares(40, 95, 95, 95), rewards(None, 1.0, 2.0, 3.0)) is None


def test_a_fall_of_the_reward_too_is_not_too_much_of_it() -> None:
    assert first_fall(shares(40, 95, 50), rewards(None, 2.0, 1.0)) is None


def test_a_base_that_nothing_guides_may_be_the_peak() -> None:
    assert first_fall(shares(95, 50), rewards(None, 1.0)) == 1


def test_a_curve_is_monotone_within_the_noise_or_not_at_all() -> None:
    assert shape(shares(0, 20, 20, 90)) is Shape.MONOTONE
    assert shape([*shares(0, 20), Sample([0.0] * 82 + [1.0] * 18, range(100, 200)), *shares(90)]) is Shape.WITHIN_NOISE
    assert shape(shares(0, 60, 20, 90)) is Shape.NOT_MONOTONE
