"""Jobs: storing one, reading it, giving it to another model. A read costs the same whatever the size of the job.

The counters are `db.queries.counters`' to move; a cancel is in `db.queries.cancelling`.
"""

import datetime as dt
import uuid
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, bindparam, case, func, insert, null, select, tuple_, update
from sqlalchemy.orm import Session, aliased

from db.base import new_id
from db.models import Item, Job
from db.queries import counters, fairness
from db.session import clock
from domain.holdouts import Holdout
from domain.json_values import JsonObject
from domain.priorities import Priority
from domain.states import OPEN_ITEM_STATES, ItemState, JobState

_UNSYNCHRONISED = {"synchronize_session": False}
JOBS_BEFORE_SAMPLE = 200
"""How many open jobs are looked at for what a job waits behind."""


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

    @property
    def ended(self) -> int:
        """How many items have ended."""
        return self.succeeded + self.failed + self.cancelled


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a job is wanted: how soon beside the tenant's other jobs, from when on, and until when."""

    priority: Priority = Priority.NORMAL
    not_before: dt.datetime | None = None
    window_seconds: int | None = None


AT_ONCE = Schedule()


@dataclass(frozen=True, slots=True)
class Facts:
    """What is said of a job once, when it is stored: its name, and what became of its audience."""

    name: str | None = None
    holdout: Holdout | None = None
    num_holdout: int = 0
    """Items whose users are held out."""
    num_skipped: int = 0
    """Users who have no item, because they lack an attribute that the prompt names."""


NO_FACTS = Facts()


@dataclass(frozen=True, slots=True)
class Waiting:
    """What the workers take before a job's items: queued items of the same tenant's jobs that go first."""

    num_items: int
    is_all: bool
    """False where there are more jobs than were looked at."""
    has_others: bool
    """Whether other tenants have work for the same workers, as far as was looked."""


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
    schedule: Schedule
    expires_at: dt.datetime | None
    paused_at: dt.datetime | None
    read_at: dt.datetime
    """The moment that all of this is true of, by the database's clock."""
    rate: float | None
    """Items per second, over the last 15 to 30 seconds; None when nothing ended lately, and once the job has ended."""
    facts: Facts
    behind: Waiting | None
    """None unless the job waits: then something of it is queued, and nothing is running."""


def insert_job(
    session: Session,
    *,
    tenant_id: uuid.UUID,
    model: str,
    model_digest: str,
    metadata: JsonObject,
    num_items: int,
    schedule: Schedule = AT_ONCE,
    facts: Facts = NO_FACTS,
    is_announced: bool = True,
) -> uuid.UUID:
    """Store a job whose items follow in the same transaction; return its id. `is_announced`: its end is an event."""
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
            num_queued=num_items,
            name=facts.name,
            holdout_share=facts.holdout and facts.holdout.share,
            holdout_seed=facts.holdout and facts.holdout.seed,
            num_holdout=facts.num_holdout,
            num_skipped=facts.num_skipped,
            is_announced=is_announced,
            priority=schedule.priority,
            not_before=schedule.not_before,
            window_seconds=schedule.window_seconds,
            expires_at=None if schedule.window_seconds is None else clock(schedule.window_seconds),
            created_at=clock(),
        )
    )
    return job_id


def find_job(session: Session, *, tenant_id: uuid.UUID, job_id: uuid.UUID) -> JobRecord | None:
    """The tenant's job under this id, as of one moment."""
    row = session.execute(_one_job(), {"the_tenant": tenant_id, "the_job": job_id}).one_or_none()
    return None if row is None else _record(row)


def find_jobs(session: Session, job_ids: Collection[uuid.UUID]) -> list[JobRecord]:
    """These jobs, whoever's they are, as of one moment; those that were deleted are left out."""
    if not job_ids:
        return []
    return [_record(row) for row in session.execute(_jobs().where(Job.id.in_(job_ids)))]


def list_jobs(
    session: Session,
    *,
    tenant_id: uuid.UUID,
    limit: int,
    after: uuid.UUID | None = None,
    state: JobState | None = None,
    name: str | None = None,
) -> list[JobRecord]:
    """The tenant's jobs, newest first, older than `after`; one statement, however many they are."""
    statement = _jobs().where(Job.tenant_id == tenant_id).order_by(Job.id.desc()).limit(limit)
    if after is not None:
        statement = statement.where(Job.id < after)
    if state is not None:
        statement = statement.where(Job.state == state)
    if name is not None:
        statement = statement.where(Job.name == name)
    return [_record(row) for row in session.execute(statement)]


def open_among(session: Session, job_ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
    """Which of these jobs have not ended."""
    return set(session.scalars(select(Job.id).where(Job.id.in_(job_ids), Job.finished_at.is_(None))))


def any_ended(session: Session, job_ids: Collection[uuid.UUID]) -> bool:
    """Whether one of these jobs has ended."""
    ended = select(Job.id).where(Job.id.in_(job_ids), Job.finished_at.is_not(None)).limit(1)
    return session.scalars(ended).one_or_none() is not None


def waiting_models(session: Session) -> set[str]:
    """The digests of the models that open jobs are for."""
    wanted = select(Job.model_digest).where(Job.finished_at.is_(None), Job.model_digest.is_not(None)).distinct()
    return {digest for digest in session.scalars(wanted) if digest is not None}


def readdress(session: Session, job_id: uuid.UUID, *, model: str, model_digest: str) -> bool:
    """Give every item that has not ended to another model, whoever holds it now. False when none was left.

    An item that is being decoded is queued again, so that no text of the model before is saved any more. Attempts go on
    being counted: a job that comes back to the model before gives none of their names a second time.
    """
    is_open = (Item.job_id == job_id, Item.state.in_(OPEN_ITEM_STATES))
    locked = select(Item.state).where(*is_open).order_by(Item.id).with_for_update().cte("locked")
    is_running = case((locked.c.state == ItemState.RUNNING, 1), else_=0)
    num_open, num_running = session.execute(
        select(func.count(), func.coalesce(func.sum(is_running), 0)).select_from(locked)
    ).one()
    session.execute(
        update(Item)
        .where(*is_open)
        .values(
            model=model,
            model_digest=model_digest,
            state=ItemState.QUEUED,
            lease_owner=None,
            lease_until=None,
            num_deaths=0,
        ),
        execution_options=_UNSYNCHRONISED,
    )
    change = {ItemState.RUNNING: -num_running, ItemState.QUEUED: num_running}
    if not num_open or counters.move(session, {job_id: change}):
        return False  # cancelled: whatever its items say now, they follow
    session.execute(
        update(Job).where(Job.id == job_id).values(model=model, model_digest=model_digest),
        execution_options=_UNSYNCHRONISED,
    )
    return True


@cache
def _one_job() -> Select[*tuple[Any, ...]]:
    return _jobs().where(Job.tenant_id == bindparam("the_tenant"), Job.id == bindparam("the_job"))


@cache  # building it takes longer than all else that a status costs
def _jobs() -> Select[*tuple[Any, ...]]:
    """Jobs, each with what it needs to be told of it: one statement, so one moment."""
    rate_ends = Job.rate_mark > clock(-counters.RATE_STALE_SECONDS)
    return select(
        *(Job.id, Job.tenant_id, Job.state, Job.model, Job.model_digest, Job.details),
        *(Job.num_queued, Job.num_running, Job.num_succeeded, Job.num_failed, Job.num_cancelled, Job.num_items),
        *(Job.created_at, Job.started_at, Job.finished_at),
        *(Job.priority, Job.not_before, Job.window_seconds, Job.expires_at, Job.paused_at),
        *(Job.name, Job.holdout_share, Job.holdout_seed, Job.num_holdout, Job.num_skipped),
        clock().label("read_at"),
        case((rate_ends, Job.rate_since), else_=null()).label("rate_since"),
        Job.rate_base,
        *_waiting_for(),
    ).where(Job.deleted_at.is_(None))


def _waiting_for() -> tuple[ColumnElement[Any], ...]:
    """Of a job that waits: how many items go before its own, in how many jobs this was looked up, and other tenants'.

    The first open jobs for its model are looked at, of its tenant and of all, as many as JOBS_BEFORE_SAMPLE.
    """
    other = aliased(Job)
    goes_first = tuple_(fairness.rank(other), other.id) < tuple_(fairness.rank(Job), Job.id)
    is_open = (other.model_digest == Job.model_digest, other.finished_at.is_(None))
    before = case((and_(goes_first, *fairness.may_be_claimed(other)), other.num_queued), else_=0)
    is_others = and_(other.tenant_id != Job.tenant_id, *fairness.may_be_claimed(other))
    of_its_tenant = select(before.label("before")).where(other.tenant_id == Job.tenant_id, *is_open)
    of_all = select(case((is_others, 1), else_=0).label("is_others")).where(*is_open)
    own, all_ = (
        looked_at.order_by(other.id).limit(JOBS_BEFORE_SAMPLE).correlate(Job).subquery()
        for looked_at in (of_its_tenant, of_all)
    )
    counted = {
        "num_before": select(func.coalesce(func.sum(own.c.before), 0)),
        "num_jobs_before": select(func.count(own.c.before)),
        "has_others": select(func.coalesce(func.max(all_.c.is_others), 0)),
    }
    waits = and_(Job.num_queued > 0, Job.num_running == 0, Job.finished_at.is_(None))
    return tuple(case((waits, each.scalar_subquery()), else_=null()).label(name) for name, each in counted.items())


def _record(row: Row[*tuple[Any, ...]]) -> JobRecord:
    counts = Counts(
        queued=row.num_queued,
        running=row.num_running,
        succeeded=row.num_succeeded,
        failed=row.num_failed,
        cancelled=row.num_cancelled,
        total=row.num_items,
    )
    if row.finished_at is not None:  # a version that kept no counters may have ended it
        counts = replace(counts, queued=0, running=0)
    return JobRecord(
        id=row.id,
        tenant_id=row.tenant_id,
        state=row.state,
        model=row.model,
        model_digest=row.model_digest,
        metadata=row.details,
        counts=counts,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        schedule=Schedule(row.priority, row.not_before, row.window_seconds),
        expires_at=row.expires_at,
        paused_at=row.paused_at,
        read_at=row.read_at,
        rate=_rate(row, counts) if row.finished_at is None else None,
        facts=Facts(row.name, _holdout(row), row.num_holdout, row.num_skipped),
        behind=_waiting(row),
    )


def _holdout(row: Row[*tuple[Any, ...]]) -> Holdout | None:
    is_held_out = row.holdout_share is not None and row.holdout_seed is not None
    return Holdout(row.holdout_share, row.holdout_seed) if is_held_out else None


def _rate(row: Row[*tuple[Any, ...]], counts: Counts) -> float | None:
    """None, too, before as many items have ended as are being decoded: the first to end say little of the others."""
    num_ended = counts.ended - row.rate_base
    if row.rate_since is None or num_ended <= 0 or counts.ended < counts.running:
        return None
    return float(num_ended / max((row.read_at - row.rate_since).total_seconds(), 1.0))


def _waiting(row: Row[*tuple[Any, ...]]) -> Waiting | None:
    if row.num_before is None:
        return None
    return Waiting(row.num_before, row.num_jobs_before < JOBS_BEFORE_SAMPLE, bool(row.has_others))
