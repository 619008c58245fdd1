"""A job's status as it is polled: the bytes of the answer, its tag, and when to ask again."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from api.http.coalescing import Coalescer
from api.jobs import deadlines
from api.jobs.schemas import JobOut
from api.jobs.views import job_views
from db.session import Database
from domain.preferences import digest
from worker.queue import Publisher

FASTEST_POLL_SECONDS = 1
SLOWEST_POLL_SECONDS = 30
POLLS_PER_JOB = 20

JobOfTenant = tuple[uuid.UUID, uuid.UUID]
"""The tenant's id, and the job's."""
KeyAndJob = tuple[str, uuid.UUID]
"""The text of an API key, and the id of the job that is asked for with it."""


@dataclass(frozen=True, slots=True)
class Status:
    """One answer, for everybody who asked for it."""

    body: bytes
    headers: Mapping[str, str]
    tag: str
    """Equal where nothing has moved."""
    has_ended: bool

    @property
    def entity_tag(self) -> str:
        """The tag as preconditions compare it."""
        return f'"{self.tag}"'


def statuses_in(database: Database, publisher: Publisher) -> Coalescer[JobOfTenant, Status]:
    """The statuses of jobs; `NotFoundError` where the tenant has none of this id."""
    return Coalescer(partial(read_status, database, publisher))


def read_status(database: Database, publisher: Publisher, named: JobOfTenant) -> Status:
    """The status of the tenant's job now; `NotFoundError` where the tenant has none of this id."""
    with deadlines.reading_job(database, *named) as (session, record):
        (job,) = job_views(session, [record], redis_fails=publisher.is_failing)
    return status_of(job)


def status_of(job: JobOut) -> Status:
    """The tag changes when the job moves on; rate and estimate change with the clock alone, and do not count."""
    progress = job.model_dump(mode="json", exclude={"rate", "eta_seconds"})
    tag, has_ended = digest(progress)[:32], job.finished_at is not None
    headers = {"ETag": f'W/"{tag}"'}
    if not has_ended:
        seconds = (job.eta_seconds or 0) // POLLS_PER_JOB
        headers["Retry-After"] = str(min(max(seconds, FASTEST_POLL_SECONDS), SLOWEST_POLL_SECONDS))
    return Status(job.model_dump_json().encode(), headers, tag, has_ended)
