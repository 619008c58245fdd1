"""Items whose worker or engine was lost: what ends them, and what does not."""

import datetime as dt
import uuid
from collections.abc import Callable

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from db.models import Item
from db.queries import claims, jobs, losses, retrying
from db.queries.audit import violations
from db.session import Database
from domain.attempts import Attempt, ClaimedItem, Outcome
from domain.states import ItemState, JobState
from tests.builders import DIGEST, a_job, items_of, job_state, preference, states_of

OWNER = uuid.UUID(int=1)
OTHER = uuid.UUID(int=2)


def claim(database: Database, limit: int = 100, owner: uuid.UUID = OWNER) -> list[ClaimedItem]:
    with database.transaction() as session:
        return claims.claim(session, owner=owner, model_digest=DIGEST, limit=limit, lease_seconds=60)


def lose(database: Database) -> int:
    """The leases of everything that is running end, and a sweep finds them."""
    with database.transaction() as session:
        long_ago = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
        session.execute(update(Item).where(Item.state == ItemState.RUNNING).values(lease_until=long_ago))
        num_lost = losses.expire(session)
    assert_sound(database)
    return num_lost


def record_deaths(database: Database, *attempts: Attempt, owner: uuid.UUID = OWNER, limit: int = 3) -> set[Attempt]:
    with database.transaction() as session:
        ended = losses.record_deaths(session, owner=owner, attempts=attempts, max_deaths=limit)
    assert_sound(database)
    return ended


def assert_sound(database: Database) -> None:
    with database.reading() as session:
        assert violations(session) == {}


def test_a_lease_that_ends_uses_nothing_up(database: Database) -> None:
    # Many more kills than an item may see its engine die: it was held, and nobody says that it was to blame.
    job_id = a_job(database, [preference("formal")] * 3)

    for _ in range(losses.MAX_SILENT_LEASES - 1):
        claim(database)
        assert lose(database) == 3

    assert states_of(database, job_id) == [ItemState.QUEUED] * 3


def test_an_item_that_nobody_survives_ends_all_the_same(database: Database) -> None:
    job_id = a_job(database, [preference("formal")] * 2)
    for _ in range(losses.MAX_SILENT_LEASES - 1):
        claim(database, limit=1)
        lose(database)

    claim(database, limit=2)
    lose(database)

    fatal, innocent = items_of(database, job_id)
    assert (fatal.state, fatal.error_code) == (ItemState.FAILED, "worker_lost")
    assert innocent.state is ItemState.QUEUED


def test_the_last_item_that_ends_so_completes_its_job(database: Database) -> None:
    job_id = a_job(database)
    for _ in range(losses.MAX_SILENT_LEASES):
        claim(database)
        lose(database)

    assert job_state(database, job_id) is JobState.COMPLETED


def test_an_attempt_that_was_given_back_is_none_of_those_that_nobody_was_heard_of(database: Database) -> None:
    job_id = a_job(database)
    for _ in range(losses.MAX_SILENT_LEASES):
        (item,) = claim(database)
        with database.transaction() as session:
            claims.release(session, owner=OWNER, attempts=[item.attempt_key])

    claim(database)
    lose(database)

    assert states_of(database, job_id) == [ItemState.QUEUED]


def test_an_item_ends_after_as_many_attempts_in_which_its_engine_died(database: Database) -> None:
    job_id = a_job(database, [preference("formal")] * 2)
    ended = []
    for _ in range(3):
        item, _neighbour = claim(database)
        ended.append(record_deaths(database, item.attempt_key))
        lose(database)

    fatal, innocent = items_of(database, job_id)
    assert ended == [set(), set(), {item.attempt_key}]
    assert (fatal.state, fatal.error_code) == (ItemState.FAILED, "worker_lost")
    assert (innocent.state, innocent.error_code) == (ItemState.QUEUED, None)


def test_an_item_whose_engine_died_stays_with_its_worker_until_that_is_once_too_often(database: Database) -> None:
    job_id = a_job(database)
    (item,) = claim(database)

    record_deaths(database, item.attempt_key)

    with database.transaction() as session:
        assert claims.extend(session, owner=OWNER, lease_seconds=60) == {item.attempt_key}
        outcome = Outcome(item.item_id, item.attempt, text="text", finish_reason="stop")
        assert claims.save(session, owner=OWNER, outcomes=[outcome]) == {job_id}
    assert_sound(database)


def readdress(session: Session, job_id: uuid.UUID) -> object:
    return jobs.readdress(session, job_id, model="tiny", model_digest=DIGEST)


@pytest.mark.parametrize("begin_anew", [retrying.retry, readdress], ids=["a retry", "a readdress"])
def test_whoever_has_items_tried_anew_forgets_the_deaths_of_before(
    database: Database, begin_anew: Callable[[Session, uuid.UUID], object]
) -> None:
    failed, held = (a_job(database) for _ in range(2))
    items = claim(database)
    for item in items:
        record_deaths(database, item.attempt_key, limit=2)
    with database.transaction() as session:
        outcomes = [Outcome(item.item_id, item.attempt, error_code="x") for item in items if item.job_id == failed]
        claims.save(session, owner=OWNER, outcomes=outcomes)
        assert begin_anew(session, failed if begin_anew is retrying.retry else held)

    (again,) = claim(database)

    assert record_deaths(database, again.attempt_key, limit=2) == set()
    assert record_deaths(database, again.attempt_key, limit=2) == {again.attempt_key}


def test_a_death_that_another_worker_reports_is_not_counted(database: Database) -> None:
    a_job(database)
    (item,) = claim(database)
    lose(database)
    (again,) = claim(database, owner=OTHER)

    assert record_deaths(database, item.attempt_key, limit=1) == set()
    assert record_deaths(database, item.attempt_key, owner=OTHER, limit=1) == set()
    assert record_deaths(database, again.attempt_key, owner=OTHER, limit=1) == {again.attempt_key}


def test_at_most_so_many_leases_are_taken_back_in_one_sweep(database: Database) -> None:
    a_job(database, [preference("formal")] * (losses.EXPIRED_PER_SWEEP + 2))
    claim(database, limit=losses.EXPIRED_PER_SWEEP + 2)

    assert (lose(database), lose(database), lose(database)) == (losses.EXPIRED_PER_SWEEP, 2, 0)


def test_the_neighbours_of_an_item_that_kills_its_engine_do_not_end_with_it(database: Database) -> None:
    # Each time the leases are lost before triage has found out which of the two it was.
    job_id = a_job(database, [preference("formal")] * 2)
    for _ in range(losses.MAX_SHARED_DEATHS - 1):
        claimed = claim(database)
        with database.transaction() as session:
            together = [item.attempt_key for item in claimed]
            assert losses.record_deaths(session, owner=OWNER, attempts=together) == set()
            claims.release(session, owner=OWNER, attempts=together)

    assert states_of(database, job_id) == [ItemState.QUEUED] * 2
    together = [item.attempt_key for item in claim(database)]
    with database.transaction() as session:
        assert losses.record_deaths(session, owner=OWNER, attempts=together) == set(together)
    assert states_of(database, job_id) == [ItemState.FAILED] * 2
