"""What people look at to see how things stand: workers, a tenant's queue by group, its last failures. Reads only."""

import datetime as dt
import uuid
from dataclasses import dataclass, fields

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.models import Item, Job, Preference, Result
from db.queries.workers import ALIVE_SECONDS
from db.registry_models import Worker
from db.session import clock
from domain.engine_load import EngineLoad
from domain.json_values import JsonObject
from domain.states import ItemState, WorkerState

JOBS_LOOKED_AT = 20
"""The newest jobs with failures, in which the last failures are looked for."""
QUEUED_LOOKED_AT = 50_000
"""Of a longer queue, so many items are counted by group."""


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """One incarnation of a worker, as it last said."""

    id: uuid.UUID
    model: str
    digest: str | None
    state: WorkerState
    message: str | None
    tokens_per_second: float | None
    load: EngineLoad | None
    """None until the worker has said it."""
    started_at: dt.datetime
    seen_at: dt.datetime
    is_alive: bool


@dataclass(frozen=True, slots=True)
class QueuedGroup:
    """The queued items of a tenant that share a preference."""

    model: str
    preference: JsonObject | None
    num_items: int
    num_jobs: int


@dataclass(frozen=True, slots=True)
class QueueShare:
    """What is open of one tenant, or of several."""

    num_queued: int = 0
    num_running: int = 0
    num_tenants: int = 0


@dataclass(frozen=True, slots=True)
class QueueByTenant:
    """What is open of a tenant, and of all others."""

    own: QueueShare
    others: QueueShare


@dataclass(frozen=True, slots=True)
class Failure:
    """An item that failed."""

    job_id: uuid.UUID
    job_name: str | None
    position: int
    custom_id: str
    code: str | None
    message: str | None
    failed_at: dt.datetime | None


def list_workers(session: Session, *, limit: int) -> list[WorkerRow]:
    """The incarnations that are remembered, those that are alive first, then the newest."""
    is_alive = Worker.seen_at >= clock(-ALIVE_SECONDS)
    rows = session.execute(select(Worker, is_alive).order_by(is_alive.desc(), Worker.id.desc()).limit(limit))
    return [
        WorkerRow(
            *(row.id, row.model, row.model_digest, row.state, row.message),
            *(row.tokens_per_second, _load(row), row.started_at, row.seen_at, bool(alive)),
        )
        for row, alive in rows
    ]


def _load(row: Worker) -> EngineLoad | None:
    told = {each.name: getattr(row, each.name) for each in fields(EngineLoad)}
    said = (value for name, value in told.items() if name != "cache_bytes_budget")
    return EngineLoad(**told) if told["num_slots"] and None not in said else None


def queue_by_tenant(session: Session, tenant_id: uuid.UUID) -> QueueByTenant:
    """From the counters of open jobs. Of other tenants only how many they are, and their sum."""
    is_mine = Job.tenant_id == tenant_id
    sums = (func.sum(Job.num_queued), func.sum(Job.num_running), func.count(Job.tenant_id.distinct()))
    is_open = (Job.finished_at.is_(None), Job.deleted_at.is_(None), Job.num_queued + Job.num_running > 0)
    rows = session.execute(select(is_mine, *sums).where(*is_open).group_by(is_mine))
    shares = {bool(mine): QueueShare(int(queued), int(running), tenants) for mine, queued, running, tenants in rows}
    return QueueByTenant(shares.get(True, QueueShare()), shares.get(False, QueueShare()))


def queued_groups(session: Session, tenant_id: uuid.UUID, *, limit: int) -> list[QueuedGroup]:
    """The tenant's largest groups, of at most QUEUED_LOOKED_AT items."""
    mine = (Job.tenant_id == tenant_id, Job.finished_at.is_(None), Job.deleted_at.is_(None))
    items = (
        select(Item.model, Item.preference_hash, Item.job_id)
        .join(Job, Job.id == Item.job_id)
        .where(*mine, Item.state == ItemState.QUEUED)
        .limit(QUEUED_LOOKED_AT)
        .subquery()
    ).c
    counted = (
        select(items.model, items.preference_hash, func.count().label("items"), func.count(items.job_id.distinct()))
        .group_by(items.model, items.preference_hash)
        .order_by(func.count().desc(), items.preference_hash)
        .limit(limit)
    )
    groups = session.execute(counted).all()
    hashes = {row.preference_hash for row in groups}
    stored = select(Preference.hash, Preference.body).where(
        Preference.tenant_id == tenant_id, Preference.hash.in_(hashes)
    )
    bodies = {row.hash: row.body for row in session.execute(stored)}
    return [QueuedGroup(model, bodies.get(group), items, jobs) for model, group, items, jobs in groups]


def last_failures(session: Session, tenant_id: uuid.UUID, *, limit: int) -> list[Failure]:
    """The last failures of the tenant's newest jobs that have any, the newest first: of each the last by position."""
    with_failures = (Job.tenant_id == tenant_id, Job.num_failed > 0, Job.deleted_at.is_(None))
    jobs = select(Job.id).where(*with_failures).order_by(Job.id.desc()).limit(JOBS_LOOKED_AT)
    found: list[Failure] = []
    for job_id in session.scalars(jobs).all():  # one by one: each is read in the order of an index
        failed = (
            select(
                *(Item.job_id, Job.name, Item.position, Item.custom_id),
                *(Result.error_code, Result.error_message, Item.finished_at),
            )
            .join(Job, Job.id == Item.job_id)
            .outerjoin(Result, Result.item_id == Item.id)
            .where(Item.job_id == job_id, Item.state == ItemState.FAILED)
            .order_by(Item.position.desc())
            .limit(limit - len(found))
        )
        found += [Failure(*row) for row in session.execute(failed)]
        if len(found) == limit:
            break
    return sorted(found, key=_failed_at, reverse=True)


def _failed_at(failure: Failure) -> dt.datetime:
    return failure.failed_at or dt.datetime.min.replace(tzinfo=dt.UTC)
