"""The audit mends counters that are wrong and says so; the checker finds every broken invariant, and nothing else."""

import datetime as dt
import uuid

import pytest
from sqlalchemy import bindparam, text, update

from db.base import UtcDateTime
from db.models import Job
from db.queries import claims
from db.queries.audit import INVARIANTS, LEFTOVERS, audit, differing, leftovers, next_jobs, unbalanced_jobs, violations
from db.queries.cancelling import cancel
from db.session import Database, now
from domain.attempts import Outcome
from domain.states import ItemState, JobState
from tests.builders import DIGEST, a_job, job_state, preference, wind_up

OWNER = uuid.UUID(int=1)

BREAKAGES = {
    "counters_add_up": "UPDATE jobs SET num_queued = num_queued + 1 WHERE state = 'running'",
    "counters_are_those_of_the_items": "UPDATE jobs SET num_queued = num_queued - 1, num_failed = num_failed + 1 "
    "WHERE state = 'running'",
    "every_item_is_stored": "UPDATE items SET position = 99 WHERE position = 3",
    "an_item_has_its_preference": "DELETE FROM preferences",
    "a_job_is_open_as_long_as_an_item_is": "UPDATE jobs SET finished_at = NULL WHERE state = 'completed'",
    "a_job_that_ended_says_when": "UPDATE jobs SET started_at = NULL WHERE state = 'running'",
    "an_item_that_ended_says_when": "UPDATE items SET finished_at = NULL WHERE state = 'failed'",
    "an_item_that_ended_has_one_result": "DELETE FROM results WHERE error_code = 'too_long'",
    "a_result_is_a_text_or_a_reason": "UPDATE results SET error_code = NULL WHERE error_code = 'cancelled'",
    "a_lease_is_of_a_running_item": "UPDATE items SET lease_until = NULL WHERE state = 'running'",
    "an_attempt_is_counted_when_it_is_made": "UPDATE items SET attempt = 0 WHERE state = 'running'",
}


def a_lively_database(database: Database) -> tuple[uuid.UUID, uuid.UUID]:
    """A running job with items in every state but cancelled, one that completed, and two that were cancelled."""
    cancelled, winding_up, completed = a_job(database), a_job(database), a_job(database)
    for job_id in (cancelled, winding_up):
        with database.transaction() as session:
            cancel(session, job_id)
    wind_up(database, cancelled)
    decode(database, 1)
    running = a_job(database, [preference("formal")] * 4)
    decode(database, 1)
    decode(database, 1, error_code="too_long")
    claim(database, 1)
    return running, completed


def claim(database: Database, limit: int) -> list[claims.ClaimedItem]:
    with database.transaction() as session:
        return claims.claim(session, owner=OWNER, model_digest=DIGEST, limit=limit, lease_seconds=60)


def decode(database: Database, limit: int, error_code: str | None = None) -> None:
    items = claim(database, limit)
    written = None if error_code else "text"
    with database.transaction() as session:
        outcomes = [Outcome(item.item_id, item.attempt, text=written, error_code=error_code) for item in items]
        claims.save(session, owner=OWNER, outcomes=outcomes)


def broken(database: Database) -> set[str]:
    with database.reading() as session:
        return set(violations(session))


def run_audit(database: Database) -> list[uuid.UUID]:
    with database.transaction() as session:
        return [mended.job_id for mended in audit(session, next_jobs(session, after=None, limit=100))]


def test_a_database_that_keeps_its_promises_breaks_no_invariant(database: Database) -> None:
    a_lively_database(database)

    assert broken(database) == set()
    assert run_audit(database) == []


@pytest.mark.parametrize("invariant", sorted(INVARIANTS))
def test_each_invariant_is_noticed_when_it_is_broken(database: Database, invariant: str) -> None:
    a_lively_database(database)
    with database.transaction() as session:
        session.execute(text(BREAKAGES[invariant]))

    assert invariant in broken(database)


LEFT_BEHIND = {
    "a_lease_that_ran_out_is_taken_back": "UPDATE items SET lease_until = :long_ago WHERE state = 'running'",
    "no_item_runs_for_a_job_that_ended": "UPDATE jobs SET finished_at = :long_ago WHERE state = 'running'",
    "a_cancelled_job_is_wound_up": "UPDATE jobs SET finished_at = :long_ago WHERE is_winding_up",
}


@pytest.mark.parametrize("leftover", sorted(LEFTOVERS))
def test_what_no_sweep_has_put_right_for_long_is_noticed(database: Database, leftover: str) -> None:
    a_lively_database(database)
    with database.transaction() as session:
        before = leftovers(session, seconds=60)
        long_ago = bindparam("long_ago", now(session) - dt.timedelta(seconds=90), UtcDateTime)
        session.execute(text(LEFT_BEHIND[leftover]).bindparams(long_ago))
        after, patient = leftovers(session, seconds=60), leftovers(session, seconds=120)

    assert (before, set(after), patient) == ({}, {leftover}, {})


def test_counters_that_are_wrong_become_those_of_the_items(database: Database) -> None:
    running, _ = a_lively_database(database)
    with database.transaction() as session:
        session.execute(update(Job).where(Job.id == running).values(num_queued=0, num_failed=7))

    with database.transaction() as session:
        assert differing(session, [running]) == [running]
        (mended,) = audit(session, [running])
        assert differing(session, [running]) == []

    assert (mended.before[ItemState.FAILED], mended.after[ItemState.FAILED]) == (7, 1)
    assert broken(database) == set()


def test_a_job_that_was_submitted_by_a_version_without_counters_is_found_at_once_and_can_be_claimed(
    database: Database,
) -> None:
    for _ in range(5):
        a_job(database)
    old = a_job(database)
    with database.transaction() as session:
        session.execute(update(Job).where(Job.id == old).values(num_queued=0))
        found = unbalanced_jobs(session)
        audit(session, found)

    assert found == [old]
    assert old in [item.job_id for item in claim(database, 100)]


def test_an_open_job_without_open_items_is_completed(database: Database) -> None:
    job_id = a_job(database)
    decode(database, 1)
    with database.transaction() as session:
        session.execute(update(Job).values(state=JobState.RUNNING, finished_at=None, num_queued=1, num_succeeded=0))

    assert run_audit(database) == [job_id]

    assert job_state(database, job_id) is JobState.COMPLETED
    assert broken(database) == set()


def test_an_open_job_without_open_items_has_nothing_left_to_cancel(database: Database) -> None:
    job_id = a_job(database)
    decode(database, 1)
    with database.transaction() as session:
        session.execute(update(Job).values(state=JobState.RUNNING, finished_at=None))

    with database.transaction() as session:
        assert not cancel(session, job_id)

    assert run_audit(database) == [job_id]
    assert job_state(database, job_id) is JobState.COMPLETED


def test_jobs_are_audited_in_turn(database: Database) -> None:
    job_ids = [a_job(database) for _ in range(5)]

    with database.reading() as session:
        turns = [next_jobs(session, after=after, limit=2) for after in (None, job_ids[1], job_ids[3], job_ids[4])]

    assert turns == [job_ids[:2], job_ids[2:4], job_ids[4:], []]
