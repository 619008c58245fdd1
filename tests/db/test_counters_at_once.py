"""Many transactions on one job at once: nothing is lost, nothing waits in a circle, and every commit is sound."""

import random
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import ColumnElement, func, select, update

from db.models import Item, Job
from db.queries import claims, jobs, losses, pausing, retrying
from db.queries.audit import audit, violations
from db.queries.cancelling import cancel, follow, winding_up
from db.session import Database, clock
from domain.attempts import ClaimedItem, Outcome
from domain.states import TERMINAL_JOB_STATES, ItemState, JobState
from tests.builders import DIGEST, a_job, items_of, job_state, preference, states_of, wind_up

NUM_WORKERS = 8
TIMEOUT_SECONDS = 120.0


class Worker:
    """Claims a few items, and saves, releases, loses or fails them, as its dice fall."""

    def __init__(self, database: Database, seed: int) -> None:
        self._database = database
        self._dice = random.Random(seed)
        self._owner = uuid.UUID(int=seed + 1)

    def turn(self) -> bool:
        with self._database.transaction() as session:
            items = claims.claim(
                session, owner=self._owner, model_digest=DIGEST, limit=self._dice.randint(1, 7), lease_seconds=60
            )
        self._dice.shuffle(items)
        saved, released, lost = (items[start::3] for start in range(3))
        with self._database.transaction() as session:
            claims.save(session, owner=self._owner, outcomes=[self._outcome(item) for item in saved])
        with self._database.transaction() as session:
            claims.release(session, owner=self._owner, attempts=[item.attempt_key for item in released])
        with self._database.transaction() as session:
            attempts = [item.attempt_key for item in lost]
            losses.record_deaths(session, owner=self._owner, attempts=attempts, max_deaths=2)
        with self._database.transaction() as session:
            session.execute(
                update(Item)
                .where(Item.id.in_([item.item_id for item in lost]), Item.lease_owner == self._owner)
                .values(lease_until=clock(-1))
            )
        with self._database.transaction() as session:
            claims.extend(session, owner=uuid.uuid4(), lease_seconds=60)
            losses.expire(session)
        return self._is_over()

    def _outcome(self, item: ClaimedItem) -> Outcome:
        if self._dice.random() < 0.2:
            return Outcome(item.item_id, item.attempt, error_code="too_long", error_message="Too long.")
        return Outcome(item.item_id, item.attempt, text=f"of {item.item_id}", finish_reason="stop")

    def _is_over(self) -> bool:
        with self._database.reading() as session:
            is_open = select(func.count()).select_from(Job).where(Job.state.not_in(TERMINAL_JOB_STATES))
            return not session.scalars(is_open).one()


@contextmanager
def in_threads(turns: list[Callable[[], bool]]) -> Iterator[list[Exception]]:
    """Each taken again and again, all at once, until it says that all is over."""
    failures: list[Exception] = []
    barrier = threading.Barrier(len(turns) + 1)

    def work(turn: Callable[[], bool]) -> None:
        barrier.wait()
        try:
            while not turn():
                pass
        except Exception as error:  # noqa: BLE001 - told to the test
            failures.append(error)

    threads = [threading.Thread(target=work, args=(turn,), daemon=True) for turn in turns]
    for thread in threads:
        thread.start()
    barrier.wait()
    yield failures
    for thread in threads:
        thread.join(TIMEOUT_SECONDS)
    assert not any(thread.is_alive() for thread in threads)


def assert_sound(database: Database) -> None:
    with database.reading() as session:
        assert violations(session) == {}


def workers(database: Database) -> list[Callable[[], bool]]:
    return [Worker(database, seed).turn for seed in range(NUM_WORKERS)]


def test_workers_that_share_jobs_end_every_item_once(postgresql_database: Database) -> None:
    # A pool of its own size for each worker: what is tested is the database's order of locks.
    database = Database(postgresql_database.url.render_as_string(hide_password=False), pool_size=NUM_WORKERS + 2)
    job_ids = [a_job(database, [preference("formal"), preference("playful")] * 20) for _ in range(3)]

    with in_threads(workers(database)) as failures:
        while not all(job_state(database, job_id) is JobState.COMPLETED for job_id in job_ids) and not failures:
            with database.reading() as session:
                totals = session.execute(select(Job.num_items, sum_of_counters())).all()
            assert all(total == num_items for num_items, total in totals)
            with database.transaction() as session:
                assert audit(session, job_ids) == []

    assert failures == []
    assert_sound(database)
    assert all(item.text is not None or item.error_code for job_id in job_ids for item in items_of(database, job_id))
    database.dispose()


@pytest.mark.parametrize("seed", range(3))
def test_a_cancel_among_workers_ends_the_job_at_once_and_for_good(postgresql_database: Database, seed: int) -> None:
    database = Database(postgresql_database.url.render_as_string(hide_password=False), pool_size=NUM_WORKERS + 2)
    job_id = a_job(database, [preference("formal"), preference("playful")] * 50)
    dice = random.Random(seed)

    with in_threads([*workers(database), follower(database)]) as failures:
        while states_of(database, job_id).count(ItemState.SUCCEEDED) < dice.randint(1, 30):
            pass
        with database.transaction() as session:
            assert cancel(session, job_id)
        ended = counters_of(database, job_id)

    assert failures == []
    wind_up(database, job_id)
    assert counters_of(database, job_id) == ended
    assert_sound(database)
    database.dispose()


def follower(database: Database) -> Callable[[], bool]:
    def turn() -> bool:
        with database.reading() as session:
            if session.scalars(select(Job.finished_at)).one() is None:
                return False
            job_ids = winding_up(session)
        for job_id in job_ids:
            with database.transaction() as session:
                follow(session, job_id)
        return not job_ids

    return turn


def test_a_readdress_among_workers_loses_nothing(postgresql_database: Database) -> None:
    database = Database(postgresql_database.url.render_as_string(hide_password=False), pool_size=NUM_WORKERS + 2)
    job_id = a_job(database, [preference("formal"), preference("playful")] * 40)

    with in_threads(workers(database)) as failures:
        for _ in range(10):
            with database.transaction() as session:
                jobs.readdress(session, job_id, model="tiny", model_digest=DIGEST)

    assert failures == []
    assert_sound(database)
    database.dispose()


def test_pauses_and_retries_among_workers_lose_nothing(postgresql_database: Database) -> None:
    database = Database(postgresql_database.url.render_as_string(hide_password=False), pool_size=NUM_WORKERS + 2)
    job_id = a_job(database, [preference("formal"), preference("playful")] * 40)

    with in_threads(workers(database)) as failures:
        for _ in range(10):
            for act in (pausing.pause, pausing.resume, retrying.retry):
                with database.transaction() as session:
                    act(session, job_id)

    assert failures == []
    assert_sound(database)
    assert all(item.text is not None or item.error_code for item in items_of(database, job_id))
    database.dispose()


def sum_of_counters() -> ColumnElement[int]:
    return Job.num_queued + Job.num_running + Job.num_succeeded + Job.num_failed + Job.num_cancelled


def counters_of(database: Database, job_id: uuid.UUID) -> tuple[int, ...]:
    columns = (Job.num_queued, Job.num_running, Job.num_succeeded, Job.num_failed, Job.num_cancelled)
    with database.reading() as session:
        return tuple(session.execute(select(*columns).where(Job.id == job_id)).one())
