"""Deleting an ended job with its items and texts: nobody sees it from then on, and its rows go in batches."""

import uuid

from sqlalchemy import delete, exists, select, update
from sqlalchemy.orm import Session

from db.models import Item, Job
from db.session import clock

ITEMS_PER_BATCH = 1000
ABANDONED_SECONDS = 86_400
"""How old a request that is answered at once has to be for its server to be gone: none waits nearly as long."""

_UNSYNCHRONISED = {"synchronize_session": False}


def delete_job(session: Session, job_id: uuid.UUID) -> bool:
    """Hide an ended job for good; its rows are to be removed. False when it is open, or was deleted before."""
    is_ended = (Job.id == job_id, Job.finished_at.is_not(None), Job.deleted_at.is_(None))
    hidden = update(Job).where(*is_ended).values(deleted_at=clock()).returning(Job.id)
    return session.execute(hidden, execution_options=_UNSYNCHRONISED).one_or_none() is not None


def deleted_jobs(session: Session) -> list[uuid.UUID]:
    """The jobs whose rows are still to be removed."""
    return list(session.scalars(select(Job.id).where(Job.deleted_at.is_not(None)).order_by(Job.id)))


def abandoned_jobs(session: Session) -> list[uuid.UUID]:
    """Requests that were to be answered at once, and whose server was killed before it could remove them."""
    is_old = Job.created_at < clock(-ABANDONED_SECONDS)
    found = select(Job.id).where(~Job.is_announced, Job.deleted_at.is_(None), is_old)
    return list(session.scalars(found.order_by(Job.id)))


def remove(session: Session, job_id: uuid.UUID) -> bool:
    """Remove a batch of a deleted job's items with their results, and the job after the last; True while more is left.

    Rows that somebody else has just locked are passed over: they are for the next batch.
    """
    is_deleted = exists().where(Job.id == job_id, Job.deleted_at.is_not(None))
    some = select(Item.id).where(Item.job_id == job_id, is_deleted).limit(ITEMS_PER_BATCH)
    item_ids = session.scalars(some.with_for_update(skip_locked=True, of=Item)).all()
    if item_ids:
        session.execute(delete(Item).where(Item.id.in_(item_ids)), execution_options=_UNSYNCHRONISED)
    if len(item_ids) == ITEMS_PER_BATCH:
        return True
    is_empty = ~exists().where(Item.job_id == job_id)
    gone = delete(Job).where(Job.id == job_id, Job.deleted_at.is_not(None), is_empty)
    session.execute(gone, execution_options=_UNSYNCHRONISED)
    return False
