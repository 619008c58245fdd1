"""A job ends once: when its last item has ended or when it is cancelled, whoever gets there first."""

import threading
import uuid
from collections.abc import Callable
from functools import partial

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import Job
from db.queries import claims
from db.queries.audit import violations
from db.queries.cancelling import ITEMS_PER_BATCH, cancel, follow, winding_up
from db.queries.jobs import Counts, find_job
from db.queries.results import ResultRow, read_results
from db.session import Database
from domain.attempts import ClaimedItem, Outcome
from domain.states import TERMINAL_ITEM_STATES, ItemState, JobState
from tests.builders import DIGEST, a_job, items_of, job_state, preference, states_of, wind_up

OWNER = uuid.UUID(int=1)
ROUNDS = 10


def claimed_job(database: Database, num_items: int) -> tuple[uuid.UUID, list[ClaimedItem]]:
    job_id = a_job(database, [preference("formal")] * num_items)
    with database.transaction() as session:
        return job_id, claims.claim(session, owner=OWNER, model_digest=DIGEST, limit=num_items, lease_seconds=60)


def save(session: Session, *items: ClaimedItem) -> set[uuid.UUID]:
    outcomes = [Outcome(item.item_id, item.attempt, text="text", finish_reason="stop") for item in items]
    return claims.save(session, owner=OWNER, outcomes=outcomes)


def is_saved(session: Session, item: ClaimedItem) -> bool:
    return bool(save(session, item))


def at_once(database: Database, *steps: Callable[[Session], bool]) -> list[bool]:
    """Each step in a transaction and a thread of its own, all started together."""
    barrier = threading.Barrier(len(steps))
    outcomes: list[bool] = []

    def work(step: Callable[[Session], bool]) -> None:
        barrier.wait()
        with database.transaction() as session:
            done = step(session)
        outcomes.append(done)

    threads = [threading.Thread(target=work, args=(step,)) for step in steps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def counts_of(database: Database, job_id: uuid.UUID) -> Counts:
    with database.reading() as session:
        tenant_id = session.scalars(select(Job.tenant_id).where(Job.id == job_id)).one()
        job = find_job(session, tenant_id=tenant_id, job_id=job_id)
    assert job is not None
    return job.counts


def assert_sound(database: Database) -> None:
    with database.reading() as session:
        assert violations(session) == {}


def test_a_job_with_open_items_is_not_completed(database: Database) -> None:
    job_id, items = claimed_job(database, 2)

    with database.transaction() as session:
        save(session, items[0])

    assert job_state(database, job_id) is JobState.RUNNING
    assert_sound(database)


def test_a_job_is_completed_in_the_transaction_that_saves_its_last_item(database: Database) -> None:
    job_id, items = claimed_job(database, 2)

    with database.transaction() as session:
        save(session, *items)
        state = session.scalars(select(Job.state).where(Job.id == job_id)).one()

    assert state is JobState.COMPLETED
    assert_sound(database)


def test_of_two_transactions_that_save_the_last_two_items_one_completes_the_job(database: Database) -> None:
    # Neither sees what the other saves before it commits; still one of them must notice that nothing is left.
    for _ in range(ROUNDS):
        job_id, items = claimed_job(database, 2)

        outcomes = at_once(database, *[partial(is_saved, item=item) for item in items])

        assert outcomes == [True, True]
        assert job_state(database, job_id) is JobState.COMPLETED
    assert_sound(database)


def test_a_cancel_and_a_save_of_the_last_item_end_the_job_once(database: Database) -> None:
    for _ in range(ROUNDS):
        job_id, (item,) = claimed_job(database, 1)

        outcomes = at_once(database, partial(is_saved, item=item), partial(cancel, job_id=job_id))
        assert_sound(database)
        wind_up(database, job_id)

        (ended,) = items_of(database, job_id)
        expected = {ItemState.SUCCEEDED: JobState.COMPLETED, ItemState.CANCELLED: JobState.CANCELLED}
        assert outcomes.count(True) == 1
        assert job_state(database, job_id) is expected[ended.state]
        assert_sound(database)


def test_of_two_cancels_one_ends_the_job_and_every_item_has_one_result(database: Database) -> None:
    job_id, _ = claimed_job(database, 40)

    outcomes = at_once(database, *[partial(cancel, job_id=job_id)] * 2)
    wind_up(database, job_id)

    assert sorted(outcomes) == [False, True]
    assert {(item.state, item.error_code) for item in items_of(database, job_id)} == {
        (ItemState.CANCELLED, "cancelled")
    }
    assert_sound(database)


def test_a_cancel_touches_no_item_and_its_job_has_ended_all_the_same(database: Database) -> None:
    job_id, items = claimed_job(database, 3)
    with database.transaction() as session:
        save(session, items[0])
        cancel(session, job_id)

    assert counts_of(database, job_id) == Counts(0, 0, 1, 0, 2, 3)
    assert states_of(database, job_id) == [ItemState.SUCCEEDED, ItemState.RUNNING, ItemState.RUNNING]
    assert_sound(database)


def test_what_still_has_to_follow_a_cancel_is_read_as_cancelled(database: Database) -> None:
    job_id, items = claimed_job(database, 3)
    with database.transaction() as session:
        save(session, items[0])
        cancel(session, job_id)

    before = results_of(database, job_id)
    wind_up(database, job_id)
    after = results_of(database, job_id)

    assert [row.state for row in before] == [ItemState.SUCCEEDED, ItemState.CANCELLED, ItemState.CANCELLED]
    assert [row.error_code for row in before] == [None, "cancelled", "cancelled"]
    assert before == after
    assert results_of(database, job_id, ItemState.CANCELLED) == after[1:]


def results_of(database: Database, job_id: uuid.UUID, *states: ItemState) -> list[ResultRow]:
    with database.reading() as session:
        wanted = states or TERMINAL_ITEM_STATES
        return read_results(session, job_id=job_id, positions=range(100), states=wanted)


def test_an_item_of_a_cancelled_job_is_neither_claimed_nor_kept_nor_saved(database: Database) -> None:
    job_id = a_job(database, [preference("formal")] * 2)
    with database.transaction() as session:
        (item,) = claims.claim(session, owner=OWNER, model_digest=DIGEST, limit=1, lease_seconds=60)
        cancel(session, job_id)

    with database.transaction() as session:
        held = claims.extend(session, owner=OWNER, lease_seconds=60)
    with database.transaction() as session:
        claimed = claims.claim(session, owner=OWNER, model_digest=DIGEST, limit=9, lease_seconds=60)
    with database.transaction() as session:
        saved = save(session, item)

    assert (held, claimed, saved) == (set(), [], set())
    assert counts_of(database, job_id) == Counts(0, 0, 0, 0, 2, 2)
    assert [row.text for row in results_of(database, job_id)] == [None, None]
    assert_sound(database)


def test_items_follow_a_cancel_a_bounded_number_at_a_time(database: Database) -> None:
    num_items = 2 * ITEMS_PER_BATCH + 5
    job_id = a_job(database, [preference("formal")] * num_items)
    with database.transaction() as session:
        cancel(session, job_id)

    left, num_open = [], []
    for _ in range(3):
        with database.transaction() as session:
            left.append(follow(session, job_id))
        num_open.append(states_of(database, job_id).count(ItemState.QUEUED))
        assert_sound(database)

    assert left == [True, True, False]
    assert num_open == [num_items - ITEMS_PER_BATCH, 5, 0]
    with database.reading() as session:
        assert winding_up(session) == []


def test_an_ended_job_counts_nothing_more(database: Database) -> None:
    job_id, items = claimed_job(database, 3)
    with database.transaction() as session:
        save(session, items[0])
        cancel(session, job_id)
    ended = counts_of(database, job_id)

    with database.transaction() as session:
        save(session, items[1])
    with database.transaction() as session:
        claims.release(session, owner=OWNER, attempts=[items[2].attempt_key])
    wind_up(database, job_id)

    assert counts_of(database, job_id) == ended
    assert_sound(database)
