"""Jobs: storing one, reading it with its counts, ending it. Items are counted, never kept count of."""

import datetime as dt
import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    ScalarSelect,
    Select,
    case,
    exists,
    func,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.orm import InstrumentedAttribute, Session

from db.base import JsonObject, new_id
from db.models import Item, Job, Result
from db.session import now
from db.states import OPEN_ITEM_STATES, OPEN_JOB_STATES, ItemState, JobState

RATE_WINDOW = dt.timedelta(seconds=30)
RATE_SAMPLE = 5000
QUEUE_SAMPLE = 10_000
CANCELLED_CODE = "cancelled"
CANCELLED_MESSAGE = "The job was cancelled before this item was decoded."

_UNSYNCHRONISED = {"synchronize_session": False}


@dataclass(frozen=True, slots=True)
class Counts:
    """A job's five exclusive counters; they add up to the total."""

    queued: int
    running: int
    succeeded: int
    failed: int
    cancelled: int
    total: int

    @property
    def unfinished(self) -> int:
        """How many items have not ended."""
        return self.queued + self.running


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One job and where its items stood at one moment."""

    id: uuid.UUID
    tenant_id: uuid.UUID
    state: JobState
    model: str
    model_digest: str | None
    """Which model of that name; None in a job of an older version that no worker has adopted yet."""
    metadata: JsonObject
    counts: Counts
    created_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None


@dataclass(frozen=True, slots=True)
class Window:
    """The items that a job finished lately, and the time they took."""

    num_finished: int
    seconds: float


def insert_job(
    session: Session, *, tenant_id: uuid.UUID, model: str, model_digest: str, metadata: JsonObject, num_items: int
) -> uuid.UUID:
    """Store a job whose items follow in the same transaction; return its id."""
    job_id = new_id()
    session.execute(
        insert(Job).values(
            id=job_id,
            tenant_id=tenant_id,
            state=JobState.QUEUED,
            model=model,
            model_digest=model_digest,
            details=metadata,
            num_items=num_items,
            created_at=now(session),
        )
    )
    return job_id


def find_job(session: Session, *, tenant_id: uuid.UUID, job_id: uuid.UUID) -> JobRecord | None:
    """The tenant's job under this id, with its counts as of one moment."""
    row = session.execute(_with_counts().where(Job.tenant_id == tenant_id, Job.id == job_id)).one_or_none()
    return None if row is None else _record(row)


def list_jobs(
    session: Session,
    *,
    tenant_id: uuid.UUID,
    limit: int,
    after: uuid.UUID | None = None,
    state: JobState | None = None,
) -> list[JobRecord]:
    """The tenant's jobs, newest first, older than `after`."""
    statement = _with_counts().where(Job.tenant_id == tenant_id).order_by(Job.id.desc()).limit(limit)
    if after is not None:
        statement = statement.where(Job.id < after)
    if state is not None:
        statement = statement.where(Job.state == state)
    return [_record(row) for row in session.execute(statement)]


def finished_lately(session: Session, job: JobRecord) -> Window | None:
    """What the job finished in the last seconds; None when that is nothing. Reads a bounded number of rows."""
    moment = now(session)
    newest = (
        select(Item.finished_at)
        .where(Item.job_id == job.id, Item.finished_at > moment - RATE_WINDOW)
        .order_by(Item.finished_at.desc())
        .limit(RATE_SAMPLE)
        .subquery()
    )
    num_finished, oldest = session.execute(select(func.count(), func.min(newest.c.finished_at))).one()
    if not num_finished:
        return None
    begin = max(moment - RATE_WINDOW, job.started_at or job.created_at)
    if num_finished == RATE_SAMPLE:  # the window holds more than was read: it begins with the oldest row that was
        begin = oldest
    return Window(num_finished, max((moment - begin).total_seconds(), 1.0))


def num_queued_before(session: Session, job: JobRecord) -> int:
    """How many items of the same tenant's earlier jobs the workers take before this job's, counted up to a bound."""
    earlier = (
        select(Item.id)
        .join(Job, Job.id == Item.job_id)
        .where(
            Job.tenant_id == job.tenant_id,
            Job.finished_at.is_(None),
            Item.state == ItemState.QUEUED,
            Item.model_digest == job.model_digest,
            Item.job_id < job.id,
        )
        .limit(QUEUE_SAMPLE)
        .subquery()
    )
    return session.scalars(select(func.count()).select_from(earlier)).one()


def waiting_models(session: Session) -> set[str]:
    """The digests of the models that open jobs are for."""
    wanted = select(Job.model_digest).where(Job.finished_at.is_(None), Job.model_digest.is_not(None)).distinct()
    return {digest for digest in session.scalars(wanted) if digest is not None}


def finalise(session: Session, job_id: uuid.UUID) -> bool:
    """Complete a job whose items have all ended. False when some have not, or when it was ended before.

    The row is locked before the items are looked at, so that of two transactions which save the last two items the
    second sees both; it may therefore be called in the transaction that saves. Call it as often as you like.
    """
    session.execute(select(Job.id).where(*_open(job_id)).with_for_update(key_share=True))
    still_open = exists().where(Item.job_id == job_id, Item.state.in_(OPEN_ITEM_STATES))
    return freeze_counts(session, job_id, JobState.COMPLETED, ~still_open)


def cancel(session: Session, job_id: uuid.UUID) -> bool:
    """End a job now: what has finished is kept, everything else is cancelled. False when nothing was left to cancel.

    An item that is being decoded leaves its state, so the worker's late result is refused. Items are locked in the
    order of their ids and before the job, as the workers' saves do.
    """
    open_items = select(Item.id).where(Item.job_id == job_id, Item.state.in_(OPEN_ITEM_STATES)).order_by(Item.id)
    locked = open_items.with_for_update().cte("locked").prefix_with("MATERIALIZED", dialect="postgresql")
    session.execute(
        update(Item)
        .where(Item.id.in_(select(locked.c.id)), Item.state.in_(OPEN_ITEM_STATES))
        .values(state=ItemState.CANCELLED, lease_owner=None, lease_until=None, finished_at=now(session)),
        execution_options=_UNSYNCHRONISED,
    )
    cancelled = select(Item.id, literal(CANCELLED_CODE), literal(CANCELLED_MESSAGE)).where(
        Item.job_id == job_id, Item.state == ItemState.CANCELLED
    )
    if not freeze_counts(session, job_id, JobState.CANCELLED, cancelled.exists()):
        finalise(session, job_id)  # its last item may have ended without anybody having said so
        return False
    session.execute(insert(Result).from_select(["item_id", "error_code", "error_message"], cancelled))
    return True


def readdress(session: Session, job_id: uuid.UUID, *, model: str, model_digest: str) -> bool:
    """Give every item that has not ended to another model, whoever holds it now. False when none was left.

    An item that is being decoded is queued again, so that no text of the model before is saved any more. Locks as
    `cancel` does.
    """
    open_items = select(Item.id).where(Item.job_id == job_id, Item.state.in_(OPEN_ITEM_STATES)).order_by(Item.id)
    locked = open_items.with_for_update().cte("locked").prefix_with("MATERIALIZED", dialect="postgresql")
    moved = session.execute(
        update(Item)
        .where(Item.id.in_(select(locked.c.id)), Item.state.in_(OPEN_ITEM_STATES))
        .values(
            model=model,
            model_digest=model_digest,
            state=ItemState.QUEUED,
            lease_owner=None,
            lease_until=None,
            attempt=0,
        )
        .returning(Item.id),
        execution_options=_UNSYNCHRONISED,
    ).all()
    session.execute(
        update(Job).where(*_open(job_id)).values(model=model, model_digest=model_digest),
        execution_options=_UNSYNCHRONISED,
    )
    return bool(moved)


def freeze_counts(session: Session, job_id: uuid.UUID, state: JobState, *conditions: ColumnElement[bool]) -> bool:
    """Move an open job to a terminal state and keep its counts. False when it was not open, or a condition failed."""
    ended = session.execute(
        update(Job)
        .where(*_open(job_id), *conditions)
        .values(
            state=state,
            finished_at=now(session),
            num_succeeded=_num_items(job_id, ItemState.SUCCEEDED),
            num_failed=_num_items(job_id, ItemState.FAILED),
            num_cancelled=_num_items(job_id, ItemState.CANCELLED),
        )
        .returning(Job.id),
        execution_options=_UNSYNCHRONISED,
    )
    return ended.one_or_none() is not None


def _open(job_id: uuid.UUID) -> tuple[ColumnElement[bool], ...]:
    return (Job.id == job_id, Job.state.in_(OPEN_JOB_STATES))


def _num_items(job_id: uuid.UUID | InstrumentedAttribute[uuid.UUID], state: ItemState) -> ScalarSelect[int]:
    counted = select(func.count()).select_from(Item).where(Item.job_id == job_id, Item.state == state)
    return counted.correlate(Job).scalar_subquery()


def _with_counts() -> Select[*tuple[Any, ...]]:
    """Jobs with their counts, in one statement: one snapshot, so that the counters always add up."""
    frozen = Job.finished_at.is_not(None)
    return select(
        *(Job.id, Job.tenant_id, Job.state, Job.model, Job.model_digest, Job.details),
        case((frozen, 0), else_=_num_items(Job.id, ItemState.QUEUED)),
        case((frozen, 0), else_=_num_items(Job.id, ItemState.RUNNING)),
        case((frozen, Job.num_succeeded), else_=_num_items(Job.id, ItemState.SUCCEEDED)),
        case((frozen, Job.num_failed), else_=_num_items(Job.id, ItemState.FAILED)),
        case((frozen, Job.num_cancelled), else_=_num_items(Job.id, ItemState.CANCELLED)),
        *(Job.num_items, Job.created_at, Job.started_at, Job.finished_at),
    )


def _record(row: Row[*tuple[Any, ...]]) -> JobRecord:
    job_id, tenant_id, state, model, digest, metadata = row[:6]
    return JobRecord(job_id, tenant_id, state, model, digest, metadata, Counts(*row[6:12]), *row[12:])
