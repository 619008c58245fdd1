"""How much waits and runs, for whoever watches the whole installation: of all tenants, and by the jobs' counters alone.

The cost grows with the number of open jobs and workers, and with no number of items.
"""

import datetime as dt
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import and_, case, func, or_, select
from sqlalchemy.orm import Session

from db.models import Job
from db.queries.workers import ALIVE_SECONDS
from db.registry_models import Worker
from db.session import clock
from domain.states import WorkerState


class WaitsFor(StrEnum):
    """What the queued items of a job wait for."""

    WORKER = "queued"
    RESUME = "paused"
    TIME = "scheduled"


@dataclass(frozen=True, slots=True)
class QueueLengths:
    """What is queued and who works, over all tenants, at one moment."""

    num_jobs: dict[WaitsFor, int]
    """Open jobs, by what their queued items wait for."""
    num_queued: dict[WaitsFor, int]
    num_running: int
    oldest_wait_seconds: float
    """The longest time that an open job with queued items has gone without a claim; 0 where nothing waits."""
    num_workers: dict[WorkerState, int]
    """Workers that have said something lately, by the state they said."""


def queue_lengths(session: Session) -> QueueLengths:
    """Count all open jobs and living workers; costs grow with the open jobs, not with their items."""
    waits_for = case(
        (Job.paused_at.is_not(None), WaitsFor.RESUME.value),
        (and_(Job.not_before.is_not(None), Job.not_before > clock()), WaitsFor.TIME.value),
        else_=WaitsFor.WORKER.value,
    ).label("waits_for")
    is_waiting = and_(Job.num_queued > 0, or_(Job.expires_at.is_(None), Job.expires_at > clock()))
    wanted_since = case((is_waiting, func.coalesce(Job.claimed_at, Job.not_before, Job.created_at)))
    sums = (func.count(), func.sum(Job.num_queued), func.sum(Job.num_running), func.min(wanted_since), clock())
    by_reason = (
        select(waits_for, *sums).where(Job.finished_at.is_(None), Job.deleted_at.is_(None)).group_by("waits_for")
    )
    rows = {WaitsFor(row[0]): row[1:] for row in session.execute(by_reason)}
    num_workers = session.execute(
        select(Worker.state, func.count()).where(Worker.seen_at >= clock(-ALIVE_SECONDS)).group_by(Worker.state)
    )
    return QueueLengths(
        num_jobs={reason: rows[reason][0] if reason in rows else 0 for reason in WaitsFor},
        num_queued={reason: int(rows[reason][1]) if reason in rows else 0 for reason in WaitsFor},
        num_running=sum(int(row[2]) for row in rows.values()),
        oldest_wait_seconds=_seconds_since(*rows[WaitsFor.WORKER][3:]) if WaitsFor.WORKER in rows else 0.0,
        num_workers=dict.fromkeys(WorkerState, 0) | {WorkerState(state): number for state, number in num_workers},
    )


def _seconds_since(since: dt.datetime | None, now: dt.datetime) -> float:
    return 0.0 if since is None else max((now - since).total_seconds(), 0.0)
