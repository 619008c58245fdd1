"""Pausing a job: nothing more of it is claimed until it is resumed; what a worker holds it finishes."""

import uuid

from sqlalchemy import func, update
from sqlalchemy.orm import Session

from db.models import Job
from db.session import clock

_UNSYNCHRONISED = {"synchronize_session": False}


def pause(session: Session, job_id: uuid.UUID) -> bool:
    """Claim nothing more of a job; a second pause keeps the moment of the first. False when the job has ended.

    Its deadline goes on.
    """
    paused = update(Job).where(Job.id == job_id, Job.finished_at.is_(None))
    paused = paused.values(paused_at=func.coalesce(Job.paused_at, clock())).returning(Job.id)
    return session.execute(paused, execution_options=_UNSYNCHRONISED).one_or_none() is not None


def resume(session: Session, job_id: uuid.UUID) -> bool:
    """Let a job go on, paused or not. False when it has ended."""
    resumed = update(Job).where(Job.id == job_id, Job.finished_at.is_(None)).values(paused_at=None).returning(Job.id)
    return session.execute(resumed, execution_options=_UNSYNCHRONISED).one_or_none() is not None
