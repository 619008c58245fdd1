"""How many items a worker holds: by how long its engine takes for them."""

from dataclasses import dataclass

from worker.pipeline.pace import MOST_AHEAD, Pace


@dataclass
class Clock:
    seconds: float = 100.0

    def __call__(self) -> float:
        return self.seconds


def paced(clock: Clock, *, items_per_second: int, seconds: float = 2.0) -> Pace:
    pace = Pace(clock)
    for _ in range(round(seconds * 100)):
        clock.seconds += 0.01
        pace.finish(items_per_second // 100)
    return pace


def test_an_engine_that_has_ended_nothing_is_given_an_item_and_its_successor_for_each_slot() -> None:
    assert Pace(Clock()).wanted(num_slots=16, num_held=0) == 32


def test_a_slow_engine_is_given_no_more_than_that_whatever_its_slots_end_at_once() -> None:
    clock = Clock()
    pace = Pace(clock)

    for _ in range(10):
        clock.seconds += 2.0
        pace.finish(32)

        assert pace.wanted(num_slots=16, num_held=0) == 32


def test_a_fast_engine_is_given_what_it_ends_in_a_quarter_of_a_second() -> None:
    pace = paced(Clock(), items_per_second=2000)

    assert 490 <= pace.wanted(num_slots=16, num_held=0) <= 510


def test_however_fast_the_engine_the_items_ahead_are_bounded() -> None:
    pace = paced(Clock(), items_per_second=100_000)

    assert pace.wanted(num_slots=16, num_held=0) == MOST_AHEAD
    assert pace.wanted(num_slots=1000, num_held=0) == 2000


def test_what_was_ended_a_while_ago_says_nothing_of_now() -> None:
    clock = Clock()
    pace = paced(clock, items_per_second=2000)

    clock.seconds += 1.0

    assert pace.wanted(num_slots=16, num_held=0) == 32


def test_no_claim_is_made_for_a_few_items() -> None:
    pace = Pace(Clock())

    assert pace.wanted(num_slots=16, num_held=25) == 0
    assert pace.wanted(num_slots=16, num_held=24) == 8
    assert pace.wanted(num_slots=16, num_held=40) == 0
