"""A job ends once: when its last item has ended or when it is cancelled, whoever gets there first."""

import threading
import uuid
from collections.abc import Callable
from functools import partial

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import Job
from db.queries import claims
from db.queries.claims import ClaimedItem, Outcome
from db.queries.jobs import cancel, finalise, find_job, freeze_counts
from db.session import Database
from db.states import TERMINAL_ITEM_STATES, ItemState, JobState
from tests.builders import DIGEST, a_job, items_of, job_state, preference

OWNER = uuid.UUID(int=1)
ROUNDS = 10


def claimed_job(database: Database, num_items: int) -> tuple[uuid.UUID, list[ClaimedItem]]:
    job_id = a_job(database, [preference("formal")] * num_items)
    with database.transaction() as session:
        return job_id, claims.claim(session, owner=OWNER, model_digest=DIGEST, limit=num_items, lease_seconds=60)


def save(session: Session, *items: ClaimedItem) -> None:
    outcomes = [Outcome(item.item_id, item.attempt, text="text", finish_reason="stop") for item in items]
    claims.save(session, owner=OWNER, outcomes=outcomes)


def save_and_finalise(session: Session, item: ClaimedItem) -> bool:
    save(session, item)
    return finalise(session, item.job_id)


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


@pytest.mark.parametrize("num_saved", [0, 1])
def test_a_job_with_open_items_is_not_completed(database: Database, num_saved: int) -> None:
    job_id, items = claimed_job(database, 2)

    with database.transaction() as session:
        save(session, *items[:num_saved])
        finalised = finalise(session, job_id)

    assert not finalised
    assert job_state(database, job_id) is JobState.QUEUED


def test_a_job_is_completed_in_the_transaction_that_saves_its_last_item(database: Database) -> None:
    job_id, items = claimed_job(database, 2)

    with database.transaction() as session:
        save(session, *items)
        finalised = [finalise(session, job_id), finalise(session, job_id)]

    assert finalised == [True, False]
    assert job_state(database, job_id) is JobState.COMPLETED


def test_of_two_transactions_that_save_the_last_two_items_one_completes_the_job(database: Database) -> None:
    # Neither sees what the other saves before it commits; still one of them must notice that nothing is left.
    for _ in range(ROUNDS):
        job_id, items = claimed_job(database, 2)

        outcomes = at_once(database, *[partial(save_and_finalise, item=item) for item in items])

        assert sorted(outcomes) == [False, True]
        assert job_state(database, job_id) is JobState.COMPLETED


def test_of_many_finalisers_exactly_one_wins(database: Database) -> None:
    job_id, items = claimed_job(database, 3)
    with database.transaction() as session:
        save(session, *items)

    outcomes = at_once(database, *[partial(finalise, job_id=job_id)] * 8)

    assert outcomes.count(True) == 1


def test_a_cancel_and_a_save_of_the_last_item_end_the_job_once(database: Database) -> None:
    for _ in range(ROUNDS):
        job_id, (item,) = claimed_job(database, 1)

        outcomes = at_once(database, partial(save_and_finalise, item=item), partial(cancel, job_id=job_id))

        (ended,) = items_of(database, job_id)
        expected = {ItemState.SUCCEEDED: JobState.COMPLETED, ItemState.CANCELLED: JobState.CANCELLED}
        assert outcomes.count(True) == 1
        assert job_state(database, job_id) is expected[ended.state]


def test_of_two_cancels_one_ends_the_job_and_every_item_has_one_result(database: Database) -> None:
    job_id, _ = claimed_job(database, 40)

    outcomes = at_once(database, *[partial(cancel, job_id=job_id)] * 2)

    assert sorted(outcomes) == [False, True]
    assert {(item.state, item.error_code) for item in items_of(database, job_id)} == {
        (ItemState.CANCELLED, "cancelled")
    }


def test_counts_are_frozen_by_whoever_ends_the_job_and_not_again(database: Database) -> None:
    job_id, items = claimed_job(database, 3)
    with database.transaction() as session:
        save(session, items[0])
        cancel(session, job_id)

    with database.transaction() as session:
        frozen_again = freeze_counts(session, job_id, JobState.COMPLETED)

    with database.reading() as session:
        tenant_id = session.scalars(select(Job.tenant_id).where(Job.id == job_id)).one()
        job = find_job(session, tenant_id=tenant_id, job_id=job_id)
    assert job is not None
    assert not frozen_again
    assert (job.state, job.counts.succeeded, job.counts.cancelled, job.counts.total) == (JobState.CANCELLED, 1, 2, 3)
    assert all(item.state in TERMINAL_ITEM_STATES for item in items_of(database, job_id))
