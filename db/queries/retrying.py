"""Retrying what failed of a job, what its deadline overtook included. What has finished is never done again."""

import uuid

from sqlalchemy import case, delete, select, update
from sqlalchemy.orm import Session

from db.models import Item, Job, Result
from db.queries.history import Said, say
from db.session import clock
from db.states import RETRIED_ITEM_STATE, RETRIED_JOB_STATES, ItemState, JobState

_UNSYNCHRONISED = {"synchronize_session": False}


def retry(session: Session, job_id: uuid.UUID) -> bool:
    """Queue the failed items of a job again; its completion window, if it has one, begins anew.

    False where that cannot be: the job was cancelled, or items are still to follow its end. Attempts go on being
    counted, so that no late word of an earlier one is taken for a new one's. It locks as `db.queries.counters` says.
    """
    failed = select(Item.id).where(Item.job_id == job_id, Item.state == RETRIED_ITEM_STATE)
    locked = failed.order_by(Item.id).with_for_update().cte("locked").prefix_with("MATERIALIZED", dialect="postgresql")
    queued = session.execute(
        update(Item)
        .where(Item.id.in_(select(locked.c.id)), Item.state == RETRIED_ITEM_STATE)
        .values(state=ItemState.QUEUED, finished_at=None, num_deaths=0)
        .returning(Item.id, Item.attempt),
        execution_options=_UNSYNCHRONISED,
    ).all()
    say(Said.RETRIED, ((row.id, row.attempt) for row in queued))
    num_queued = len(queued)
    if num_queued:  # a queued item has no result, so these are theirs
        again = select(Item.id).where(Item.job_id == job_id, Item.state == ItemState.QUEUED)
        session.execute(delete(Result).where(Result.item_id.in_(again)), execution_options=_UNSYNCHRONISED)
    return _reopen(session, job_id, num_queued)


def _reopen(session: Session, job_id: uuid.UUID, num_retried: int) -> bool:
    window = session.scalars(select(Job.window_seconds).where(Job.id == job_id)).one()
    is_retried = (Job.id == job_id, Job.state.in_(RETRIED_JOB_STATES), ~Job.is_winding_up, Job.deleted_at.is_(None))
    if not num_retried:
        return session.scalars(select(Job.id).where(*is_retried)).one_or_none() is not None
    reopened = session.execute(
        update(Job)
        .where(*is_retried)
        .values(
            state=case((Job.started_at.is_(None), JobState.QUEUED), else_=JobState.RUNNING),
            finished_at=None,
            num_failed=Job.num_failed - num_retried,
            num_queued=Job.num_queued + num_retried,
            expires_at=None if window is None else clock(window),
        )
        .returning(Job.id),
        execution_options=_UNSYNCHRONISED,
    )
    return reopened.one_or_none() is not None
