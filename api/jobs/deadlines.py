"""A job whose completion window has ended has ended for whoever reads it, whether or not a worker is there to notice.

Workers end such jobs in their sweeps. Where none runs, the first who asks does, by the same statement; a job that is
in time costs its reader nothing.
"""

import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from api.jobs.views import record_of
from db.faults import describe, is_passing
from db.queries import deadlines
from db.queries.jobs import JobRecord
from db.session import Database

log = structlog.get_logger(__name__)


@contextmanager
def reading_jobs(
    database: Database, find: Callable[[Session], Sequence[JobRecord]]
) -> Iterator[tuple[Session, Sequence[JobRecord]]]:
    """A session that reads, and what is found in it; found once more where a job's time was over."""
    with database.glancing() as session:
        found = find(session)
        overdue = [job.id for job in found if is_overdue(job)]
        if not overdue:
            yield session, found
            return
    _end(database, overdue)
    with database.glancing() as session:
        yield session, find(session)


@contextmanager
def reading_job(database: Database, tenant_id: uuid.UUID, job_id: uuid.UUID) -> Iterator[tuple[Session, JobRecord]]:
    """The same of one job of the tenant, or `NotFoundError`."""
    with reading_jobs(database, lambda session: [record_of(session, tenant_id, job_id)]) as (session, (record,)):
        yield session, record


def record_in_time(session: Session, tenant_id: uuid.UUID, job_id: uuid.UUID) -> JobRecord:
    """The tenant's job, ended in this transaction if its time is over; or `NotFoundError`."""
    record = record_of(session, tenant_id, job_id)
    if not is_overdue(record):
        return record
    deadlines.enforce(session, job_id)
    return record_of(session, tenant_id, job_id)


def end_all_overdue(database: Database) -> None:
    """End whichever jobs' time is over: for who asks for those that have expired."""
    with database.reading() as session:
        overdue = deadlines.overdue(session)
    _end(database, overdue)


def _end(database: Database, overdue: Collection[uuid.UUID]) -> None:
    """A database that can only be read just now is read."""
    try:
        for job_id in overdue:
            with database.transaction() as session:
                deadlines.enforce(session, job_id)
    except SQLAlchemyError as error:
        if not is_passing(error):
            raise
        log.warning("deadline_not_enforced", **describe(error))


def is_overdue(record: JobRecord) -> bool:
    """Whether it should have ended, by the database's clock when it was read."""
    return record.finished_at is None and record.expires_at is not None and record.expires_at <= record.read_at
