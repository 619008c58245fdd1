"""Cancelling a job: its row at once, its items in batches.

The job's row says it all: from the commit of `cancel` on the job has ended, its open items count as cancelled, are read
as cancelled (`db.queries.results`), and are neither claimed nor saved nor kept under a lease. Until the last of their
rows has followed the job `is_winding_up`; anybody may let a batch follow at any time.
"""

import uuid
from collections.abc import Collection

from sqlalchemy import delete, exists, insert, literal, select, update
from sqlalchemy.orm import Session

from db.models import Item, Job, Result
from db.session import clock
from db.states import OPEN_ITEM_STATES, ItemState, JobState

ITEMS_PER_BATCH = 1000
CANCELLED_CODE = "cancelled"
CANCELLED_MESSAGE = "The job was cancelled before this item was decoded."

_UNSYNCHRONISED = {"synchronize_session": False}


def cancel(session: Session, job_id: uuid.UUID) -> bool:
    """End a job now: what has finished is kept, the rest is cancelled. False when nothing was left to cancel.

    One row, however large the job: its items are to `follow`.
    """
    ended = session.execute(
        update(Job)
        .where(Job.id == job_id, Job.finished_at.is_(None), Job.num_queued + Job.num_running > 0)
        .values(
            state=JobState.CANCELLED,
            finished_at=clock(),
            num_cancelled=Job.num_cancelled + Job.num_queued + Job.num_running,
            num_queued=0,
            num_running=0,
            is_winding_up=True,
        )
        .returning(Job.id),
        execution_options=_UNSYNCHRONISED,
    )
    return ended.one_or_none() is not None


def winding_up(session: Session) -> list[uuid.UUID]:
    """The cancelled jobs some of whose items are still to follow, oldest first."""
    return list(session.scalars(select(Job.id).where(Job.is_winding_up).order_by(Job.id)))


def follow(session: Session, job_id: uuid.UUID) -> bool:
    """Cancel a batch of the open items of a job that is winding up; True while there may be more.

    It locks items in the order of their ids, and the job only to say that nothing is left.
    """
    is_open = Item.state.in_(OPEN_ITEM_STATES)
    some = select(Item.id).where(Item.job_id == job_id, is_open).limit(ITEMS_PER_BATCH)
    locked = select(Item.id).where(Item.id.in_(some.scalar_subquery()), is_open).order_by(Item.id).with_for_update()
    still_cancelled = exists().where(Job.id == job_id, Job.is_winding_up)
    item_ids = session.scalars(locked.where(still_cancelled)).all()
    if item_ids:
        _cancel_items(session, item_ids)
    if len(item_ids) == ITEMS_PER_BATCH:
        return True
    none_open = ~exists().where(Item.job_id == job_id, is_open)
    wound_up = update(Job).where(Job.id == job_id, Job.is_winding_up, none_open).values(is_winding_up=False)
    session.execute(wound_up, execution_options=_UNSYNCHRONISED)
    return bool(session.scalars(select(Job.is_winding_up).where(Job.id == job_id)).one_or_none())


def cancel_after_all(session: Session, item_ids: Collection[int]) -> None:
    """Cancel items that this transaction has just ended in some other way, when their job had been cancelled before."""
    session.execute(delete(Result).where(Result.item_id.in_(item_ids)), execution_options=_UNSYNCHRONISED)
    _cancel_items(session, item_ids)


def _cancel_items(session: Session, item_ids: Collection[int]) -> None:
    """Of a cancelled job, whose end is theirs."""
    ended_at = select(Job.finished_at).where(Job.id == Item.job_id).scalar_subquery()
    session.execute(
        update(Item)
        .where(Item.id.in_(item_ids))
        .values(state=ItemState.CANCELLED, lease_owner=None, lease_until=None, finished_at=ended_at),
        execution_options=_UNSYNCHRONISED,
    )
    reasons = select(Item.id, literal(CANCELLED_CODE), literal(CANCELLED_MESSAGE)).where(Item.id.in_(item_ids))
    session.execute(insert(Result).from_select(["item_id", "error_code", "error_message"], reasons))
