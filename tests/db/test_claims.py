"""The claim protocol on both databases: groups first, one owner at a time, and no write from the dead."""

import datetime as dt
import random
import threading
import uuid

from sqlalchemy import select, text, update

from db.models import Item, Job
from db.queries import claims, fairness, losses
from db.queries.cancelling import cancel
from db.queries.positions import KEPT_SECONDS, Positions
from db.session import Database
from domain.attempts import ClaimedItem, Outcome
from domain.preferences import EffectivePreference
from domain.states import ItemState, JobState
from tests.builders import DIGEST, a_job, items_of, job_state, preference, states_of, wind_up

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


def expire(database: Database) -> int:
    with database.transaction() as session:
        return losses.expire(session)


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


def test_a_claim_passes_over_what_others_have_just_locked_and_waits_for_nobody(postgresql_database: Database) -> None:
    # Two that waited for each other's items, in the orders of their own jobs, would wait in a circle.
    job_id = a_job(postgresql_database, [preference("formal")] * 8)
    first = select(Item.id).where(Item.job_id == job_id).order_by(Item.id).limit(4)

    with postgresql_database.transaction() as other, postgresql_database.transaction() as session:
        locked = set(other.scalars(first.with_for_update()))
        session.execute(text("SET LOCAL lock_timeout = '2s'"))
        claimed = claims.claim(session, owner=OWNER, model_digest=DIGEST, limit=4, lease_seconds=60)

    assert len(claimed) == 4
    assert locked.isdisjoint(item.item_id for item in claimed)


def test_an_outcome_is_saved_once(database: Database) -> None:
    job_id = a_job(database)
    (item,) = claim(database)

    first = save(database, success(item, "first"))
    second = save(database, success(item, "second"))

    assert (first, second) == ({job_id}, set())
    assert items_of(database, job_id)[0].text == "first"


def test_each_outcome_is_its_own_items_in_whatever_order_and_parts_they_come(database: Database) -> None:
    draws = random.Random(14)
    job_id = a_job(database, [preference("formal"), preference("playful")] * 20)
    claimed = claim(database)
    draws.shuffle(claimed)

    while claimed:
        part = [claimed.pop() for _ in range(min(len(claimed), draws.randint(1, 7)))]
        save(database, *(_failure(item) if draws.random() < 0.3 else success(item, _name(item)) for item in part))

    for item_id, ended in zip(ids_of(database, job_id), items_of(database, job_id), strict=True):
        assert (ended.text, ended.error_code) in {(f"of {item_id}", None), (None, f"for {item_id}")}


def _name(item: ClaimedItem) -> str:
    return f"of {item.item_id}"


def _failure(item: ClaimedItem) -> Outcome:
    return Outcome(item.item_id, item.attempt, error_code=f"for {item.item_id}", error_message="Its own.")


def ids_of(database: Database, job_id: uuid.UUID) -> list[int]:
    with database.reading() as session:
        return list(session.scalars(select(Item.id).where(Item.job_id == job_id).order_by(Item.position)))


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
        claims.release(session, owner=OWNER, attempts=[item.attempt_key])

    assert [(item.state, item.attempt) for item in items_of(database, job_id)] == [(ItemState.QUEUED, 0)]


def test_a_worker_cannot_release_what_another_holds(database: Database) -> None:
    job_id = a_job(database)
    (item,) = claim(database)

    with database.transaction() as session:
        claims.release(session, owner=OTHER, attempts=[item.attempt_key])

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

    assert held == {kept.attempt_key}


def test_a_result_that_arrives_after_a_cancel_is_refused(database: Database) -> None:
    job_id = a_job(database)
    (item,) = claim(database)
    with database.transaction() as session:
        assert cancel(session, job_id)

    moved_on = save(database, success(item))

    wind_up(database, job_id)
    (cancelled,) = items_of(database, job_id)
    assert moved_on == set()
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
        wind_up(database, job_id)

        ended = items_of(database, job_id)
        assert all((item.text is None) == (item.state is ItemState.CANCELLED) for item in ended)
        assert {item.state for item in ended} <= {ItemState.SUCCEEDED, ItemState.CANCELLED}


def test_a_job_is_started_by_its_first_claim_and_keeps_that_moment(database: Database) -> None:
    job_id = a_job(database, [preference("formal")] * 2)

    claim(database, limit=1)
    first = started_at(database, job_id)
    claim(database, limit=1)

    assert job_state(database, job_id) is JobState.RUNNING
    assert first is not None
    assert started_at(database, job_id) == first


def started_at(database: Database, job_id: uuid.UUID) -> dt.datetime | None:
    with database.reading() as session:
        return session.scalars(select(Job.started_at).where(Job.id == job_id)).one()


def test_jobs_are_claimable_while_items_are_queued(database: Database) -> None:
    job_id = a_job(database)

    before = claimable(database)
    claim(database)

    assert (before, claimable(database)) == ([job_id], [])


def test_every_claimable_job_is_found_however_many_there_are(database: Database) -> None:
    num_jobs = 2 * fairness.JOBS_PER_LOOK + 1
    job_ids = [a_job(database) for _ in range(num_jobs)]

    assert claimable(database) == job_ids
    assert [item.job_id for item in claim(database, limit=num_jobs)] == job_ids


def claimable(database: Database) -> list[uuid.UUID]:
    with database.reading() as session:
        return [job.id for job in claims.claimable_jobs(session, model_digest=DIGEST)]


def test_a_claim_goes_on_where_the_last_one_ended(database: Database) -> None:
    a_job(database, [preference("formal")] * 6)
    positions = Positions()
    claimed = [claim_from(database, positions, 2), claim_from(database, positions, 2)]
    with database.transaction() as session:
        claims.release(session, owner=OWNER, attempts=[item.attempt_key for item in claimed[0]])

    ahead, behind = claim_from(database, positions, 2), claim_from(database, positions, 2)

    assert [item.item_id for item in ahead] == [item.item_id + 4 for item in claimed[0]]
    assert [item.item_id for item in behind] == [item.item_id for item in claimed[0]]


def test_what_was_queued_again_is_claimed_in_its_turn_after_some_seconds(database: Database) -> None:
    a_job(database, [preference("formal")] * 6)
    seconds = 0.0
    positions = Positions(lambda: seconds)
    first = claim_from(database, positions, 2)
    with database.transaction() as session:
        claims.release(session, owner=OWNER, attempts=[item.attempt_key for item in first])

    seconds = KEPT_SECONDS
    again = claim_from(database, positions, 2)

    assert [item.item_id for item in again] == [item.item_id for item in first]


def test_a_claim_takes_what_is_left_ahead_and_begins_anew(database: Database) -> None:
    a_job(database, [preference("formal")] * 5)
    positions = Positions()
    first = claim_from(database, positions, 3)
    with database.transaction() as session:
        claims.release(session, owner=OWNER, attempts=[item.attempt_key for item in first])

    rest = claim_from(database, positions, 9)

    assert len({item.item_id for item in rest}) == len(rest) == 5


def claim_from(database: Database, positions: Positions, limit: int) -> list[ClaimedItem]:
    with database.transaction() as session:
        return claims.claim(
            session, owner=OWNER, model_digest=DIGEST, limit=limit, lease_seconds=60, positions=positions
        )
