"""Deadlines: a job that has not ended when its completion window has ends then. What is finished is kept."""

import uuid

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import Job
from db.queries.cancelling import end_early
from db.session import clock
from domain.states import JobState

JOBS_PER_SWEEP = 100


def overdue(session: Session) -> list[uuid.UUID]:
    """Some of the open jobs whose deadline has passed."""
    passed = select(Job.id).where(Job.finished_at.is_(None), Job.expires_at <= clock())
    return list(session.scalars(passed.limit(JOBS_PER_SWEEP)))


def enforce(session: Session, job_id: uuid.UUID) -> bool:
    """End a job whose deadline has passed, by its row alone (`db.queries.cancelling`). False when there was no need."""
    return end_early(session, job_id, JobState.EXPIRED, Job.expires_at <= clock())
