"""Strengths that are matched at equal KL."""

import pytest

from evaluation.real.choice import Point, strength_at


def test_a_strength_that_was_measured_is_found_again() -> None:
    points = [Point(0.5, 0.1), Point(1.0, 0.3), Point(2.0, 0.8)]

    assert strength_at(points, 0.3) == pytest.approx(1.0)
    assert 1.0 < strength_at(points, 0.5) < 2.0


def test_small_strengths_follow_the_square_where_only_one_is_known() -> None:
    assert strength_at([Point(1.0, 0.4)], 0.1) == pytest.approx(0.5)


def test_beyond_what_was_measured_the_last_two_points_lead_and_a_limit_ends() -> None:
    points = [Point(0.5, 0.1), Point(1.0, 0.4)]

    assert strength_at(points, 1.6) == pytest.approx(2.0)
    assert strength_at(points, 0.025) == pytest.approx(0.25)
    assert strength_at(points, 1e6) == 10.0
