"""What crashes and lost messages leave behind is put right."""

import uuid
from typing import cast

from sqlalchemy import insert, update
from structlog.testing import capture_logs

from db.models import Item, Job, Result
from db.queries import cancelling, claims, feedback, fits
from db.queries.audit import violations
from db.session import Database, clock
from db.states import ItemState, JobState
from tests.builders import DIGEST, MODEL, a_job, a_profile, job_state, preference, states_of
from worker.queue import DECODE, Queue
from worker.reconciler import Reconciler


class RecordingQueue:
    """Keeps what was published."""

    def __init__(self) -> None:
        self.job_ids: list[str] = []
        self.fit_ids: list[str] = []
        self.queues: set[str] = set()

    def send_task(self, name: str, *, args: list[str], queue: str, retry: bool, **_: object) -> None:
        assert not retry
        self.queues.add(queue)
        (self.job_ids if name == DECODE else self.fit_ids).extend(args)


def a_fit(database: Database) -> uuid.UUID:
    profile_id = a_profile(database, "formal", "playful")
    with database.transaction() as session:
        return feedback.request_fit(session, profile_id, model=MODEL, model_digest=DIGEST).fit_id


def a_reconciler(database: Database, queue: RecordingQueue, *, idle: bool = True) -> Reconciler:
    return Reconciler(database, cast("Queue", queue), model_digest=DIGEST, max_attempts=3, is_idle=lambda: idle)


def test_work_whose_message_was_lost_is_published_again(database: Database) -> None:
    job_id = a_job(database)
    queue = RecordingQueue()

    a_reconciler(database, queue).sweep()

    assert queue.job_ids == [str(job_id)]


def test_a_fit_whose_message_was_lost_is_published_again(database: Database) -> None:
    fit_id = a_fit(database)
    queue = RecordingQueue()

    a_reconciler(database, queue).sweep()

    assert queue.fit_ids == [str(fit_id)]
    assert queue.job_ids == []


def test_the_fit_of_a_dead_worker_is_queued_again(database: Database) -> None:
    fit_id = a_fit(database)
    with database.transaction() as session:
        fits.claim(session, owner=uuid.uuid4(), model_digest=DIGEST, lease_seconds=-1)
    queue = RecordingQueue()

    a_reconciler(database, queue).sweep()

    assert queue.fit_ids == [str(fit_id)]


def test_a_busy_worker_is_not_sent_more_messages(database: Database) -> None:
    a_job(database)
    queue = RecordingQueue()

    a_reconciler(database, queue, idle=False).sweep()

    assert queue.job_ids == []


def test_the_items_of_a_dead_worker_are_queued_again(database: Database) -> None:
    job_id = a_job(database)
    with database.transaction() as session:
        claims.claim(session, owner=uuid.uuid4(), model_digest=DIGEST, limit=1, lease_seconds=-1)

    a_reconciler(database, RecordingQueue()).sweep()

    assert states_of(database, job_id) == [ItemState.QUEUED]


def test_counters_that_are_wrong_are_mended_and_a_job_that_is_over_is_completed(database: Database) -> None:
    # As a version of the code leaves them that keeps none.
    waiting, over = a_job(database), a_job(database)
    with database.transaction() as session:
        session.execute(update(Job).where(Job.id == waiting).values(num_queued=0))
        item_id = session.scalars(
            update(Item)
            .where(Item.job_id == over)
            .values(state=ItemState.SUCCEEDED, finished_at=clock())
            .returning(Item.id)
        ).one()
        session.execute(insert(Result).values(item_id=item_id, text="text"))

    with capture_logs() as logs:
        a_reconciler(database, RecordingQueue()).sweep()

    assert job_state(database, over) is JobState.COMPLETED
    assert {entry["job_id"] for entry in logs if entry["event"] == "counters_mended"} == {str(waiting), str(over)}
    with database.reading() as session:
        assert violations(session) == {}


def test_the_items_of_a_cancelled_job_follow_it(database: Database) -> None:
    job_id = a_job(database, [preference("formal")] * (cancelling.ITEMS_PER_BATCH + 1))
    with database.transaction() as session:
        cancelling.cancel(session, job_id)

    a_reconciler(database, RecordingQueue()).sweep()

    assert set(states_of(database, job_id)) == {ItemState.CANCELLED}
    with database.reading() as session:
        assert cancelling.winding_up(session) == []
        assert violations(session) == {}


def test_sweeping_twice_changes_nothing_more(database: Database) -> None:
    job_id = a_job(database)
    reconciler = a_reconciler(database, RecordingQueue())

    reconciler.sweep()
    reconciler.sweep()

    assert states_of(database, job_id) == [ItemState.QUEUED]
    assert job_state(database, job_id) is JobState.QUEUED
