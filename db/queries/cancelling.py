"""Ending a job before its items have: by a cancel or by its deadline. Its row at once, its items in batches.

The job's row says it all: from the commit of `cancel` on the job has ended, its open items count as cancelled, are read
as cancelled (`db.queries.results`), and are neither claimed nor saved nor kept under a lease. Until the last of their
rows has followed the job `is_winding_up`; anybody may let a batch follow at any time. A deadline does the same, but the
items it overtakes have failed (`domain.states.EARLY_ENDS`).
"""

import uuid
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, case, delete, exists, insert, literal, select, update
from sqlalchemy.orm import Session
from sqlalchemy.types import TypeEngine

from db.models import Item, Job, Result
from db.queries import events
from db.queries.history import Said, say
from db.session import clock
from domain.states import EARLY_ENDS, OPEN_ITEM_STATES, JobState

T = TypeVar("T", bound=str)

ITEMS_PER_BATCH = 1000
CODES = MappingProxyType({JobState.CANCELLED: "cancelled", JobState.EXPIRED: "expired"})
MESSAGES = MappingProxyType(
    {
        JobState.CANCELLED: "The job was cancelled before this item was decoded.",
        JobState.EXPIRED: "The job's completion window ended before this item was decoded.",
    }
)
"""Why an item has no text whose job ended so."""

_UNSYNCHRONISED = {"synchronize_session": False}


def cancel(session: Session, job_id: uuid.UUID) -> bool:
    """End a job now: what has finished is kept, the rest is cancelled. False when nothing was left to cancel."""
    return end_early(session, job_id, JobState.CANCELLED)


def end_early(session: Session, job_id: uuid.UUID, state: JobState, *conditions: ColumnElement[bool]) -> bool:
    """End a job now that meets the conditions, in one of EARLY_ENDS. False when nothing of it was open.

    One row, however large the job: its items are to `follow`.
    """
    num_open = Job.num_queued + Job.num_running
    counter = f"num_{EARLY_ENDS[state]}"
    ended = session.execute(
        update(Job)
        .where(Job.id == job_id, Job.finished_at.is_(None), num_open > 0, *conditions)
        .values(
            {
                "state": state,
                "finished_at": clock(),
                counter: getattr(Job, counter) + num_open,
                "num_queued": 0,
                "num_running": 0,
                "is_winding_up": True,
            }
        )
        .returning(Job.id),
        execution_options=_UNSYNCHRONISED,
    )
    has_ended = ended.one_or_none() is not None
    if has_ended:
        events.record_ends(session, [job_id])
    return has_ended


def winding_up(session: Session) -> list[uuid.UUID]:
    """The jobs that ended early and some of whose items are still to follow, oldest first."""
    return list(session.scalars(select(Job.id).where(Job.is_winding_up).order_by(Job.id)))


def follow(session: Session, job_id: uuid.UUID) -> bool:
    """End a batch of the open items of a job that is winding up; True while there may be more.

    It locks items in the order of their ids, and the job only to say that nothing is left.
    """
    is_open = Item.state.in_(OPEN_ITEM_STATES)
    some = select(Item.id).where(Item.job_id == job_id, is_open).limit(ITEMS_PER_BATCH)
    locked = select(Item.id).where(Item.id.in_(some.scalar_subquery()), is_open).order_by(Item.id).with_for_update()
    still_winding_up = exists().where(Job.id == job_id, Job.is_winding_up)
    item_ids = session.scalars(locked.where(still_winding_up)).all()
    if item_ids:
        _end_items(session, item_ids)
    if len(item_ids) == ITEMS_PER_BATCH:
        return True
    none_open = ~exists().where(Item.job_id == job_id, is_open)
    wound_up = update(Job).where(Job.id == job_id, Job.is_winding_up, none_open).values(is_winding_up=False)
    session.execute(wound_up, execution_options=_UNSYNCHRONISED)
    return bool(session.scalars(select(Job.is_winding_up).where(Job.id == job_id)).one_or_none())


def end_after_all(session: Session, item_ids: Collection[int]) -> None:
    """End items as their job did, that this transaction has just ended in some other way: the job was first."""
    session.execute(delete(Result).where(Result.item_id.in_(item_ids)), execution_options=_UNSYNCHRONISED)
    _end_items(session, item_ids)


def of_early_end(values: Mapping[JobState, T], kind: TypeEngine[Any]) -> ColumnElement[T]:
    """The value, of this SQL type, for the state that a job ended early in; NULL for any other."""
    return case(*((Job.state == state, literal(value, kind)) for state, value in values.items()))


def _end_items(session: Session, item_ids: Collection[int]) -> None:
    """Give these items, of jobs that ended early, the state, the moment and the error of their job's end."""
    of_job = select(Job).where(Job.id == Item.job_id)
    ended = session.execute(
        update(Item)
        .where(Item.id.in_(item_ids))
        .values(
            state=of_job.with_only_columns(of_early_end(EARLY_ENDS, Item.state.type)).scalar_subquery(),
            lease_owner=None,
            lease_until=None,
            finished_at=of_job.with_only_columns(Job.finished_at).scalar_subquery(),
        )
        .returning(Item.id, Item.attempt),
        execution_options=_UNSYNCHRONISED,
    )
    say(Said.CANCELLED, ((row.id, row.attempt) for row in ended.all()))
    reasons = select(
        Item.id, of_early_end(CODES, Result.error_code.type), of_early_end(MESSAGES, Result.error_message.type)
    ).join(Job, Job.id == Item.job_id)
    session.execute(
        insert(Result).from_select(["item_id", "error_code", "error_message"], reasons.where(Item.id.in_(item_ids)))
    )
