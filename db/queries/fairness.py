"""Whose items are next: tenants by what they were served, then one tenant's jobs by priority. Decided in each claim.

1. Every item that is claimed for a tenant moves the tenant's virtual time by 1 / weight, and the next items are
   those of the tenant whose virtual time is lowest: tenants that have work are served in proportion to their weights.
2. A tenant that had no work does not save up its share: it begins CREDIT before the virtual time at which the last
   claim began, which lets a small job through at once and a large one not far.
3. Tenants in credit go before all others. Among them who comes later joins at the least served of those whose work
   ends within their credit, one LEAST_PART before it, and so shares with them from then on instead of pushing them
   aside. How far that is behind where it begins is its lag, which costs it none of its credit.
4. Where several tenants have work, a claim is split into up to PARTS, so that no large claim is all of one tenant.
5. Priority orders a tenant's own jobs and takes nothing from others; a class that was passed over for AGEING_SECONDS
   counts as the next higher one until it is served, so nothing starves, and equals are served oldest first.
6. Virtual times are added to in the claim's transaction, whoever else claims at that moment, so they are right for any
   number of workers; what two workers do not yet know of each other is at most what they are just claiming.

This is start-time fair queueing (Goyal, Vin and Cheng, 1996), kept in SQL. Which groups a job's items are taken in:
`db.queries.items`.
"""

import datetime as dt
import math
import uuid
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Double,
    Executable,
    Integer,
    Select,
    String,
    and_,
    bindparam,
    case,
    func,
    literal_column,
    or_,
    select,
)
from sqlalchemy.orm import InstrumentedAttribute, Session

from db.conflicts import insert_for
from db.models import Job, Tenant, TenantShare
from db.session import clock
from domain.priorities import Priority

JOBS_PER_LOOK = 32
PARTS = 4
LEAST_PART = 8
"""Items: a smaller part would be a statement for little."""
CREDIT = 128.0
"""Virtual time: so many items, times the weight."""
AGEING_SECONDS = 60.0


class ClaimableJob(NamedTuple):
    """A job that items may be taken of."""

    id: uuid.UUID
    tenant_id: uuid.UUID


@dataclass(frozen=True, slots=True)
class Candidate:
    """A job that items may be taken of, and what its turn depends on."""

    job: ClaimableJob
    num_queued: int
    rank: int
    """The rank of its priority; 0 comes first."""
    weight: float
    """The share of its tenant; 2 gets twice what 1 gets."""
    now: float
    """The virtual time at which the last claim began, whoever's it was; it never goes back."""
    start: float
    """The virtual time at which its tenant's next item begins."""
    lag: float
    """How far its tenant stands behind that among those in credit."""
    since: dt.datetime
    """Since when nothing was claimed of its tenant's jobs of this priority."""
    read_at: dt.datetime
    wanted_at: dt.datetime | None = None
    """When the job could begin: as it was stored, or at its `not_before`."""

    @property
    def waited_seconds(self) -> float | None:
        """How long its items have waited."""
        return None if self.wanted_at is None else (self.read_at - self.wanted_at).total_seconds()


def may_be_claimed(job: Any = Job) -> tuple[ColumnElement[bool], ...]:  # noqa: ANN401 - the table or an alias of it
    """The conditions under which a worker may take items of a job: it is open, under way, and has some."""
    return (
        job.finished_at.is_(None),
        job.num_queued > 0,
        job.paused_at.is_(None),
        or_(job.not_before.is_(None), job.not_before <= clock()),
        or_(job.expires_at.is_(None), job.expires_at > clock()),
    )


def rank(job: Any = Job) -> ColumnElement[int]:  # noqa: ANN401 - as above
    """A job's place by its priority; 0 comes first."""
    return case(*((job.priority == priority, literal_column(str(priority.rank), Integer)) for priority in Priority))


def claimable_jobs(session: Session, *, model_digest: str) -> Iterator[ClaimableJob]:
    """The jobs that items may be taken of now, by their counters and oldest first; read as far as is asked for."""
    claimable = select(Job.id, Job.tenant_id).where(Job.model_digest == model_digest, *may_be_claimed())
    claimable = claimable.order_by(Job.id).limit(JOBS_PER_LOOK)
    page = [ClaimableJob(*row) for row in session.execute(claimable)]
    while page:
        yield from page
        last = page[-1].id
        full = len(page) == JOBS_PER_LOOK
        page = [ClaimableJob(*row) for row in session.execute(claimable.where(Job.id > last))] if full else []


def candidates(session: Session, *, model_digest: str, passed: Sequence[uuid.UUID] = ()) -> list[Candidate]:
    """The jobs whose turn may be next, but for those that were `passed` before: at most JOBS_PER_LOOK.

    First the oldest of each priority of each tenant, the least served tenants first; then the second ones, and so on.
    The cost grows with the number of open jobs, and with no number of items.
    """
    found = session.connection().execute(_CANDIDATES, {"model_digest": model_digest, "passed": passed})
    return [Candidate(ClaimableJob(*row[:2]), *row[2:]) for row in found]


def _candidates() -> Select[*tuple[Any, ...]]:
    """Built once: a claim is made many times a second."""
    model_digest = bindparam("model_digest", type_=String())
    of_class = (Job.tenant_id, Job.priority)
    last_claim = func.max(Job.claimed_at).over(partition_by=of_class)
    first_wanted = func.min(func.coalesce(Job.not_before, Job.created_at)).over(partition_by=of_class)
    last = select(func.coalesce(func.max(TenantShare.began_at), 0.0)).where(TenantShare.model_digest == model_digest)
    ranked = (
        select(
            *(Job.id, Job.tenant_id, Job.num_queued, rank().label("rank"), Tenant.weight),
            *(last.scalar_subquery().label("now"), TenantShare.virtual_time.label("served_to"), TenantShare.lag),
            (func.sum(Job.num_queued).over(partition_by=Job.tenant_id) / Tenant.weight).label("wanted"),
            func.coalesce(last_claim, first_wanted).label("since"),
            func.row_number().over(partition_by=of_class, order_by=Job.id).label("place"),
            func.coalesce(Job.not_before, Job.created_at).label("wanted_at"),
        )
        .join(Tenant, Tenant.id == Job.tenant_id)
        .outerjoin(
            TenantShare, and_(TenantShare.model_digest == Job.model_digest, TenantShare.tenant_id == Job.tenant_id)
        )
        .where(Job.model_digest == model_digest, *may_be_claimed())
        .where(Job.id.not_in(bindparam("passed", expanding=True)))
    )
    of = ranked.subquery().c
    start, lag = _begins(now=of.now, served_to=of.served_to, lag=of.lag, wanted=of.wanted)
    found = select(
        *(of.id, of.tenant_id, of.num_queued, of.rank, of.weight, of.now, start.label("start"), lag.label("lag")),
        *(of.since, clock(), of.wanted_at),
    )
    turn = (case((start < of.now, 0), else_=1), case((start < of.now, start + lag), else_=start))
    return found.order_by(of.place, *turn, of.id).limit(JOBS_PER_LOOK)


def _begins(
    *,
    now: ColumnElement[float],
    served_to: ColumnElement[float],
    lag: ColumnElement[float],
    wanted: ColumnElement[float],
) -> tuple[ColumnElement[float], ColumnElement[float]]:
    """Where a tenant's next item begins: where its last one ended, unless that is longer ago than its credit; its lag.

    Who wants more than its credit has left is none of those whom a newcomer joins: else the head start of a large job,
    which was alone until then, would be taken from the small ones that come to it.
    """
    credited = now - CREDIT
    is_known = served_to > credited
    ends_in_credit = and_(is_known, served_to + wanted <= now)
    joined = func.min(case((ends_in_credit, served_to + lag))).over() - LEAST_PART
    newcomers_lag = case((joined > credited, joined - credited), else_=0.0)
    return case((is_known, served_to), else_=credited), case((is_known, lag), else_=newcomers_lag)


def plan(wanting: Collection[Candidate], limit: int) -> dict[ClaimableJob, int]:
    """How many of up to `limit` items are to be taken of which job, in this order. Pure."""
    tenants = _by_tenant(wanting)
    part = limit if len(tenants) == 1 else max(math.ceil(limit / PARTS), LEAST_PART)
    planned: Counter[ClaimableJob] = Counter()
    while tenants and planned.total() < limit:
        tenant = min(tenants, key=lambda each: (*each.turn, each.head.job.id))
        planned.update(tenant.take(min(part, limit - planned.total())))
        if not tenant.waiting:
            tenants.remove(tenant)
    return dict(planned)


class _Tenant:
    """One tenant's candidates, and how its turn moves while a claim is planned."""

    def __init__(self, wanting: list[Candidate]) -> None:
        self.waiting = wanting
        self._now, self._start, self._lag = wanting[0].now, wanting[0].start, wanting[0].lag
        self._served: set[int] = set()
        self._left = {each.job.id: each.num_queued for each in wanting}

    @property
    def turn(self) -> tuple[bool, float]:
        """The least is next: those in credit, then by what they were served."""
        in_credit = self._start < self._now
        return not in_credit, self._start + self._lag if in_credit else self._start

    @property
    def head(self) -> Candidate:
        """The candidate whose turn within the tenant is next."""
        return min(self.waiting, key=self._within)

    def take(self, limit: int) -> dict[ClaimableJob, int]:
        """Plan up to `limit` items of the next job and charge them to the tenant; the numbers by job."""
        head = self.head
        num_items = min(limit, self._left[head.job.id])
        self._left[head.job.id] -= num_items
        self._served.add(head.rank)
        self._start += num_items / head.weight
        if not self._left[head.job.id]:
            self.waiting.remove(head)
        return {head.job: num_items}

    def _within(self, each: Candidate) -> tuple[int, dt.datetime, uuid.UUID]:
        """By its aged rank; among equals the class that has waited longest, and in a class the oldest job."""
        since = each.read_at if each.rank in self._served else each.since
        steps = int((each.read_at - since).total_seconds() / AGEING_SECONDS)
        return max(each.rank - steps, 0), since, each.job.id


def _by_tenant(wanting: Collection[Candidate]) -> list[_Tenant]:
    found: dict[uuid.UUID, list[Candidate]] = {}
    for each in wanting:
        found.setdefault(each.job.tenant_id, []).append(each)
    return [_Tenant(theirs) for theirs in found.values()]


def charge(
    session: Session, *, model_digest: str, wanting: Collection[Candidate], taken: Mapping[uuid.UUID, int]
) -> None:
    """Move the virtual times by how many items were taken of which job, in the order of the tenants.

    It locks their rows: the jobs' come after it (`db.queries.counters`), and the transaction ends soon.
    """
    served = defaultdict[uuid.UUID, float](float)
    for each in wanting:
        served[each.job.tenant_id] += taken.get(each.job.id, 0) / each.weight
    rows = [
        {
            "model_digest": model_digest,
            "tenant_id": each.job.tenant_id,
            "began_at": max(each.start, each.now),
            "virtual_time": each.start + served[each.job.tenant_id],
            "lag": each.lag,
            "start": each.start,
            "served": served[each.job.tenant_id],
        }
        for each in {each.job.tenant_id: each for each in wanting}.values()
        if served[each.job.tenant_id]
    ]
    if rows:
        rows.sort(key=lambda row: str(row["tenant_id"]))
        session.connection().execute(_charging(session.get_bind().dialect.name), rows if len(rows) > 1 else rows[0])


@cache
def _charging(dialect: str) -> Executable:
    """Built once, as it runs with every claim."""
    new = insert_for(dialect, TenantShare)
    start = _larger(TenantShare.virtual_time, bindparam("start", type_=Double()))
    moved = {
        "began_at": _larger(TenantShare.virtual_time, new.excluded.began_at),
        "virtual_time": start + bindparam("served", type_=Double()),
        "lag": new.excluded.lag,
    }
    return new.on_conflict_do_update(index_elements=["model_digest", "tenant_id"], set_=moved)


def _larger(stored: InstrumentedAttribute[float], new: ColumnElement[float]) -> ColumnElement[float]:
    return case((stored > new, stored), else_=new)


_CANDIDATES = _candidates()
