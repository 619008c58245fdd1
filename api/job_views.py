"""A job as clients see it: its record, how fast it goes, and why it waits if it does."""

import math
import uuid

from sqlalchemy.orm import Session

from api.errors import NotFoundError
from api.job_schemas import CountsOut, JobOut
from db.queries import jobs
from db.queries.jobs import QUEUE_SAMPLE, JobRecord
from db.queries.waiting import is_behind_others
from db.queries.workers import serving_status


def record_of(session: Session, tenant_id: uuid.UUID, job_id: uuid.UUID) -> JobRecord:
    """The tenant's job, or `NotFoundError`."""
    record = jobs.find_job(session, tenant_id=tenant_id, job_id=job_id)
    if record is None:
        raise NotFoundError("There is no job under this id.")
    return record


def view_of(session: Session, tenant_id: uuid.UUID, job_id: uuid.UUID, *, redis_fails: bool = False) -> JobOut:
    """The tenant's job as clients see it, or `NotFoundError`."""
    return job_view(session, record_of(session, tenant_id, job_id), redis_fails=redis_fails)


def job_view(session: Session, job: JobRecord, *, redis_fails: bool = False) -> JobOut:
    """A job that was read in this session, as clients see it; `redis_fails`: nobody can be woken for it just now."""
    rate = _rate(session, job)
    return JobOut(
        id=job.id,
        state=job.state,
        model=job.model,
        model_digest=job.model_digest,
        metadata=job.metadata,
        counts=CountsOut.model_validate(job.counts, from_attributes=True),
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        rate=rate,
        eta_seconds=math.ceil(job.counts.unfinished / rate) if rate and job.finished_at is None else None,
        waiting_reason=_waiting_reason(session, job, redis_fails=redis_fails),
    )


def _rate(session: Session, job: JobRecord) -> float | None:
    window = jobs.finished_lately(session, job) if job.finished_at is None else None
    return None if window is None else round(window.num_finished / window.seconds, 3)


def _waiting_reason(session: Session, job: JobRecord, *, redis_fails: bool) -> str | None:
    """Why nothing of the job is being decoded. Other tenants' work is never counted, only said to be there."""
    if job.finished_at is not None or job.counts.running or not job.counts.queued:
        return None
    status = serving_status(session, model=job.model, digest=job.model_digest)
    if status.message is not None:
        return status.message
    num_before = jobs.num_queued_before(session, job)
    if num_before:
        counted = f"more than {num_before - 1}" if num_before == QUEUE_SAMPLE else str(num_before)
        return f"Behind {counted} items of earlier jobs."
    if is_behind_others(session, job_id=job.id, tenant_id=job.tenant_id, model_digest=job.model_digest):
        return "Behind other clients' work."
    if redis_fails:
        return "Redis does not answer: no idle worker can be woken until it does."
    return "Waiting for a worker to take its first items."
