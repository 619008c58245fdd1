"""Message batches: a row each beside the job that it is. Where a batch stands, its job says; here is what else is.

A batch is stored together with its job, or not at all.
"""

import datetime as dt
import uuid
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import ColumnElement, exists, func, insert, select, update
from sqlalchemy.orm import Session

from db.anthropic_models import MessageBatch
from db.base import new_id
from db.models import Item, Job, Result
from db.queries.cancelling import CODES
from db.session import clock
from domain.states import ItemState, JobState

_UNSYNCHRONISED = {"synchronize_session": False}


@dataclass(frozen=True, slots=True)
class MessageBatchRecord:
    """One batch at one moment."""

    id: uuid.UUID
    job_id: uuid.UUID
    created_at: dt.datetime
    cancel_initiated_at: dt.datetime | None


@dataclass(frozen=True, slots=True)
class Page:
    """Which batches are asked for: so many, next to one of them on its younger or on its older side, or the newest."""

    limit: int
    older_than: uuid.UUID | None = None
    younger_than: uuid.UUID | None = None


def find_repeated(session: Session, *, tenant_id: uuid.UUID, fingerprint: str, seconds: int) -> uuid.UUID | None:
    """The tenant's newest batch of this fingerprint, if it was created within so many seconds."""
    in_time = MessageBatch.created_at > clock(-seconds)
    newest = select(MessageBatch.id).where(*_visible(tenant_id), MessageBatch.fingerprint == fingerprint, in_time)
    return session.scalars(newest.order_by(MessageBatch.id.desc()).limit(1)).one_or_none()


def insert_batch(session: Session, *, tenant_id: uuid.UUID, job_id: uuid.UUID, fingerprint: str) -> uuid.UUID:
    """The job of this transaction is a batch; return the batch's id."""
    batch_id = new_id()
    values = {"id": batch_id, "tenant_id": tenant_id, "job_id": job_id, "fingerprint": fingerprint}
    session.execute(insert(MessageBatch).values(**values, created_at=clock()))
    return batch_id


def find_batch(session: Session, *, tenant_id: uuid.UUID, batch_id: uuid.UUID) -> MessageBatchRecord | None:
    """The tenant's batch under this id."""
    row = session.execute(select(*_RECORD).where(*_visible(tenant_id), MessageBatch.id == batch_id)).one_or_none()
    return None if row is None else MessageBatchRecord(*row)


def list_batches(session: Session, *, tenant_id: uuid.UUID, page: Page) -> list[MessageBatchRecord]:
    """The tenant's batches of a page, newest first."""
    statement = select(*_RECORD).where(*_visible(tenant_id)).limit(page.limit)
    if page.younger_than is not None:
        nearest_first = statement.where(MessageBatch.id > page.younger_than).order_by(MessageBatch.id)
        return [MessageBatchRecord(*row) for row in session.execute(nearest_first)][::-1]
    if page.older_than is not None:
        statement = statement.where(MessageBatch.id < page.older_than)
    return [MessageBatchRecord(*row) for row in session.execute(statement.order_by(MessageBatch.id.desc()))]


def note_cancel(session: Session, batch_id: uuid.UUID) -> None:
    """Note when a client first asked to cancel the batch."""
    noted = update(MessageBatch).where(MessageBatch.id == batch_id, MessageBatch.cancel_initiated_at.is_(None))
    session.execute(noted.values(cancel_initiated_at=clock()), execution_options=_UNSYNCHRONISED)


def num_errored(session: Session, job_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, int]:
    """Of jobs that have expired, how many items had failed for another reason before."""
    if not job_ids:
        return {}
    failed = (Item.job_id.in_(job_ids), Item.state == ItemState.FAILED)
    otherwise = Result.error_code != CODES[JobState.EXPIRED]
    counted = select(Item.job_id, func.count()).join(Result, Result.item_id == Item.id).where(*failed, otherwise)
    return {job_id: number for job_id, number in session.execute(counted.group_by(Item.job_id))}  # noqa: C416 - rows are no pairs


_RECORD = (MessageBatch.id, MessageBatch.job_id, MessageBatch.created_at, MessageBatch.cancel_initiated_at)


def _visible(tenant_id: uuid.UUID) -> tuple[ColumnElement[bool], ...]:
    """Conditions under which a batch is the tenant's and its job is not deleted."""
    has_its_job = exists().where(Job.id == MessageBatch.job_id, Job.deleted_at.is_(None))
    return (MessageBatch.tenant_id == tenant_id, has_its_job)
