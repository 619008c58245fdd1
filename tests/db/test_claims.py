"""The claim protocol on both databases: groups first, one owner at a time, and no write from the dead."""

import datetime as dt
import threading
import uuid

import pytest
from sqlalchemy import update

from db.models import Item
from db.preferences import EffectivePreference
from db.queries import claims
from db.queries.claims import ClaimedItem, Outcome
from db.queries.jobs import cancel, finalise
from db.session import Database
from db.states import ItemState, JobState
from tests.builders import DIGEST, a_job, items_of, job_state, preference, states_of

OWNER = uuid.UUID(int=1)
OTHER = uuid.UUID(int=2)


def claim(database: Database, limit: int = 100, owner: uuid.UUID = OWNER) -> list[ClaimedItem]:
    with database.transaction() as session:
        return claims.claim(session, owner=owner, model_digest=DIGEST, limit=limit, lease_seconds=60)


def save(database: Database, *outcomes: Outcome, owner: uuid.UUID = OWNER) -> set[uuid.UUID]:
    with database.transaction() as session:
        return claims.save(session, owner=owner, outcomes=outcomes)


def success(item: ClaimedItem, text: str = "text") -> Outcome:
    return Outcome(item.item_id, item.attempt, text=text, finish_reason="stop")


def let_leases_run_out(database: Database) -> None:
    with database.transaction() as session:
        session.execute(update(Item).values(lease_until=dt.datetime(2000, 1, 1, tzinfo=dt.UTC)))


def expire(database: Database, max_attempts: int = 5) -> int:
    with database.transaction() as session:
        return claims.expire(session, max_attempts=max_attempts)


def test_a_claim_takes_one_group_after_the_other(database: Database) -> None:
    formal, playful = preference("formal"), preference("playful")
    a_job(database, [formal, playful, formal, playful, formal])
    first_hash, second_hash = sorted([formal.hash, playful.hash])

    claimed = claim(database, limit=4)

    hashes = [preference_hash(item) for item in claimed]
    num_first = 3 if first_hash == formal.hash else 2
    assert hashes == [first_hash] * num_first + [second_hash] * (4 - num_first)


def preference_hash(item: ClaimedItem) -> str:
    return EffectivePreference.from_body(item.preference).hash


def test_a_claim_tops_up_from_the_next_job(database: Database) -> None:
    first = a_job(database, [preference("formal")] * 2)
    second = a_job(database, [preference("formal")] * 3)

    claimed = claim(database, limit=4)

    assert [item.job_id for item in claimed] == [first, first, second, second]
    assert {item.attempt for item in claimed} == {1}


def test_an_item_for_another_model_is_left_alone(database: Database) -> None:
    a_job(database, model_digest="another")

    assert claim(database) == []


def test_two_workers_never_hold_the_same_item(database: Database) -> None:
    job_id = a_job(database, [preference("formal")] * 60)
    taken: dict[uuid.UUID, list[int]] = {OWNER: [], OTHER: []}
    barrier = threading.Barrier(2)

    def work(owner: uuid.UUID) -> None:
        barrier.wait()
        while claimed := claim(database, limit=5, owner=owner):
            taken[owner] += [item.item_id for item in claimed]

    threads = [threading.Thread(target=work, args=(owner,)) for owner in taken]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not set(taken[OWNER]) & set(taken[OTHER])
    assert len(taken[OWNER]) + len(taken[OTHER]) == 60
    assert set(states_of(database, job_id)) == {ItemState.RUNNING}


def test_an_outcome_is_saved_once(database: Database) -> None:
    job_id = a_job(database)
    (item,) = claim(database)

    first = save(database, success(item, "first"))
    second = save(database, success(item, "second"))

    assert (first, second) == ({job_id}, set())
    assert items_of(database, job_id)[0].text == "first"


def test_a_failure_keeps_its_reason(database: Database) -> None:
    job_id = a_job(database)
    (item,) = claim(database)

    save(database, Outcome(item.item_id, item.attempt, error_code="prompt_too_long", error_message="Too long."))

    (saved,) = items_of(database, job_id)
    assert (saved.state, saved.error_code, saved.text) == (ItemState.FAILED, "prompt_too_long", None)


def test_a_worker_that_was_presumed_dead_changes_nothing(database: Database) -> None:
    # A stopped process wakes up after its lease ran out and another worker finished the item.
    job_id = a_job(database)
    (zombie,) = claim(database)
    let_leases_run_out(database)
    expire(database)
    (heir,) = claim(database, owner=OTHER)
    save(database, success(heir, "the heir's"), owner=OTHER)

    saved = save(database, success(zombie, "the zombie's"))

    assert saved == set()
    assert items_of(database, job_id)[0].text == "the heir's"


def test_a_late_outcome_does_not_end_an_item_that_another_worker_holds(database: Database) -> None:
    job_id = a_job(database)
    (zombie,) = claim(database)
    let_leases_run_out(database)
    expire(database)
    claim(database, owner=OTHER)

    save(database, success(zombie))

    assert states_of(database, job_id) == [ItemState.RUNNING]


def test_an_outcome_of_an_earlier_attempt_by_the_same_worker_changes_nothing(database: Database) -> None:
    job_id = a_job(database)
    (first,) = claim(database)
    let_leases_run_out(database)
    expire(database)
    (second,) = claim(database)

    save(database, success(first, "first"))

    assert (first.attempt, second.attempt) == (1, 2)
    assert states_of(database, job_id) == [ItemState.RUNNING]


def test_a_released_item_is_queued_again_and_the_attempt_is_not_counted(database: Database) -> None:
    job_id = a_job(database)
    (item,) = claim(database)

    with database.transaction() as session:
        claims.release(session, owner=OWNER, item_ids=[item.item_id])

    assert [(item.state, item.attempt) for item in items_of(database, job_id)] == [(ItemState.QUEUED, 0)]


def test_a_worker_cannot_release_what_another_holds(database: Database) -> None:
    job_id = a_job(database)
    (item,) = claim(database)

    with database.transaction() as session:
        claims.release(session, owner=OTHER, item_ids=[item.item_id])

    assert states_of(database, job_id) == [ItemState.RUNNING]


def test_a_lease_that_still_runs_is_not_taken_back(database: Database) -> None:
    a_job(database)
    claim(database)

    assert expire(database) == 0


def test_an_extended_lease_names_what_is_still_held(database: Database) -> None:
    a_job(database, [preference("formal")] * 2)
    kept, lost = claim(database)
    with database.transaction() as session:
        session.execute(update(Item).where(Item.id == lost.item_id).values(state=ItemState.QUEUED, lease_owner=None))

    with database.transaction() as session:
        held = claims.extend(session, owner=OWNER, lease_seconds=60)

    assert held == {kept.item_id}


@pytest.mark.parametrize(("max_attempts", "state"), [(2, ItemState.QUEUED), (1, ItemState.FAILED)])
def test_a_lost_item_is_tried_again_until_its_attempts_are_used_up(
    database: Database, max_attempts: int, state: ItemState
) -> None:
    job_id = a_job(database)
    claim(database)
    let_leases_run_out(database)

    num_expired = expire(database, max_attempts=max_attempts)

    assert num_expired == 1
    (item,) = items_of(database, job_id)
    assert item.state is state
    assert item.error_code == ("worker_lost" if state is ItemState.FAILED else None)


def test_a_result_that_arrives_after_a_cancel_is_refused(database: Database) -> None:
    job_id = a_job(database)
    (item,) = claim(database)
    with database.transaction() as session:
        assert cancel(session, job_id)

    save(database, success(item))

    (cancelled,) = items_of(database, job_id)
    assert (cancelled.state, cancelled.text, cancelled.error_code) == (ItemState.CANCELLED, None, "cancelled")


def test_cancels_and_saves_that_meet_leave_every_item_in_one_terminal_state(database: Database) -> None:
    # Both lock many rows; in different orders they would wait for each other in a circle.
    for _ in range(5):
        job_id = a_job(database, [preference("formal")] * 40)
        claimed = claim(database)
        barrier = threading.Barrier(2)

        def save_all(claimed: list[ClaimedItem] = claimed, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            save(database, *(success(item) for item in reversed(claimed)))

        saver = threading.Thread(target=save_all)
        saver.start()
        barrier.wait()
        with database.transaction() as session:
            cancel(session, job_id)
        saver.join()

        ended = items_of(database, job_id)
        assert all((item.text is None) == (item.state is ItemState.CANCELLED) for item in ended)
        assert {item.state for item in ended} <= {ItemState.SUCCEEDED, ItemState.CANCELLED}


def test_a_job_is_started_by_its_first_claim_and_keeps_that_moment(database: Database) -> None:
    job_id = a_job(database)

    with database.transaction() as session:
        claims.mark_started(session, [job_id])

    assert job_state(database, job_id) is JobState.RUNNING


def test_jobs_are_claimable_while_items_are_queued_and_ended_when_none_is_open(database: Database) -> None:
    job_id = a_job(database)

    with database.reading() as session:
        assert claims.claimable_jobs(session, model_digest=DIGEST) == [job_id]
        assert claims.ended_jobs(session) == []

    (item,) = claim(database)
    save(database, success(item))
    with database.reading() as session:
        assert claims.claimable_jobs(session, model_digest=DIGEST) == []
        assert claims.ended_jobs(session) == [job_id]

    with database.transaction() as session:
        finalise(session, job_id)
    with database.reading() as session:
        assert claims.ended_jobs(session) == []
