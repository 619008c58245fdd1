"""The claim protocol: take queued items under a lease, keep the lease, save what was decoded, give back the rest.

Every write names the state, the owner and the attempt it expects. A worker that was presumed dead can therefore say
whatever it likes: its writes change nothing. The counters of the jobs move with the items, in the order of locks that
`db.queries.counters` lays down. What becomes of items whose worker or engine was lost: `db.queries.losses`.
"""

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

from sqlalchemy import ColumnElement, Double, Integer, Row, Select, bindparam, select, tuple_, update
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import ReturningUpdate

from db.models import Item, Job, Preference
from db.queries import fairness
from db.queries.counters import move, settle
from db.queries.fairness import JOBS_PER_LOOK, Candidate, ClaimableJob, claimable_jobs
from db.queries.held_items import end_items, lock_held, requeue
from db.queries.history import Said, say
from db.queries.positions import Position, Positions
from db.session import clock, plan_anew
from domain.attempts import Attempt, ClaimedItem, Outcome
from domain.json_values import JsonObject
from domain.states import ItemState

__all__ = ["Attempt", "ClaimableJob", "ClaimedItem", "Outcome", "claim", "claimable_jobs", "extend", "release", "save"]

MAX_LOOKS = 4
"""How often one claim looks for jobs: enough for one of many jobs that have an item each."""

_Row: TypeAlias = Row[*tuple[Any, ...]]

_UNSYNCHRONISED = {"synchronize_session": False}


class _Taken(NamedTuple):
    """What was taken of one job, in the order of the queue."""

    job: ClaimableJob
    rows: list[_Row]


class _Lease(NamedTuple):
    """On what terms items are taken: by whom, for which model, and for how long."""

    owner: uuid.UUID
    model_digest: str
    seconds: float


def claim(
    session: Session,
    *,
    owner: uuid.UUID,
    model_digest: str,
    limit: int,
    lease_seconds: float,
    positions: Positions | None = None,
) -> list[ClaimedItem]:
    """Lease up to `limit` queued items, of whose turn it is by `db.queries.fairness`, each job's group by group.

    A worker that passes the same `positions` to each of its claims is spared what it claimed before.
    """
    plan_anew(session, in_order=True)
    lease = _Lease(owner, model_digest, lease_seconds)
    taken, waited = _take_in_turn(session, limit, lease, positions or Positions())
    say(Said.CLAIMED, ((row.id, row.attempt) for _, rows in taken for row in rows), owner)
    bodies = _preferences(session, taken)
    ended = move(session, {job.id: _from_queued_to_running(len(rows)) for job, rows in taken})
    items: list[ClaimedItem] = []
    for job, rows in taken:
        if job.id not in ended:
            job_id, preferences, seconds = job.id, bodies[job.tenant_id], waited[job.id]
            items += [
                ClaimedItem(item_id, job_id, attempt, messages, preferences[preference_hash], sampling, seconds)
                for item_id, attempt, _, preference_hash, _, messages, sampling in rows
            ]
    return items


def _from_queued_to_running(num_items: int) -> dict[ItemState, int]:
    return {ItemState.QUEUED: -num_items, ItemState.RUNNING: num_items}


def _take_in_turn(
    session: Session, limit: int, lease: _Lease, positions: Positions
) -> tuple[list[_Taken], dict[uuid.UUID, float | None]]:
    """Items of the jobs whose turn it is, and how many seconds each job has waited.

    A job may yield less than was planned, where others are just taking of it.
    """
    taken: list[_Taken] = []
    num_taken: dict[uuid.UUID, int] = {}
    looked_at: list[Candidate] = []
    passed: list[uuid.UUID] = []
    for _ in range(MAX_LOOKS):
        found = fairness.candidates(session, model_digest=lease.model_digest, passed=passed)
        planned = fairness.plan(found, limit - sum(num_taken.values()))
        for job, num_items in planned.items():
            if rows := _take(session, job.id, num_items, lease, positions):
                taken.append(_Taken(job, rows))
                num_taken[job.id] = len(rows)
        looked_at += found
        passed += [job.id for job in planned]
        if sum(num_taken.values()) == limit or len(planned) == len(found) < JOBS_PER_LOOK:
            break
    fairness.charge(session, model_digest=lease.model_digest, wanting=looked_at, taken=num_taken)
    return taken, {each.job.id: each.waited_seconds for each in looked_at}


def _take(session: Session, job_id: uuid.UUID, limit: int, lease: _Lease, positions: Positions) -> list[_Row]:
    """Items of one job from where the last claim ended; from the beginning, where too few are left ahead."""
    after = positions.after(job_id)
    rows = _take_after(session, job_id, limit, lease, after)
    if after is not None and len(rows) < limit:
        positions.forget(job_id)
        rows += _take_after(session, job_id, limit - len(rows), lease, None)
    elif rows:
        positions.reach(job_id, Position(rows[-1].stretch, rows[-1].preference_hash, rows[-1].position))
    return rows


def _take_after(session: Session, job_id: uuid.UUID, limit: int, lease: _Lease, after: Position | None) -> list[_Row]:
    """In the order of the queue, which RETURNING does not keep; what others are just taking is passed over."""
    given = {
        "of_job": job_id,
        "of_model": lease.model_digest,
        "at_most": limit,
        "by_owner": lease.owner,
        "for_seconds": lease.seconds,
    }
    if after is None:
        rows = session.connection().execute(_TAKE, given).all()
    else:
        rows = session.connection().execute(_TAKE_AFTER, {**given, **dict(zip(_AFTER, after, strict=True))}).all()
    return sorted(rows, key=_place_of)


def _preferences(session: Session, taken: Iterable[_Taken]) -> dict[uuid.UUID, dict[str, JsonObject]]:
    """Each group's preference, once, however many of its items were claimed; of each tenant, by its hash."""
    bodies = defaultdict[uuid.UUID, dict[str, JsonObject]](dict)
    keys = {(job.tenant_id, key) for job, rows in taken for key in {row.preference_hash for row in rows}}
    if keys:
        for tenant_id, key, body in session.connection().execute(_PREFERENCES, {"keys": sorted(keys)}):
            bodies[tenant_id][key] = body
    return bodies


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


def save(
    session: Session,
    *,
    owner: uuid.UUID,
    outcomes: Iterable[Outcome],
    on_stale: Callable[[set[Attempt]], None] = lambda _: None,
) -> set[uuid.UUID]:
    """Keep each outcome whose attempt this owner still holds; return the jobs that moved on.

    A job whose last item it was is completed with it. `on_stale` is told of the attempts that are held no longer.
    """
    plan_anew(session)
    given = {outcome.key: outcome for outcome in outcomes}
    held = lock_held(session, owner=owner, attempts=given)
    say(Said.SAVED, (one.attempt for one in held), owner)
    if len(held) < len(given):
        on_stale(given.keys() - {one.attempt for one in held})
    moved = end_items(session, {one.item_id: one for one in held}, [given[one.attempt] for one in held])
    return {job_id for job_id, _ in groupby(moved, itemgetter(1))} - settle(session, moved)


def release(session: Session, *, owner: uuid.UUID, attempts: Iterable[Attempt]) -> None:
    """Put exactly these attempts back into the queue untried: an attempt that was not made costs none."""
    held = lock_held(session, owner=owner, attempts=attempts)
    say(Said.RELEASED, (one.attempt for one in held), owner)
    settle(session, requeue(session, held, refund=True))


_NAMED = tuple_(Preference.tenant_id, Preference.hash).in_(bindparam("keys", expanding=True))
_PREFERENCES = select(Preference.tenant_id, Preference.hash, Preference.body).where(_NAMED)


def _locking(ids: Select[int]) -> Select[int]:
    """The ids that the select locks. In a CTE: PostgreSQL may run a plain sub-select more than once, and lock anew."""
    return select(ids.cte("locked").c.id)


_PLACE = (Item.stretch, Item.preference_hash, Item.position)
_AFTER = ("after_stretch", "after_hash", "after_position")


def _taking(*conditions: ColumnElement[bool]) -> ReturningUpdate[*tuple[Any, ...]]:
    """The claim itself. Built once, as it runs many times a second."""
    queued = select(Item.id).where(
        Item.state == ItemState.QUEUED,
        Item.model_digest == bindparam("of_model"),
        Item.job_id == bindparam("of_job"),
        *conditions,
    )
    queued = queued.order_by(*_PLACE).limit(bindparam("at_most", type_=Integer()))
    return (
        update(Item)
        # They are locked as queued and so they stay. Saying it again lets PostgreSQL read the whole queue for each of
        # them: statistics that know no queued item make that look cheaper than the primary key.
        .where(Item.id.in_(_locking(queued.with_for_update(skip_locked=True))))
        .values(
            state=ItemState.RUNNING,
            lease_owner=bindparam("by_owner"),
            lease_until=clock(bindparam("for_seconds", type_=Double())),
            attempt=Item.attempt + 1,
        )
        .returning(Item.id, Item.attempt, *_PLACE, Item.messages, Item.sampling)
    )


_place_of = itemgetter(2, 3, 4)
"""Of a row that was taken: its `_PLACE`."""


_TAKE = _taking()
_TAKE_AFTER = _taking(
    tuple_(*_PLACE) > tuple_(*(bindparam(name, type_=part.type) for name, part in zip(_AFTER, _PLACE, strict=True)))
)
