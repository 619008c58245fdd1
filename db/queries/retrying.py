"""Retrying what failed of a job, what its deadline overtook included. What has finished is never done again.

A batch of items at a time, each in a transaction of its own with the job's counters: a large job is reopened with its
first batch, and nobody waits for its rows longer than for one.
"""

import uuid
from dataclasses import dataclass

from sqlalchemy import Double, case, cast, delete, select, update
from sqlalchemy.orm import Session

from db.models import Item, Job, Result
from db.queries.history import Said, say
from db.session import clock
from domain.states import RETRIED_ITEM_STATE, RETRIED_JOB_STATES, ItemState, JobState

ITEMS_PER_BATCH = 1000

_UNSYNCHRONISED = {"synchronize_session": False}


@dataclass(frozen=True, slots=True)
class Retried:
    """A batch was queued; behind which position the next one begins, or None where it was the last."""

    next_after: int | None


def retry(session: Session, job_id: uuid.UUID, *, after: int = -1) -> Retried | None:
    """Queue a batch of the failed items behind a position again; its completion window, if it has one, begins anew.

    None where that cannot be: the job was cancelled or deleted, or items are still to follow its end; the caller rolls
    back then.
    What fails again meanwhile is left alone. Attempts go on being counted, so that no late word of an earlier one is
    taken for a new one's. It locks as `db.queries.counters` says.
    """
    is_failed = Item.state == RETRIED_ITEM_STATE
    some = select(Item.id).where(Item.job_id == job_id, is_failed, Item.position > after).order_by(Item.position)
    some = some.limit(ITEMS_PER_BATCH)
    failed = select(Item.id, Item.position).where(Item.id.in_(some.scalar_subquery()), is_failed)
    batch = session.execute(failed.order_by(Item.id).with_for_update()).all()
    if batch:
        _queue(session, [row.id for row in batch])
    if not _reopen(session, job_id, len(batch)):
        return None
    return Retried(max(row.position for row in batch) if len(batch) == ITEMS_PER_BATCH else None)


def _queue(session: Session, item_ids: list[int]) -> None:
    """Items that this transaction has locked; their results go."""
    queued = session.execute(
        update(Item)
        .where(Item.id.in_(item_ids))
        .values(state=ItemState.QUEUED, finished_at=None, num_deaths=0)
        .returning(Item.id, Item.attempt),
        execution_options=_UNSYNCHRONISED,
    )
    say(Said.RETRIED, ((row.id, row.attempt) for row in queued.all()))
    session.execute(delete(Result).where(Result.item_id.in_(item_ids)), execution_options=_UNSYNCHRONISED)


def _reopen(session: Session, job_id: uuid.UUID, num_retried: int) -> bool:
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
            expires_at=case((Job.window_seconds.is_not(None), clock(cast(Job.window_seconds, Double)))),
        )
        .returning(Job.id),
        execution_options=_UNSYNCHRONISED,
    )
    return reopened.one_or_none() is not None
