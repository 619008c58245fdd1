"""Whether the database keeps its promises: the counters against the items, and every invariant in SQL.

`audit` compares and mends the counters of a few jobs: a version that kept none may have worked on them, or a person.
`violations` looks at every row and mends nothing: for tests, and for whoever doubts a database. What is true of a
database that nobody works on does not show that somebody would: `leftovers` are what the sweeps of a worker end.
"""

# ruff: noqa: S608 - statements of our own names and nothing else

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

from sqlalchemy import and_, bindparam, func, or_, select, text, update
from sqlalchemy.orm import Session

from db.base import UtcDateTime
from db.models import Item, Job
from db.queries import events
from db.queries.counters import ended_items
from db.session import clock, now
from domain.states import ItemState, JobState

JOBS_PER_AUDIT = 2

_COUNTERS = {state: getattr(Job, f"num_{state}") for state in ItemState}


@dataclass(frozen=True, slots=True)
class Mended:
    """One job whose counters were not those of its items, or which had ended without being completed."""

    job_id: uuid.UUID
    before: dict[ItemState, int]
    after: dict[ItemState, int]


def unbalanced_jobs(session: Session, *, limit: int = JOBS_PER_AUDIT) -> list[uuid.UUID]:
    """Open jobs whose counters alone say that they are wrong; a look at open jobs only, and at no item."""
    total = _COUNTERS[ItemState.QUEUED] + _COUNTERS[ItemState.RUNNING] + ended_items()
    is_wrong = or_(total != Job.num_items, ended_items() >= Job.num_items)
    wrong = select(Job.id).where(Job.finished_at.is_(None), is_wrong)
    return list(session.scalars(wrong.order_by(Job.id).limit(limit)))


def next_jobs(session: Session, *, after: uuid.UUID | None, limit: int = JOBS_PER_AUDIT) -> list[uuid.UUID]:
    """The open jobs that follow on this one, by age."""
    in_turn = select(Job.id).where(Job.finished_at.is_(None)).order_by(Job.id).limit(limit)
    return list(session.scalars(in_turn if after is None else in_turn.where(Job.id > after)))


def differing(session: Session, job_ids: Sequence[uuid.UUID]) -> list[uuid.UUID]:
    """The jobs among these, as far as open, whose counters are not those of their items. Locks nothing."""
    return [job_id for job_id in sorted(set(job_ids)) if _compare(session, job_id) is not None]


def audit(session: Session, job_ids: Sequence[uuid.UUID]) -> list[Mended]:
    """Compare these open jobs with their items, and mend what is wrong."""
    mended = []
    for job_id in sorted(set(job_ids)):
        # Whoever moves items of the job updates its row before it commits: locked, the row and the items stand still.
        session.execute(select(Job.id).where(Job.id == job_id).with_for_update(key_share=True))
        found = _compare(session, job_id)
        if found is not None:
            _mend(session, found)
            mended.append(found)
    return mended


def _compare(session: Session, job_id: uuid.UUID) -> Mended | None:
    """One statement, so one moment: None where all is right, or where the job has ended."""
    counted = [
        select(func.count()).where(Item.job_id == job_id, Item.state == state).scalar_subquery() for state in ItemState
    ]
    is_open = and_(Job.id == job_id, Job.finished_at.is_(None))
    row = session.execute(select(Job.num_items, *_COUNTERS.values(), *counted).where(is_open)).one_or_none()
    if row is None:
        return None
    before = dict(zip(ItemState, row[1 : 1 + len(ItemState)], strict=True))
    after = dict(zip(ItemState, row[1 + len(ItemState) :], strict=True))
    is_over = not after[ItemState.QUEUED] + after[ItemState.RUNNING]
    return Mended(job_id, before, after) if before != after or is_over else None


def _mend(session: Session, found: Mended) -> None:
    is_over = not found.after[ItemState.QUEUED] + found.after[ItemState.RUNNING]
    end: dict[str, object] = {"state": JobState.COMPLETED, "finished_at": clock()} if is_over else {}
    counters = {f"num_{state}": count for state, count in found.after.items()}
    session.execute(
        update(Job).where(Job.id == found.job_id).values(**counters, **end),
        execution_options={"synchronize_session": False},
    )
    if is_over:
        events.record_ends(session, [found.job_id])


_OPEN = "('queued', 'running')"
_ENDED = "('succeeded', 'failed', 'cancelled')"
_ENDED_EARLY = "('cancelled', 'expired')"
_IS_SEEN = "deleted_at IS NULL"


def _follows(job_state: str) -> str:
    """An item whose row is still to follow its job, which counts it already."""
    return f" OR (jobs.state = '{job_state}' AND items.state IN {_OPEN})"


def _counted(state: str, *, also: str = "") -> str:
    return f"SELECT count(*) FROM items WHERE items.job_id = jobs.id AND (items.state = '{state}'{also})"


INVARIANTS = MappingProxyType(
    {
        "counters_add_up": "SELECT id FROM jobs "
        "WHERE num_queued + num_running + num_succeeded + num_failed + num_cancelled <> num_items "
        "OR num_queued < 0 OR num_running < 0 OR num_succeeded < 0 OR num_failed < 0 OR num_cancelled < 0",
        "counters_are_those_of_the_items": "SELECT id FROM jobs "
        f"WHERE {_IS_SEEN} AND (num_queued <> ({_counted('queued')} AND jobs.finished_at IS NULL) "
        f"OR num_running <> ({_counted('running')} AND jobs.finished_at IS NULL) "
        f"OR num_succeeded <> ({_counted('succeeded')}) "
        f"OR num_failed <> ({_counted('failed', also=_follows('expired'))}) "
        f"OR num_cancelled <> ({_counted('cancelled', also=_follows('cancelled'))}))",
        "every_item_is_stored": "SELECT id FROM jobs "
        f"WHERE {_IS_SEEN} AND (num_items <> (SELECT count(*) FROM items WHERE items.job_id = jobs.id) "
        "OR num_items <> (SELECT coalesce(max(position) + 1, 0) FROM items WHERE items.job_id = jobs.id) "
        "OR 0 <> (SELECT coalesce(min(position), 0) FROM items WHERE items.job_id = jobs.id))",
        "an_item_has_its_preference": "SELECT items.id FROM items JOIN jobs ON jobs.id = items.job_id "
        f"WHERE {_IS_SEEN} AND NOT EXISTS (SELECT 1 FROM preferences "
        "WHERE preferences.tenant_id = jobs.tenant_id AND preferences.hash = items.preference_hash)",
        "a_job_is_open_as_long_as_an_item_is": "SELECT id FROM jobs WHERE NOT is_winding_up AND (finished_at IS NULL) "
        f"<> EXISTS (SELECT 1 FROM items WHERE items.job_id = jobs.id AND items.state IN {_OPEN})",
        "a_job_that_ended_says_when": "SELECT id FROM jobs "
        "WHERE (finished_at IS NOT NULL) <> (state IN ('completed', 'cancelled', 'expired')) "
        f"OR (is_winding_up AND state NOT IN {_ENDED_EARLY}) OR (state = 'running' AND started_at IS NULL)",
        "an_item_that_ended_says_when": f"SELECT id FROM items WHERE (state IN {_ENDED}) <> (finished_at IS NOT NULL)",
        "an_item_that_ended_has_one_result": "SELECT items.id FROM items "
        "LEFT JOIN results ON results.item_id = items.id "
        f"WHERE (items.state IN {_ENDED}) <> (results.item_id IS NOT NULL)",
        "a_result_is_a_text_or_a_reason": "SELECT items.id FROM items JOIN results ON results.item_id = items.id "
        "WHERE (items.state = 'succeeded') <> (results.error_code IS NULL) "
        "OR (items.state = 'cancelled') <> (coalesce(results.error_code, '') = 'cancelled')",
        "a_lease_is_of_a_running_item": "SELECT id FROM items WHERE (state = 'running') <> (lease_owner IS NOT NULL) "
        "OR (lease_owner IS NULL) <> (lease_until IS NULL)",
        "an_attempt_is_counted_when_it_is_made": "SELECT id FROM items "
        "WHERE attempt < 0 OR num_deaths < 0 OR (state IN ('running', 'succeeded') AND attempt < 1)",
    }
)
"""What holds at every commit, each by the rows that break it. Positions and custom ids are unique in a job anyway."""

LEFTOVERS = MappingProxyType(
    {
        "a_lease_that_ran_out_is_taken_back": "SELECT id FROM items "
        "WHERE state = 'running' AND lease_until < :long_ago",
        "no_item_runs_for_a_job_that_ended": "SELECT items.id FROM items JOIN jobs ON jobs.id = items.job_id "
        "WHERE items.state = 'running' AND jobs.finished_at < :long_ago",
        "a_cancelled_job_is_wound_up": "SELECT id FROM jobs WHERE is_winding_up AND finished_at < :long_ago",
    }
)
"""What a worker's sweeps put right within seconds, each by the rows that still wait for it."""


def violations(session: Session, *, limit: int = 10) -> dict[str, list[object]]:
    """The broken invariants by name, each with the ids of the first jobs or items that break it; empty: all is well."""
    found = {name: list(session.scalars(text(f"{broken} LIMIT {limit}"))) for name, broken in INVARIANTS.items()}
    return {name: ids for name, ids in found.items() if ids}


def leftovers(session: Session, *, seconds: float, limit: int = 10) -> dict[str, list[object]]:
    """What no sweep has put right for so long, by name, with the ids of the first rows; empty where a worker sweeps."""
    long_ago = bindparam("long_ago", now(session) - dt.timedelta(seconds=seconds), UtcDateTime)
    waiting = {name: text(f"{rows} LIMIT {limit}").bindparams(long_ago) for name, rows in LEFTOVERS.items()}
    found = {name: list(session.scalars(statement)) for name, statement in waiting.items()}
    return {name: ids for name, ids in found.items() if ids}
