"""The counters on a job's row: moved in the transaction that moves its items, and the job ended with its last item.

Whoever moves items between states does it in this order, so that no two transactions wait for each other in a circle:

1. lock the items, in the order of their ids (or skipping what others hold, which waits for nobody);
2. change them, and write their results;
3. `settle`, once and last: it updates the jobs in the order of their ids, and their rows stay locked until the commit
   only. Many workers claim and save items of one job at once, and each waits for the others here.

An ended job's counters stand still. A cancel or a deadline ends a job by its row alone, without a look at its items:
what is open then counts as ended with it. A transaction that moved items meanwhile learns of it in step 3, and what it
had ended ends as the job did after all.
"""

import uuid
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Integer, Update, and_, bindparam, case, func, null, or_, select, update
from sqlalchemy.orm import Session

from db.models import Job
from db.queries import cancelling, events
from db.session import clock
from domain.states import EARLY_ENDS, TERMINAL_ITEM_STATES, ItemState, JobState

RATE_MARK_SECONDS = 15.0
"""The rate of a job is taken over one to two times that long."""
RATE_STALE_SECONDS = 3 * RATE_MARK_SECONDS
"""A mark as old as that was followed by nothing for at least twice the time between marks: there is no rate."""


class Moved(NamedTuple):
    """One item that this transaction has moved. A tuple: there are many."""

    item_id: int
    job_id: uuid.UUID
    source: ItemState
    target: ItemState


def settle(session: Session, moved: Sequence[Moved]) -> set[uuid.UUID]:
    """Count what was moved, and complete the jobs whose last item ended; call it once in a transaction, at its end.

    Returns the jobs that were ended early before: they count nothing more, and what ended of them ends as they did.
    """
    changes: defaultdict[uuid.UUID, Counter[ItemState]] = defaultdict(Counter)
    for (job_id, source, target), run in groupby(moved, itemgetter(1, 2, 3)):  # a hash of each id would cost more
        num_items = sum(1 for _ in run)
        changes[job_id][source] -= num_items
        changes[job_id][target] += num_items
    ended = move(session, changes)
    late = [one.item_id for one in moved if one.job_id in ended and one.target in TERMINAL_ITEM_STATES]
    if late:
        cancelling.end_after_all(session, late)
    return ended


def move(session: Session, changes: Mapping[uuid.UUID, Mapping[ItemState, int]]) -> set[uuid.UUID]:
    """Add to the counters of open jobs, and record which of them that has ended (`db.queries.events`).

    Returns the jobs that had ended, where nothing was changed.
    """
    if not changes:
        return set()
    rows = [
        {"job": job_id, **{state.value: changes[job_id].get(state, 0) for state in ItemState}}
        for job_id in sorted(changes)
    ]
    if len(rows) == 1:  # it says itself whether that was its end: nothing more is asked while a job runs
        finished = session.connection().execute(_ADD_TO_ONE, rows[0]).all()
        num_moved, completed = len(finished), [row.id for row in finished if row.finished_at is not None]
    else:  # one row after the other in one exchange with the database: locked in this order
        num_moved = session.connection().execute(_ADD, rows).rowcount
        completed = [job_id for job_id in changes if any(changes[job_id].get(end) for end in TERMINAL_ITEM_STATES)]
    ended = set[uuid.UUID]()
    if num_moved < len(rows):
        early = select(Job.id).where(Job.id.in_(list(changes)), Job.state.in_(list(EARLY_ENDS)))
        ended = set(session.scalars(early))
    events.record_ends(session, [job_id for job_id in completed if job_id not in ended])
    return ended


def ended_items() -> ColumnElement[int]:
    """How many items of a job have ended, by its counters."""
    return Job.num_succeeded + Job.num_failed + Job.num_cancelled


def _update() -> Update:
    added = {state: bindparam(state.value, type_=Integer()) for state in ItemState}
    newly_ended = added[ItemState.SUCCEEDED] + added[ItemState.FAILED] + added[ItemState.CANCELLED]
    claims = added[ItemState.RUNNING] > 0
    completes = and_(newly_ended > 0, ended_items() + newly_ended == Job.num_items)
    counters = {f"num_{state}": getattr(Job, f"num_{state}") + added[state] for state in ItemState}
    return (
        update(Job)
        .where(Job.id == bindparam("job"), Job.finished_at.is_(None))
        .values(
            **counters,
            state=case((completes, JobState.COMPLETED), (claims, JobState.RUNNING), else_=Job.state),
            claimed_at=case((claims, clock()), else_=Job.claimed_at),
            started_at=case((and_(Job.started_at.is_(None), claims), clock()), else_=Job.started_at),
            finished_at=case((completes, clock()), else_=null()),
            **_rate_marks(newly_ended > 0),
        )
    )


def _rate_marks(has_ended: ColumnElement[bool]) -> dict[str, ColumnElement[Any]]:
    """Two marks, one behind the other: the rate is what ended since the older. A job that stood still begins anew."""
    is_first = Job.rate_mark.is_(None)
    is_fresh = Job.rate_mark > clock(-RATE_STALE_SECONDS)
    is_due = and_(has_ended, or_(is_first, Job.rate_mark <= clock(-RATE_MARK_SECONDS)))
    since = case((is_fresh, Job.rate_mark), (is_first, func.coalesce(Job.started_at, clock())), else_=clock())
    base = case((or_(is_fresh, is_first), Job.rate_mark_base), else_=ended_items())
    return {
        "rate_since": case((is_due, since), else_=Job.rate_since),
        "rate_base": case((is_due, base), else_=Job.rate_base),
        "rate_mark": case((is_due, clock()), else_=Job.rate_mark),
        "rate_mark_base": case((is_due, ended_items()), else_=Job.rate_mark_base),
    }


_ADD = _update()
_ADD_TO_ONE = _ADD.returning(Job.id, Job.finished_at)
