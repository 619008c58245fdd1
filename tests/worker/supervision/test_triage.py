"""The item that kills the engine is found, and nobody else pays for it."""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from domain.attempts import Attempt, ClaimedItem
from worker.supervision.triage import Triage

JOB = uuid.uuid4()


def an_item(item_id: int) -> ClaimedItem:
    return ClaimedItem(item_id, JOB, 1, [], {}, {})


def decode_all(triage: Triage, poisoned: set[int], num_crashes_allowed: int) -> tuple[list[int], list[int]]:
    """Run an engine that dies whenever it holds a poisoned item; returns what was decoded and what was condemned."""
    decoded: list[int] = []
    condemned: list[int] = []
    while triage.num_items:
        batch = [item.item_id for item in triage.feed()]
        if poisoned.intersection(batch):
            num_crashes_allowed -= 1
            assert num_crashes_allowed >= 0, "more crashes than the halving needs"
            guilty = triage.crash()
            condemned += [guilty.item_id] if guilty else []
        else:
            triage.end(Attempt(item_id, 1) for item_id in batch)
            decoded += batch
    return decoded, condemned


@given(num_items=st.integers(1, 60), data=st.data())
def test_every_poisoned_item_is_found_and_every_other_is_decoded(num_items: int, data: st.DataObject) -> None:
    poisoned = data.draw(st.sets(st.integers(0, num_items - 1), max_size=4))
    triage = Triage()
    triage.add(an_item(item_id) for item_id in range(num_items))

    decoded, condemned = decode_all(triage, poisoned, num_crashes_allowed=10 * (len(poisoned) + 1))

    assert sorted(condemned) == sorted(poisoned)
    assert sorted(decoded) == sorted(set(range(num_items)) - poisoned)


def test_one_crash_alone_condemns_nobody() -> None:
    # A kill from outside looks the same as a poisoned item: only a repetition proves anything.
    triage = Triage()
    triage.add([an_item(1)])
    triage.feed()

    guilty = triage.crash()

    assert guilty is None
    assert [item.item_id for item in triage.feed()] == [1]


def test_while_suspects_are_on_trial_nobody_else_goes_in() -> None:
    triage = Triage()
    triage.add(an_item(item_id) for item_id in range(4))
    triage.feed()
    triage.crash()
    triage.add([an_item(99)])

    first_trial = triage.feed()

    assert [item.item_id for item in first_trial] == [0, 1]
    assert triage.feed() == []
    triage.end([Attempt(0, 1), Attempt(1, 1)])
    assert [item.item_id for item in triage.feed()] == [2, 3]
    triage.end([Attempt(2, 1), Attempt(3, 1)])
    assert [item.item_id for item in triage.feed()] == [99]


def test_an_item_that_was_taken_away_is_forgotten_wherever_it_is() -> None:
    triage = Triage()
    triage.add(an_item(item_id) for item_id in range(4))
    triage.feed()
    triage.crash()
    triage.add([an_item(9)])

    triage.end(Attempt(item_id, 1) for item_id in (0, 1, 2, 9))

    assert triage.attempts == {Attempt(3, 1)}
    assert triage.num_items == 1
