"""Two transactions that meet on the same rows of PostgreSQL: the later one goes by what the earlier one has left."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest
from sqlalchemy import Engine, event, func, select, text, update
from sqlalchemy.orm import Session

from db.models import Item, Job
from db.queries import cancelling, claims, deleting, losses, retrying
from db.queries.audit import audit, violations
from db.session import Database
from domain.attempts import ClaimedItem, Outcome
from domain.states import ItemState, JobState
from tests.builders import DIGEST, a_job, job_state, preference, states_of, wind_up

OWNER = uuid.UUID(int=1)
LOCK_SECONDS = 20.0

T = TypeVar("T")
U = TypeVar("U")


def in_a_transaction(database: Database, act: Callable[[Session], T]) -> T:
    with database.transaction() as session:
        return act(session)


@contextmanager
def one_behind_the_other(
    database: Database, first: Callable[[Session], T], second: Callable[[Session], U]
) -> Iterator[tuple[T, U]]:
    """What both returned: the second had to wait for what the first had locked, and went on after its commit."""
    with ThreadPoolExecutor(1) as pool:
        with database.transaction() as session:
            done = first(session)
            behind: Future[U] = pool.submit(in_a_transaction, database, second)
            wait_until_it_waits(database)
        yield done, behind.result()


def wait_until_it_waits(database: Database) -> None:
    deadline = time.monotonic() + LOCK_SECONDS
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    while not in_a_transaction(database, lambda session: session.scalar(waiting)):
        assert time.monotonic() < deadline, "it waits for nothing"
        time.sleep(0.01)


def claim(session: Session, lease_seconds: float = 60) -> list[ClaimedItem]:
    return claims.claim(session, owner=OWNER, model_digest=DIGEST, limit=10, lease_seconds=lease_seconds)


def fail(session: Session, items: list[ClaimedItem]) -> None:
    claims.save(session, owner=OWNER, outcomes=[Outcome(one.item_id, one.attempt, error_code="x") for one in items])


def assert_sound(database: Database) -> None:
    with database.reading() as session:
        assert violations(session) == {}


def test_of_two_who_let_items_follow_neither_says_that_it_is_over_while_items_are_left(
    postgresql_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = postgresql_database
    monkeypatch.setattr(cancelling, "ITEMS_PER_BATCH", 2)
    job_id = a_job(database, [preference("formal")] * 3)
    in_a_transaction(database, lambda session: cancelling.cancel(session, job_id))

    def follow(session: Session) -> bool:
        return cancelling.follow(session, job_id)

    with one_behind_the_other(database, follow, follow) as is_left:
        assert is_left == (True, True)

    assert in_a_transaction(database, cancelling.winding_up) == [job_id]
    wind_up(database, job_id)
    assert states_of(database, job_id) == [ItemState.CANCELLED] * 3
    assert_sound(database)


def test_of_two_retries_each_failed_item_is_queued_once(postgresql_database: Database) -> None:
    database = postgresql_database
    job_id = a_job(database, [preference("formal")] * 2)
    in_a_transaction(database, lambda session: fail(session, claim(session)))

    def retry(session: Session) -> bool:
        return retrying.retry(session, job_id) is not None

    with one_behind_the_other(database, retry, retry) as are_done:
        assert are_done == (True, True)

    assert states_of(database, job_id) == [ItemState.QUEUED] * 2
    assert_sound(database)


def test_what_somebody_has_just_locked_is_removed_later_and_its_job_with_it(postgresql_database: Database) -> None:
    database = postgresql_database
    job_id = a_job(database, [preference("formal")] * 2)
    in_a_transaction(database, lambda session: fail(session, claim(session)))
    assert in_a_transaction(database, lambda session: deleting.delete_job(session, job_id))

    def remove(session: Session) -> bool:
        session.execute(text(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'"))
        return deleting.remove(session, job_id)

    with database.transaction() as other:
        other.execute(select(Item.id).where(Item.job_id == job_id, Item.position == 0).with_for_update())
        assert not in_a_transaction(database, remove)
        left = in_a_transaction(database, lambda session: session.scalar(select(func.count()).select_from(Item)))
        assert left == 1
        assert in_a_transaction(database, deleting.deleted_jobs) == [job_id]

    assert not in_a_transaction(database, remove)
    assert in_a_transaction(database, deleting.deleted_jobs) == []


def test_a_lease_that_ran_out_of_an_item_that_somebody_holds_is_taken_back_later(postgresql_database: Database) -> None:
    database = postgresql_database
    job_id = a_job(database, [preference("formal")] * 2)
    in_a_transaction(database, lambda session: claim(session, lease_seconds=-1))

    def expire(session: Session) -> int:
        session.execute(text(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'"))
        return losses.expire(session)

    with database.transaction() as other:
        other.execute(select(Item.id).where(Item.job_id == job_id, Item.position == 0).with_for_update())
        assert in_a_transaction(database, expire) == 1

    assert in_a_transaction(database, expire) == 1
    assert states_of(database, job_id) == [ItemState.QUEUED] * 2


def test_what_is_claimed_of_a_job_that_is_cancelled_meanwhile_is_not_decoded(postgresql_database: Database) -> None:
    database = postgresql_database
    job_id, other_id = (a_job(database, [preference("formal")]) for _ in range(2))

    def cancel_once(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:  # noqa: ANN401 - SQLAlchemy's
        if "FROM preferences" in statement and not cancelled.is_set():
            cancelled.set()
            in_a_transaction(database, lambda session: cancelling.cancel(session, job_id))

    cancelled = threading.Event()
    with listening(database.engine, cancel_once):
        items = in_a_transaction(database, claim)

    assert cancelled.is_set()
    assert [item.job_id for item in items] == [other_id]
    wind_up(database, job_id)
    assert job_state(database, job_id) is JobState.CANCELLED
    assert states_of(database, job_id) == [ItemState.CANCELLED]
    assert_sound(database)


@contextmanager
def listening(engine: Engine, listener: Callable[..., None]) -> Iterator[None]:
    """To each statement before it is sent."""
    event.listen(engine, "before_cursor_execute", listener)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", listener)


def test_an_audit_counts_what_is_just_being_saved(postgresql_database: Database) -> None:
    database = postgresql_database
    job_id = a_job(database, [preference("formal")] * 2)
    item, _neighbour = in_a_transaction(database, claim)
    in_a_transaction(database, lambda session: session.execute(update(Job).values(num_queued=7)))

    with one_behind_the_other(
        database, lambda session: fail(session, [item]), lambda session: audit(session, [job_id])
    ) as (_, (mended,)):
        assert mended.after[ItemState.FAILED] == 1

    assert_sound(database)


def test_a_job_that_is_being_removed_is_not_retried(postgresql_database: Database) -> None:
    database = postgresql_database
    job_id = a_job(database, [preference("formal")])
    in_a_transaction(database, lambda session: fail(session, claim(session)))

    def delete(session: Session) -> object:
        return deleting.delete_job(session, job_id) and not deleting.remove(session, job_id)

    with one_behind_the_other(database, delete, lambda session: retrying.retry(session, job_id)) as (is_gone, retried):
        assert is_gone
        assert retried is None

    assert in_a_transaction(database, lambda session: session.scalar(select(func.count()).select_from(Job))) == 0
