"""Several items are locked in the order of their ids, or what others hold is passed over (`db.queries.counters`).

Two transactions that lock the same rows in different orders wait for each other in a circle, now and then: a test that
waits for that to happen would be a matter of luck. This one reads what is sent.
"""

import uuid
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import event, update
from sqlalchemy.orm import Session

from db.models import Job
from db.queries import cancelling, claims, deleting, jobs, losses, retrying
from db.session import Database
from domain.attempts import ClaimedItem, Outcome
from domain.states import JobState
from tests.builders import DIGEST, a_job, preference

OWNER = uuid.UUID(int=1)


def claimed(session: Session) -> list[ClaimedItem]:
    return claims.claim(session, owner=OWNER, model_digest=DIGEST, limit=2, lease_seconds=-1)


Act = Callable[[Session, uuid.UUID], Iterator[None]]
"""What has to be there is made, and then, behind a yield, the rows are locked that this is about."""


def claim(session: Session, _job_id: uuid.UUID) -> Iterator[None]:
    yield
    claimed(session)


def save(session: Session, _job_id: uuid.UUID) -> Iterator[None]:
    outcomes = [Outcome(item.item_id, item.attempt, text="text") for item in claimed(session)]
    yield
    claims.save(session, owner=OWNER, outcomes=outcomes)


def extend(session: Session, _job_id: uuid.UUID) -> Iterator[None]:
    claimed(session)
    yield
    claims.extend(session, owner=OWNER, lease_seconds=60)


def expire(session: Session, _job_id: uuid.UUID) -> Iterator[None]:
    claimed(session)
    yield
    losses.expire(session)


def follow(session: Session, job_id: uuid.UUID) -> Iterator[None]:
    cancelling.cancel(session, job_id)
    yield
    cancelling.follow(session, job_id)


def retry(session: Session, job_id: uuid.UUID) -> Iterator[None]:
    failures = [Outcome(item.item_id, item.attempt, error_code="poisoned") for item in claimed(session)]
    claims.save(session, owner=OWNER, outcomes=failures)
    yield
    retrying.retry(session, job_id)


def readdress(session: Session, job_id: uuid.UUID) -> Iterator[None]:
    yield
    jobs.readdress(session, job_id, model="tiny", model_digest=DIGEST)


def remove(session: Session, job_id: uuid.UUID) -> Iterator[None]:
    session.execute(update(Job).where(Job.id == job_id).values(state=JobState.CANCELLED, finished_at=Job.created_at))
    deleting.delete_job(session, job_id)
    yield
    deleting.remove(session, job_id)


@pytest.mark.parametrize("act", [claim, save, extend, expire, follow, retry, readdress, remove])
def test_items_are_locked_in_the_order_of_their_ids_or_passed_over(postgresql_database: Database, act: Act) -> None:
    job_id = a_job(postgresql_database, [preference("formal"), preference("playful")])
    sent: list[str] = []

    with postgresql_database.transaction() as session:
        locking = act(session, job_id)
        next(locking)
        event.listen(postgresql_database.engine, "before_cursor_execute", lambda *args: sent.append(args[2]))
        next(locking, None)

    found = [" ".join(statement.split()) for statement in sent if "FOR UPDATE" in statement]
    in_order = ("ORDER BY items.id FOR UPDATE", "FOR UPDATE OF items SKIP LOCKED", "FOR UPDATE SKIP LOCKED")
    assert found
    assert [statement for statement in found if not any(order in statement for order in in_order)] == []
