"""A job as clients see it: its record, how fast it goes, and why it waits if it does."""

import math
import uuid
from collections.abc import Sequence

from sqlalchemy.orm import Session

from api.http.errors import NoSuchJobError
from api.jobs.schedule_schemas import as_window
from api.jobs.schemas import CountsOut, HoldoutOut, JobOut
from db.queries import jobs
from db.queries.jobs import JobRecord, Waiting
from db.queries.workers import SeenWorker, seen_workers, serving_status


def record_of(session: Session, tenant_id: uuid.UUID, job_id: uuid.UUID) -> JobRecord:
    """The tenant's job, or `NoSuchJobError`."""
    record = jobs.find_job(session, tenant_id=tenant_id, job_id=job_id)
    if record is None:
        raise NoSuchJobError
    return record


def view_of(session: Session, tenant_id: uuid.UUID, job_id: uuid.UUID, *, redis_fails: bool = False) -> JobOut:
    """The tenant's job as clients see it, or `NoSuchJobError`."""
    (view,) = job_views(session, [record_of(session, tenant_id, job_id)], redis_fails=redis_fails)
    return view


def job_views(session: Session, records: Sequence[JobRecord], *, redis_fails: bool = False) -> list[JobOut]:
    """Jobs that were read in this session, as clients see them: one statement more, where any of them waits.

    `redis_fails`: nobody can be woken for them just now.
    """
    seen = seen_workers(session) if any(job.behind is not None for job in records) else []
    return [_view(job, seen, redis_fails=redis_fails) for job in records]


def _view(job: JobRecord, seen: list[SeenWorker], *, redis_fails: bool) -> JobOut:
    return JobOut(
        id=job.id,
        name=job.facts.name,
        state=job.state,
        model=job.model,
        model_digest=job.model_digest,
        metadata=job.metadata,
        counts=CountsOut.model_validate(job.counts, from_attributes=True),
        holdout=_holdout(job),
        num_skipped=job.facts.num_skipped,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        priority=job.schedule.priority,
        not_before=job.schedule.not_before,
        completion_window=None if job.schedule.window_seconds is None else as_window(job.schedule.window_seconds),
        expires_at=job.expires_at,
        paused_at=job.paused_at,
        rate=None if job.rate is None else round(job.rate, 3),
        eta_seconds=None if job.rate is None else math.ceil(job.counts.unfinished / job.rate),
        waiting_reason=None if job.behind is None else _waiting_reason(job, job.behind, seen, redis_fails=redis_fails),
    )


def _holdout(job: JobRecord) -> HoldoutOut | None:
    facts = job.facts
    if facts.holdout is None:
        return None
    num_guided = job.counts.total - facts.num_holdout
    return HoldoutOut(
        share=facts.holdout.share, seed=facts.holdout.seed, num_holdout=facts.num_holdout, num_guided=num_guided
    )


def _waiting_reason(job: JobRecord, behind: Waiting, seen: list[SeenWorker], *, redis_fails: bool) -> str:
    """Why nothing of the job is being decoded. Other tenants' work is never counted, only said to be there."""
    if job.paused_at is not None:
        return "Paused: resume the job to let it go on."
    if job.schedule.not_before is not None and job.schedule.not_before > job.read_at:
        return f"Not before {job.schedule.not_before:%Y-%m-%d %H:%M:%S} UTC."
    status = serving_status(seen, model=job.model, digest=job.model_digest)
    if status.message is not None:
        return status.message
    if behind.num_items or behind.has_others:
        return _turn(behind)
    if redis_fails:
        return "Redis does not answer: no idle worker can be woken until it does."
    return "Waiting for a worker to take its first items."


def _turn(behind: Waiting) -> str:
    if behind.num_items:
        counted = str(behind.num_items) if behind.is_all else f"more than {behind.num_items}"
        return f"Behind {counted} items of your jobs that go first."
    return "Waiting for its turn: the workers have other tenants' items as well."
