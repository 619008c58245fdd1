"""Pausing, deadlines, retrying and deleting, on both databases."""

import datetime as dt
import uuid

import pytest
from sqlalchemy import func, select, update

from db.models import Item, Job, Result
from db.queries import cancelling, claims, deadlines, deleting, jobs, pausing, retrying
from db.queries.audit import violations
from db.queries.jobs import JobRecord
from db.queries.results import read_results
from db.session import Database, clock
from domain.attempts import ClaimedItem, Outcome
from domain.states import ItemState, JobState
from tests.builders import DIGEST, a_job, items_of, job_state, preference, states_of, wind_up

OWNER = uuid.UUID(int=1)
LONG_AGO = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
FAR_AHEAD = dt.datetime(2100, 1, 1, tzinfo=dt.UTC)
HOUR = 3600


def claim(database: Database, limit: int = 100) -> list[ClaimedItem]:
    with database.transaction() as session:
        return claims.claim(session, owner=OWNER, model_digest=DIGEST, limit=limit, lease_seconds=60)


def save(database: Database, item: ClaimedItem, error_code: str | None = None) -> set[uuid.UUID]:
    outcome = Outcome(item.item_id, item.attempt, text=None if error_code else "text", error_code=error_code)
    with database.transaction() as session:
        return claims.save(session, owner=OWNER, outcomes=[outcome])


def record_of(database: Database, job_id: uuid.UUID) -> JobRecord:
    with database.reading() as session:
        tenant_id = session.scalars(select(Job.tenant_id).where(Job.id == job_id)).one()
        record = jobs.find_job(session, tenant_id=tenant_id, job_id=job_id)
    assert record is not None
    return record


def let_its_window_end(database: Database, job_id: uuid.UUID) -> None:
    with database.transaction() as session:
        session.execute(update(Job).where(Job.id == job_id).values(window_seconds=HOUR, expires_at=LONG_AGO))


def enforce(database: Database, job_id: uuid.UUID) -> bool:
    with database.transaction() as session:
        return deadlines.enforce(session, job_id)


def retry(database: Database, job_id: uuid.UUID) -> bool:
    with database.transaction() as session:
        return retrying.retry(session, job_id) is not None


def assert_sound(database: Database) -> None:
    with database.reading() as session:
        assert violations(session) == {}


def test_nothing_more_is_claimed_of_a_paused_job_until_it_is_resumed(database: Database) -> None:
    job_id = a_job(database, [preference("formal")] * 3)
    held = claim(database, 1)
    with database.transaction() as session:
        assert pausing.pause(session, job_id)

    while_paused = claim(database)
    assert save(database, held[0]) == {job_id}
    with database.transaction() as session:
        assert pausing.resume(session, job_id)

    assert (while_paused, len(claim(database))) == ([], 2)


def test_a_second_pause_keeps_the_moment_of_the_first(database: Database) -> None:
    job_id = a_job(database, paused_at=LONG_AGO)

    with database.transaction() as session:
        pausing.pause(session, job_id)

    assert record_of(database, job_id).paused_at == LONG_AGO


def test_a_job_that_has_ended_is_neither_paused_nor_resumed(database: Database) -> None:
    job_id = a_job(database)
    save(database, claim(database)[0])

    with database.transaction() as session:
        answers = pausing.pause(session, job_id), pausing.resume(session, job_id)

    assert answers == (False, False)
    assert record_of(database, job_id).paused_at is None


def test_nothing_is_claimed_of_a_job_before_its_time(database: Database) -> None:
    a_job(database, not_before=FAR_AHEAD)
    due = a_job(database, not_before=LONG_AGO)

    assert [item.job_id for item in claim(database)] == [due]


def test_nothing_is_claimed_of_a_job_whose_deadline_has_passed(database: Database) -> None:
    a_job(database, expires_at=LONG_AGO)
    in_time = a_job(database, expires_at=FAR_AHEAD)

    assert [item.job_id for item in claim(database)] == [in_time]


def test_a_deadline_ends_a_job_keeps_what_is_finished_and_gives_the_rest_a_reason(database: Database) -> None:
    job_id = a_job(database, [preference("formal")] * 4)
    finished, failed, running = claim(database, 3)
    save(database, finished)
    save(database, failed, "poisoned")
    let_its_window_end(database, job_id)

    with database.reading() as session:
        assert deadlines.overdue(session) == [job_id]
    assert enforce(database, job_id)

    record = record_of(database, job_id)
    assert (record.state, record.finished_at is not None) == (JobState.EXPIRED, True)
    assert (record.counts.succeeded, record.counts.failed, record.counts.unfinished) == (1, 3, 0)
    assert_sound(database)
    assert error_codes(database, job_id) == [None, "poisoned", "expired", "expired"]
    assert save(database, running) == set()
    wind_up(database, job_id)
    assert_sound(database)
    assert error_codes(database, job_id) == [None, "poisoned", "expired", "expired"]
    with database.reading() as session:
        assert (deadlines.overdue(session), cancelling.winding_up(session)) == ([], [])


def error_codes(database: Database, job_id: uuid.UUID) -> list[str | None]:
    """As a reader sees them, whether the items have followed their job or not."""
    with database.reading() as session:
        rows = read_results(session, job_id=job_id, positions=range(100))
        assert rows[1:] == read_results(session, job_id=job_id, positions=range(100), states=[ItemState.FAILED])
        assert read_results(session, job_id=job_id, positions=range(100), states=[ItemState.CANCELLED]) == []
    return [row.error_code for row in rows]


def test_a_result_that_comes_with_the_deadline_gives_way_to_it(database: Database) -> None:
    # The save has locked its item before the deadline ends the job, and counts it after.
    job_id = a_job(database)
    (item,) = claim(database)
    let_its_window_end(database, job_id)
    assert enforce(database, job_id)

    assert save(database, item) == set()

    (ended,) = items_of(database, job_id)
    assert (ended.state, ended.error_code, ended.text) == (ItemState.FAILED, "expired", None)
    assert_sound(database)


def test_a_deadline_ahead_changes_nothing(database: Database) -> None:
    job_id = a_job(database, expires_at=FAR_AHEAD)

    assert not enforce(database, job_id)
    assert job_state(database, job_id) is JobState.QUEUED


def test_a_job_that_was_completed_in_time_does_not_expire(database: Database) -> None:
    job_id = a_job(database)
    save(database, claim(database)[0])
    let_its_window_end(database, job_id)

    assert not enforce(database, job_id)
    assert job_state(database, job_id) is JobState.COMPLETED


def test_a_retry_queues_what_failed_and_nothing_that_is_finished(database: Database) -> None:
    job_id = a_job(database, [preference("formal")] * 3)
    first, second, third = claim(database)
    save(database, first)
    save(database, second, "poisoned")
    save(database, third, "worker_lost")
    before = items_of(database, job_id)

    assert retry(database, job_id)

    assert states_of(database, job_id) == [ItemState.SUCCEEDED, ItemState.QUEUED, ItemState.QUEUED]
    assert job_state(database, job_id) is JobState.RUNNING
    assert_sound(database)
    again = claim(database)
    assert [(item.item_id, item.attempt) for item in again] == [(second.item_id, 2), (third.item_id, 2)]
    for item in again:
        save(database, item)
    assert job_state(database, job_id) is JobState.COMPLETED
    assert items_of(database, job_id)[0] == before[0]
    assert_sound(database)


def test_a_large_retry_goes_in_batches_whose_counters_are_those_of_the_items(database: Database) -> None:
    num_items = retrying.ITEMS_PER_BATCH + 2
    job_id = a_job(database, [preference("formal")] * num_items)
    let_its_window_end(database, job_id)
    enforce(database, job_id)
    wind_up(database, job_id)

    with database.transaction() as session:
        first = retrying.retry(session, job_id)
    assert first == retrying.Retried(next_after=retrying.ITEMS_PER_BATCH - 1)
    assert (record_of(database, job_id).counts.queued, record_of(database, job_id).counts.failed) == (num_items - 2, 2)
    assert_sound(database)

    save(database, claim(database, 1)[0], "fails again")
    with database.transaction() as session:
        assert retrying.retry(session, job_id, after=retrying.ITEMS_PER_BATCH - 1) == retrying.Retried(next_after=None)
    assert (record_of(database, job_id).counts.queued, record_of(database, job_id).counts.failed) == (num_items - 1, 1)
    assert_sound(database)


def test_a_retry_of_a_running_job_leaves_what_is_queued_or_running(database: Database) -> None:
    job_id = a_job(database, [preference("formal")] * 3)
    failed, _running = claim(database, 2)
    save(database, failed, "poisoned")

    assert retry(database, job_id)

    assert states_of(database, job_id) == [ItemState.QUEUED, ItemState.RUNNING, ItemState.QUEUED]
    assert_sound(database)


def test_a_retry_where_nothing_failed_changes_nothing(database: Database) -> None:
    job_id = a_job(database)
    save(database, claim(database)[0])
    before = record_of(database, job_id)

    assert retry(database, job_id)

    assert record_of(database, job_id).counts == before.counts
    assert job_state(database, job_id) is JobState.COMPLETED


def test_a_retry_of_an_expired_job_begins_its_window_anew(database: Database) -> None:
    job_id = a_job(database, [preference("formal")] * 2)
    let_its_window_end(database, job_id)
    enforce(database, job_id)
    assert not retry(database, job_id), "its items have not followed yet"
    wind_up(database, job_id)

    assert retry(database, job_id)

    record = record_of(database, job_id)
    assert (record.state, record.counts.queued, record.finished_at) == (JobState.QUEUED, 2, None)
    assert record.expires_at is not None
    assert abs((record.expires_at - record.read_at).total_seconds() - HOUR) < 60
    assert len(claim(database)) == 2
    assert_sound(database)


def test_who_was_about_to_let_items_follow_leaves_those_of_a_retried_job_alone(database: Database) -> None:
    job_id = a_job(database)
    let_its_window_end(database, job_id)
    enforce(database, job_id)
    wind_up(database, job_id)
    assert retry(database, job_id)

    wind_up(database, job_id)

    assert states_of(database, job_id) == [ItemState.QUEUED]
    assert_sound(database)


def test_a_deleted_job_is_not_retried(database: Database) -> None:
    job_id = a_job(database)
    save(database, claim(database)[0], "poisoned")
    with database.transaction() as session:
        assert deleting.delete_job(session, job_id)

    with pytest.raises(RefusedError), database.transaction() as session:
        refuse_unless(retrying.retry(session, job_id) is not None)
    assert not remove(database, job_id)
    assert not retry(database, job_id), "there is none any more"


def test_a_cancelled_job_is_not_retried(database: Database) -> None:
    job_id = a_job(database, [preference("formal")] * 2)
    failed, _ = claim(database)
    save(database, failed, "poisoned")
    with database.transaction() as session:
        cancelling.cancel(session, job_id)
    wind_up(database, job_id)

    with pytest.raises(RefusedError), database.transaction() as session:
        refuse_unless(retrying.retry(session, job_id) is not None)

    assert states_of(database, job_id) == [ItemState.FAILED, ItemState.CANCELLED]
    assert_sound(database)


class RefusedError(Exception):
    """What a use case raises so that nothing of the transaction is kept."""


def refuse_unless(is_done: bool) -> None:  # noqa: FBT001 - an answer of the query
    if not is_done:
        raise RefusedError


def test_a_deleted_job_is_gone_at_once_and_its_rows_go_in_batches(database: Database) -> None:
    num_items = deleting.ITEMS_PER_BATCH + 1
    job_id, other = a_job(database, [preference("formal")] * num_items), a_job(database)
    with database.transaction() as session:
        assert not deleting.delete_job(session, job_id), "it is open"
        cancelling.cancel(session, job_id)
    wind_up(database, job_id)

    with database.transaction() as session:
        assert deleting.delete_job(session, job_id)

    with database.reading() as session:
        tenant_id = session.scalars(select(Job.tenant_id).where(Job.id == job_id)).one()
        assert jobs.find_job(session, tenant_id=tenant_id, job_id=job_id) is None
        assert [job.id for job in jobs.list_jobs(session, tenant_id=tenant_id, limit=10)] == [other]
        assert deleting.deleted_jobs(session) == [job_id]
    assert [remove(database, job_id), num_items_left(database)] == [True, 2]
    assert_sound(database)
    assert [remove(database, job_id), num_items_left(database)] == [False, 1]
    with database.reading() as session:
        assert session.scalars(select(Job.id)).all() == [other]
        assert session.scalar(select(func.count()).select_from(Result)) == 0


def remove(database: Database, job_id: uuid.UUID) -> bool:
    with database.transaction() as session:
        return deleting.remove(session, job_id)


def num_items_left(database: Database) -> int:
    with database.reading() as session:
        return session.scalars(select(func.count()).select_from(Item)).one()


def test_a_job_that_is_not_deleted_is_not_removed(database: Database) -> None:
    job_id = a_job(database)
    save(database, claim(database)[0])

    assert not remove(database, job_id)
    assert num_items_left(database) == 1


def test_a_deadline_is_counted_from_the_submission_by_the_databases_clock(database: Database) -> None:
    known = record_of(database, a_job(database))
    with database.transaction() as session:
        job_id = jobs.insert_job(
            session,
            tenant_id=known.tenant_id,
            model=known.model,
            model_digest=DIGEST,
            metadata={},
            num_items=1,
            schedule=jobs.Schedule(window_seconds=HOUR),
        )
        passed = session.scalars(select(Job.id).where(Job.expires_at <= clock(HOUR))).all()

    assert passed == [job_id]
