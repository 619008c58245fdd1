"""The claim protocol: take queued items under a lease, keep the lease, save what was decoded, give back the rest.

Every write names the state, the owner and the attempt it expects. A worker that was presumed dead can therefore say
whatever it likes: its writes change nothing. The counters of the jobs move with the items, in the order of locks that
`db.queries.counters` lays down. What becomes of items whose worker or engine was lost: `db.queries.losses`.
"""

import uuid
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeAlias

from sqlalchemy import Row, Select, select, tuple_, update
from sqlalchemy.orm import Session

from db.base import JsonObject
from db.models import Item, Job, Preference
from db.queries.attempts import Attempt, ClaimedItem, Outcome
from db.queries.counters import Moved, settle
from db.queries.held_items import end_items, lock_held, requeue
from db.queries.positions import Position, Positions
from db.session import clock
from db.states import ItemState

__all__ = ["Attempt", "ClaimableJob", "ClaimedItem", "Outcome", "claim", "claimable_jobs", "extend", "release", "save"]

JOBS_PER_LOOK = 32

_Row: TypeAlias = Row[*tuple[Any, ...]]

_UNSYNCHRONISED = {"synchronize_session": False}


class ClaimableJob(NamedTuple):
    """An open job that has queued items."""

    id: uuid.UUID
    tenant_id: uuid.UUID


class _Lease(NamedTuple):
    owner: uuid.UUID
    model_digest: str
    seconds: float


def claimable_jobs(session: Session, *, model_digest: str) -> Iterator[ClaimableJob]:
    """Open jobs with queued items for this model, oldest first, by their counters; read as far as is asked for."""
    claimable = (
        select(Job.id, Job.tenant_id)
        .where(Job.finished_at.is_(None), Job.model_digest == model_digest, Job.num_queued > 0)
        .order_by(Job.id)
        .limit(JOBS_PER_LOOK)
    )
    page = [ClaimableJob(*row) for row in session.execute(claimable)]
    while page:
        yield from page
        last = page[-1].id
        full = len(page) == JOBS_PER_LOOK
        page = [ClaimableJob(*row) for row in session.execute(claimable.where(Job.id > last))] if full else []


def claim(
    session: Session,
    *,
    owner: uuid.UUID,
    model_digest: str,
    limit: int,
    lease_seconds: float,
    positions: Positions | None = None,
) -> list[ClaimedItem]:
    """Lease up to `limit` queued items: the oldest job's groups first, topped up from further groups and jobs.

    A worker that passes the same `positions` to each of its claims is spared what it claimed before.
    """
    lease = _Lease(owner, model_digest, lease_seconds)
    reached = positions or Positions()
    taken: list[tuple[ClaimableJob, _Row]] = []
    for job in claimable_jobs(session, model_digest=model_digest):
        taken += [(job, row) for row in _take(session, job.id, limit - len(taken), lease, reached)]
        if len(taken) == limit:
            break
    bodies = _preferences(session, {(job.tenant_id, row.preference_hash) for job, row in taken})
    ended = settle(session, [Moved(row.id, job.id, ItemState.QUEUED, ItemState.RUNNING) for job, row in taken])
    return [
        ClaimedItem(row.id, job.id, row.attempt, row.messages, bodies[job.tenant_id, row.preference_hash], row.sampling)
        for job, row in taken
        if job.id not in ended
    ]


def _take(session: Session, job_id: uuid.UUID, limit: int, lease: _Lease, reached: Positions) -> list[_Row]:
    """Items of one job from where the last claim ended; from the beginning, where too few are left ahead."""
    after = reached.after(job_id)
    rows = _take_after(session, job_id, limit, lease, after)
    if after is not None and len(rows) < limit:
        reached.forget(job_id)
        rows += _take_after(session, job_id, limit - len(rows), lease, None)
    elif rows:
        reached.reach(job_id, Position(rows[-1].preference_hash, rows[-1].position))
    return rows


def _take_after(session: Session, job_id: uuid.UUID, limit: int, lease: _Lease, after: Position | None) -> list[_Row]:
    """In the order of the queue; what others are just taking is passed over."""
    place = (Item.preference_hash, Item.position)
    queued = select(Item.id).where(
        Item.state == ItemState.QUEUED, Item.model_digest == lease.model_digest, Item.job_id == job_id
    )
    if after is not None:
        queued = queued.where(tuple_(*place) > after)
    locked = _locking(queued.order_by(*place).limit(limit).with_for_update(skip_locked=True))
    rows = session.execute(
        update(Item)
        .where(Item.id.in_(locked), Item.state == ItemState.QUEUED)
        .values(
            state=ItemState.RUNNING,
            lease_owner=lease.owner,
            lease_until=clock(lease.seconds),
            attempt=Item.attempt + 1,
        )
        .returning(Item.id, Item.attempt, *place, Item.messages, Item.sampling),
        execution_options=_UNSYNCHRONISED,
    )
    return sorted(rows, key=lambda row: (row.preference_hash, row.position))


def _preferences(session: Session, keys: set[tuple[uuid.UUID, str]]) -> dict[tuple[uuid.UUID, str], JsonObject]:
    """Each group's preference, once, however many of its items were claimed."""
    if not keys:
        return {}
    named = tuple_(Preference.tenant_id, Preference.hash).in_(sorted(keys))
    rows = session.execute(select(Preference.tenant_id, Preference.hash, Preference.body).where(named))
    return {(tenant_id, key): body for tenant_id, key, body in rows}


def extend(session: Session, *, owner: uuid.UUID, lease_seconds: float) -> set[Attempt]:
    """Extend every lease of `owner` and return what it still holds; an attempt that is missing was taken away.

    Leases of a job that has ended are left to run out: it was cancelled, and its items follow.
    """
    is_wanted = Item.job_id.in_(select(Job.id).where(Job.finished_at.is_(None)))
    held = select(Item.id).where(Item.lease_owner == owner, Item.state == ItemState.RUNNING, is_wanted)
    extended = session.execute(
        update(Item)
        .where(Item.id.in_(_locking(held.order_by(Item.id).with_for_update())))
        .values(lease_until=clock(lease_seconds))
        .returning(Item.id, Item.attempt),
        execution_options=_UNSYNCHRONISED,
    )
    return {Attempt(*row) for row in extended}


def save(session: Session, *, owner: uuid.UUID, outcomes: Iterable[Outcome]) -> set[uuid.UUID]:
    """Keep each outcome whose attempt this owner still holds; return the jobs that moved on.

    A job whose last item it was is completed with it.
    """
    given = {outcome.key: outcome for outcome in outcomes}
    held = lock_held(session, owner=owner, attempts=given)
    moved = end_items(session, {one.item_id: one for one in held}, [given[one.attempt] for one in held])
    return {one.job_id for one in moved} - settle(session, moved)


def release(session: Session, *, owner: uuid.UUID, attempts: Iterable[Attempt]) -> None:
    """Put exactly these attempts back into the queue untried: an attempt that was not made costs none."""
    held = lock_held(session, owner=owner, attempts=attempts)
    settle(session, requeue(session, held, refund=True))


def _locking(ids: Select[int]) -> Select[int]:
    """The ids that the select locks. Materialised: PostgreSQL may run a plain sub-select more than once."""
    return select(ids.cte("locked").prefix_with("MATERIALIZED", dialect="postgresql").c.id)
