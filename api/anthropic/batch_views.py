"""A message batch as clients see it: what its row says, and what its job does."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from api.anthropic.batch_schemas import MessageBatchOut, ProcessingStatus, RequestCounts
from api.anthropic.ids import batch_name
from api.jobs import deadlines
from db.queries import jobs, message_batches
from db.queries.jobs import JobRecord
from db.queries.message_batches import MessageBatchRecord
from db.session import Database
from domain.states import JobState


@dataclass(frozen=True, slots=True)
class FoundBatch:
    """A batch and its job."""

    batch: MessageBatchRecord
    job: JobRecord
    num_errored: int
    """Requests that failed otherwise than by the end of the completion window."""


def find_batches(database: Database, find: Callable[[Session], Sequence[MessageBatchRecord]]) -> list[FoundBatch]:
    """The batches that `find` finds, each with its job; a job whose time is over has ended before it is looked at."""
    found: list[MessageBatchRecord] = []

    def find_jobs(session: Session) -> list[JobRecord]:
        found[:] = find(session)
        return jobs.find_jobs(session, [batch.job_id for batch in found])

    with deadlines.reading_jobs(database, find_jobs) as (session, records):
        by_id = {record.id: record for record in records}
        expired = [record.id for record in records if record.state is JobState.EXPIRED and record.counts.failed]
        errored = message_batches.num_errored(session, expired)
    num_errored = {
        job.id: errored.get(job.id, 0) if job.state is JobState.EXPIRED else job.counts.failed for job in by_id.values()
    }
    return [
        FoundBatch(batch, by_id[batch.job_id], num_errored[batch.job_id]) for batch in found if batch.job_id in by_id
    ]


def find_one(database: Database, tenant_id: uuid.UUID, batch_id: uuid.UUID) -> FoundBatch | None:
    """The tenant's batch under this id, with its job."""

    def find(session: Session) -> list[MessageBatchRecord]:
        record = message_batches.find_batch(session, tenant_id=tenant_id, batch_id=batch_id)
        return [] if record is None else [record]

    found = find_batches(database, find)
    return found[0] if found else None


def batch_object(found: FoundBatch, base_url: str) -> MessageBatchOut:
    """A batch as Anthropic's MessageBatch; `base_url` is where the client found us, without a slash at its end."""
    batch, job = found.batch, found.job
    has_ended = job.finished_at is not None
    name = batch_name(batch.id)
    return MessageBatchOut(
        id=name,
        processing_status=ProcessingStatus.ENDED if has_ended else ProcessingStatus.IN_PROGRESS,
        request_counts=_counts(found),
        ended_at=job.finished_at,
        created_at=batch.created_at,
        expires_at=job.expires_at or batch.created_at,
        cancel_initiated_at=batch.cancel_initiated_at,
        results_url=f"{base_url}/v1/messages/batches/{name}/results" if has_ended else None,
        model=job.model,
        job_id=str(job.id),
    )


def _counts(found: FoundBatch) -> RequestCounts:
    counts = found.job.counts
    return RequestCounts(
        processing=counts.unfinished,
        succeeded=counts.succeeded,
        errored=found.num_errored,
        canceled=counts.cancelled,
        expired=counts.failed - found.num_errored,
    )
