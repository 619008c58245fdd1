"""Many tenants at the real claim statements, clock and decoding simulated (`bench.fairness`): a few small seeds."""

import pytest

from bench.fairness.__main__ import is_met
from bench.fairness.scenes import jain, judge, most_overtaken
from bench.fairness.world import JobLog, Submission, worlds


def test_small_tenants_hardly_notice_a_big_one_and_no_group_waits_beyond_its_linger() -> None:
    with worlds() as make:
        verdicts = [judge(make, seed, big_items=1500, small_items=10) for seed in range(2)]

    assert [verdict for verdict in verdicts if not is_met(verdict)] == []


def test_what_is_measured_notices_what_is_unfair() -> None:
    log = JobLog(Submission("a", 0.0, 4), 1, claims=[(0.0, position) for position in (1, 2, 3, 0)])

    assert jain([50.0] + 20 * [0.0]) == pytest.approx(1 / 21)
    assert most_overtaken(log) == 3
