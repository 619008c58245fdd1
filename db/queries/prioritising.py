"""Changing when a job is wanted beside its tenant's others: the next claim goes by it."""

import uuid

from sqlalchemy import update
from sqlalchemy.orm import Session

from db.models import Job
from domain.priorities import Priority


def prioritise(session: Session, job_id: uuid.UUID, priority: Priority) -> bool:
    """Give a job this priority. False when it has ended."""
    changed = update(Job).where(Job.id == job_id, Job.finished_at.is_(None)).values(priority=priority)
    changed = changed.returning(Job.id)
    return session.execute(changed, execution_options={"synchronize_session": False}).one_or_none() is not None
