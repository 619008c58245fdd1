"""A batch as clients see it: what its row says, and what its job does."""

import datetime as dt
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from api.jobs import deadlines
from api.openai.batch_schemas import (
    BatchError,
    BatchErrors,
    BatchObject,
    BatchStatus,
    BatchUsage,
    RequestCounts,
)
from api.openai.generation import Endpoint
from api.openai.ids import FileName, Part, batch_name
from db.queries import batches, jobs
from db.queries.batches import BatchRecord
from db.queries.jobs import JobRecord
from db.session import Database
from domain.states import JobState

INTERRUPTED = BatchError(
    code="interrupted",
    message="The service was stopped while it read the file: create the batch again.",
    param=None,
    line=None,
)
STATUSES = {
    JobState.QUEUED: BatchStatus.IN_PROGRESS,
    JobState.RUNNING: BatchStatus.IN_PROGRESS,
    JobState.COMPLETED: BatchStatus.COMPLETED,
    JobState.CANCELLED: BatchStatus.CANCELLED,
    JobState.EXPIRED: BatchStatus.EXPIRED,
}


@dataclass(frozen=True, slots=True)
class FoundBatch:
    """A batch and its job, if it has one."""

    batch: BatchRecord
    job: JobRecord | None

    @property
    def status(self) -> BatchStatus:
        """The batch's status in OpenAI's words, by its job or by how the reading of its file ended."""
        if self.job is not None:
            return STATUSES[self.job.state]
        if self.batch.failed_at is not None:
            return BatchStatus.FAILED
        if self.batch.cancelling_at is not None:
            return BatchStatus.CANCELLED
        return BatchStatus.FAILED if self.batch.was_interrupted else BatchStatus.VALIDATING

    @property
    def ended_at(self) -> dt.datetime | None:
        """When the batch's job ended; None while it runs."""
        return None if self.job is None else self.job.finished_at

    def num_lines(self, part: Part) -> int:
        """How many lines one of its files has now."""
        if self.job is None:
            return 0
        counts = self.job.counts
        return counts.succeeded if part is Part.OUTPUT else counts.failed + counts.cancelled

    def file_id(self, part: Part) -> str | None:
        """The name of one of its files, once there is something in it."""
        return str(FileName(self.batch.id, part)) if self.num_lines(part) else None


def find_batches(database: Database, find: Callable[[Session], Sequence[BatchRecord]]) -> list[FoundBatch]:
    """The batches that `find` finds, each with its job; a job whose time is over has ended before it is looked at."""
    found: list[BatchRecord] = []

    def find_jobs(session: Session) -> list[JobRecord]:
        found[:] = find(session)
        return jobs.find_jobs(session, [batch.job_id for batch in found if batch.job_id is not None])

    with deadlines.reading_jobs(database, find_jobs) as (_, records):
        by_id = {record.id: record for record in records}
    return [
        FoundBatch(batch, None if batch.job_id is None else by_id[batch.job_id])
        for batch in found
        if batch.job_id is None or batch.job_id in by_id
    ]


def find_one(database: Database, tenant_id: uuid.UUID, batch_id: uuid.UUID) -> FoundBatch | None:
    """The tenant's batch under this id, with its job."""

    def find(session: Session) -> list[BatchRecord]:
        record = batches.find_batch(session, tenant_id=tenant_id, batch_id=batch_id)
        return [] if record is None else [record]

    found = find_batches(database, find)
    return found[0] if found else None


def batch_object(found: FoundBatch, usage: BatchUsage | None) -> BatchObject:
    """A batch as OpenAI's Batch object; `usage` is None where it is not asked for."""
    batch, job = found.batch, found.job
    ends = dict.fromkeys((BatchStatus.COMPLETED, BatchStatus.EXPIRED, BatchStatus.CANCELLED, BatchStatus.FAILED), None)
    moments: dict[BatchStatus, int | None] = {**ends, found.status: seconds(_end_of(found))}
    cancelled_at = moments[BatchStatus.CANCELLED]
    return BatchObject(
        id=batch_name(batch.id),
        endpoint=Endpoint(batch.endpoint),
        model=None if job is None else job.model,
        errors=_errors(found),
        input_file_id=str(FileName(batch.input_file_id)),
        completion_window=batch.completion_window,
        status=found.status,
        output_file_id=found.file_id(Part.OUTPUT),
        error_file_id=found.file_id(Part.ERROR),
        created_at=int(batch.created_at.timestamp()),
        in_progress_at=None if job is None else seconds(job.created_at),
        expires_at=None if job is None else seconds(job.expires_at),
        finalizing_at=moments[BatchStatus.COMPLETED],
        completed_at=moments[BatchStatus.COMPLETED],
        failed_at=moments[BatchStatus.FAILED],
        expired_at=moments[BatchStatus.EXPIRED],
        cancelling_at=None if cancelled_at is None else seconds(batch.cancelling_at) or cancelled_at,
        cancelled_at=cancelled_at,
        request_counts=_counts(job),
        usage=usage,
        metadata={name: str(value) for name, value in batch.metadata.items()} or None,
        job_id=None if job is None else str(job.id),
    )


def seconds(moment: dt.datetime | None) -> int | None:
    """A moment as whole seconds since 1970, as OpenAI writes it; None stays None."""
    return None if moment is None else int(moment.timestamp())


def _end_of(found: FoundBatch) -> dt.datetime | None:
    batch = found.batch
    if found.job is not None:
        return found.job.finished_at
    if found.status is BatchStatus.FAILED:
        return batch.failed_at or batch.read_by
    return batch.cancelling_at


def _errors(found: FoundBatch) -> BatchErrors | None:
    if found.status is not BatchStatus.FAILED:
        return None
    if found.batch.errors is None:
        return BatchErrors(data=[INTERRUPTED])
    return BatchErrors(data=[BatchError.model_validate(error) for error in found.batch.errors])


def _counts(job: JobRecord | None) -> RequestCounts:
    if job is None:
        return RequestCounts(total=0, completed=0, failed=0, cancelled=0)
    counts = job.counts
    return RequestCounts(
        total=counts.total, completed=counts.succeeded, failed=counts.failed, cancelled=counts.cancelled
    )
