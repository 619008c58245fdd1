"""Batches: a row each beside the job that it is. Where a batch stands, its job says; here is what else there is.

A batch is stored before its file is read, so that a request that is sent again finds the first one, however long the
reading takes. Whoever reads the file decides: a job, a refusal, or nothing at all.
"""

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Update, and_, delete, exists, func, insert, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from db.models import Item, Job, Result, Tenant
from db.openai_models import Batch
from db.queries import events
from db.queries.events import EventType
from db.session import clock
from domain.json_values import JsonObject

READ_SECONDS = 900
"""How long reading a file may take. Without a decision by then, whoever read it has died."""

_UNSYNCHRONISED = {"synchronize_session": False}


@dataclass(frozen=True, slots=True)
class NewBatch:
    """A batch that is to be stored, as its create asked for it."""

    endpoint: str
    input_file_id: uuid.UUID
    completion_window: str
    metadata: JsonObject
    fingerprint: str
    output_seconds: int | None


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """One batch at one moment."""

    id: uuid.UUID
    job_id: uuid.UUID | None
    endpoint: str
    input_file_id: uuid.UUID
    completion_window: str
    metadata: JsonObject
    output_seconds: int | None
    errors: list[JsonObject] | None
    created_at: dt.datetime
    read_by: dt.datetime
    failed_at: dt.datetime | None
    cancelling_at: dt.datetime | None
    output_deleted_at: dt.datetime | None
    error_deleted_at: dt.datetime | None
    totals: JsonObject | None
    read_at: dt.datetime
    """The moment that all of this is true of, by the database's clock."""

    @property
    def was_interrupted(self) -> bool:
        """Whether nothing was decided in time."""
        return self.job_id is None and self.failed_at is None and self.read_by <= self.read_at


def take_turns(session: Session, tenant_id: uuid.UUID) -> None:
    """Wait for the tenant's other batches that are just being stored: of two equal ones the second finds the first."""
    session.execute(select(Tenant.id).where(Tenant.id == tenant_id).with_for_update(key_share=True))


def find_repeated(session: Session, *, tenant_id: uuid.UUID, fingerprint: str, seconds: int) -> uuid.UUID | None:
    """The tenant's newest batch of this fingerprint, if it was created within so many seconds and was decided on."""
    in_time = Batch.created_at > clock(-seconds)
    decided = or_(Batch.job_id.is_not(None), Batch.failed_at.is_not(None), Batch.read_by > clock())
    newest = select(Batch.id).where(*_visible(tenant_id), Batch.fingerprint == fingerprint, in_time, decided)
    return session.scalars(newest.order_by(Batch.id.desc()).limit(1)).one_or_none()


def insert_batch(session: Session, *, tenant_id: uuid.UUID, batch_id: uuid.UUID, new: NewBatch) -> None:
    """Store a batch whose file is about to be read."""
    session.execute(
        insert(Batch).values(
            id=batch_id,
            tenant_id=tenant_id,
            endpoint=new.endpoint,
            input_file_id=new.input_file_id,
            completion_window=new.completion_window,
            details=new.metadata,
            fingerprint=new.fingerprint,
            output_seconds=new.output_seconds,
            created_at=clock(),
            read_by=clock(READ_SECONDS),
        )
    )


def hand_over(session: Session, batch_id: uuid.UUID, job_id: uuid.UUID) -> bool:
    """The batch is this job from now on. False when it was cancelled meanwhile, or is taken for interrupted."""
    undecided = (Batch.id == batch_id, Batch.job_id.is_(None), Batch.cancelling_at.is_(None), Batch.read_by > clock())
    given = update(Batch).where(*undecided).values(job_id=job_id).returning(Batch.id)
    return session.execute(given, execution_options=_UNSYNCHRONISED).one_or_none() is not None


def refuse(session: Session, batch_id: uuid.UUID, errors: Sequence[JsonObject]) -> None:
    """The batch's file was refused, for these reasons."""
    undecided = (Batch.id == batch_id, Batch.job_id.is_(None), Batch.failed_at.is_(None), Batch.cancelling_at.is_(None))
    refused = update(Batch).where(*undecided).values(failed_at=clock(), errors=list(errors))
    _end(session, refused, EventType.BATCH_FAILED)


def withdraw(session: Session, batch_id: uuid.UUID) -> bool:
    """Forget a batch that came to nothing, as if it had never been asked for. False where there is none, or no more."""
    undecided = (Batch.id == batch_id, Batch.job_id.is_(None), Batch.failed_at.is_(None))
    gone = delete(Batch).where(*undecided).returning(Batch.id)
    return session.execute(gone, execution_options=_UNSYNCHRONISED).one_or_none() is not None


def was_interrupted(session: Session, batch_id: uuid.UUID) -> bool:
    """Whether nothing was decided on the batch in time."""
    undecided = (Batch.job_id.is_(None), Batch.failed_at.is_(None), Batch.cancelling_at.is_(None))
    interrupted = select(Batch.id).where(Batch.id == batch_id, *undecided, Batch.read_by <= clock())
    return session.scalars(interrupted).one_or_none() is not None


def find_batch(session: Session, *, tenant_id: uuid.UUID, batch_id: uuid.UUID) -> BatchRecord | None:
    """The tenant's batch under this id."""
    row = session.execute(select(*_RECORD).where(*_visible(tenant_id), Batch.id == batch_id)).one_or_none()
    return None if row is None else BatchRecord(*tuple(row))


def list_batches(
    session: Session,
    *,
    tenant_id: uuid.UUID,
    limit: int,
    beyond: uuid.UUID | None,
    newest_first: bool = True,
    with_results: bool = False,
) -> list[BatchRecord]:
    """The tenant's batches in the order of their age, from behind `beyond` on; all, or those that have results."""
    statement = select(*_RECORD).where(*_visible(tenant_id))
    if beyond is not None:
        statement = statement.where(Batch.id < beyond if newest_first else Batch.id > beyond)
    if with_results:
        num_ended = Job.num_succeeded + Job.num_failed + Job.num_cancelled
        statement = statement.where(exists().where(Job.id == Batch.job_id, num_ended > 0))
    ordered = statement.order_by(Batch.id.desc() if newest_first else Batch.id)
    return [BatchRecord(*tuple(row)) for row in session.execute(ordered.limit(limit))]


def cancel(session: Session, batch_id: uuid.UUID) -> uuid.UUID | None:
    """Note when a client first asked to cancel the batch; one that has no job yet gets none. Return the job it has."""
    undecided = (Batch.id == batch_id, Batch.failed_at.is_(None), Batch.job_id.is_(None), Batch.cancelling_at.is_(None))
    _end(session, update(Batch).where(*undecided).values(cancelling_at=clock()), EventType.BATCH_CANCELLED)
    noted = (
        update(Batch)
        .where(Batch.id == batch_id, Batch.failed_at.is_(None))
        .values(cancelling_at=func.coalesce(Batch.cancelling_at, clock()))
        .returning(Batch.job_id)
    )
    return session.execute(noted, execution_options=_UNSYNCHRONISED).scalar_one_or_none()


def delete_output(session: Session, batch_id: uuid.UUID) -> None:
    """Nobody sees the batch's output file any more."""
    _delete_part(session, batch_id, Batch.output_deleted_at)


def delete_error(session: Session, batch_id: uuid.UUID) -> None:
    """Nobody sees the batch's error file any more."""
    _delete_part(session, batch_id, Batch.error_deleted_at)


def num_tokens(session: Session, job_id: uuid.UUID) -> tuple[int, int]:
    """The tokens of all prompts and of all answers of a job."""
    sums = (func.coalesce(func.sum(column), 0) for column in (Result.num_prompt_tokens, Result.num_completion_tokens))
    summed = select(*sums).join_from(Item, Result, Result.item_id == Item.id).where(Item.job_id == job_id)
    given, written = tuple(session.execute(summed).one())
    return int(given), int(written)


def keep_totals(session: Session, batch_id: uuid.UUID, totals: JsonObject) -> None:
    """Keep what was counted of a batch that has ended."""
    kept = update(Batch).where(Batch.id == batch_id).values(totals=totals)
    session.execute(kept, execution_options=_UNSYNCHRONISED)


def _end(session: Session, end: Update, event_type: EventType) -> None:
    """End a batch that has no job, if it can be, and record that."""
    ended = session.execute(end.returning(Batch.id, Batch.tenant_id), execution_options=_UNSYNCHRONISED).one_or_none()
    if ended is not None:
        events.record_batch(session, tenant_id=ended.tenant_id, batch_id=ended.id, event_type=event_type)


def _delete_part(session: Session, batch_id: uuid.UUID, column: InstrumentedAttribute[dt.datetime | None]) -> None:
    gone = update(Batch).where(Batch.id == batch_id, column.is_(None)).values({column: clock()})
    session.execute(gone, execution_options=_UNSYNCHRONISED)


_RECORD: tuple[Any, ...] = (
    *(Batch.id, Batch.job_id, Batch.endpoint, Batch.input_file_id, Batch.completion_window, Batch.details),
    *(Batch.output_seconds, Batch.errors, Batch.created_at, Batch.read_by, Batch.failed_at, Batch.cancelling_at),
    *(Batch.output_deleted_at, Batch.error_deleted_at, Batch.totals, clock().label("read_at")),
)


def _visible(tenant_id: uuid.UUID) -> tuple[ColumnElement[bool], ...]:
    """Conditions under which a batch is the tenant's and its job, if it has one, is not deleted."""
    has_its_job = exists().where(and_(Job.id == Batch.job_id, Job.deleted_at.is_(None)))
    return (Batch.tenant_id == tenant_id, or_(Batch.job_id.is_(None), has_its_job))
