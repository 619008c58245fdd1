"""What people look at of a job: results found by text, ends over time, guided beside unguided, the last failures."""

import datetime as dt
import uuid

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from db.models import Item, Job
from db.queries import claims, job_pages, job_search, overviews
from db.queries.job_search import Looked, find_results
from db.queries.jobs import JobRecord, find_jobs
from db.queries.overviews import QueueShare
from db.session import Database, now
from domain.attempts import Outcome
from domain.preferences import Method
from domain.states import ItemState, JobState
from tests.builders import DIGEST, a_job, a_model, preference

GUIDED, UNGUIDED = preference("formal"), preference(method=Method.NONE, strength=0.0)
NOT_FINITE = "non_finite_logits"


def ended(database: Database, texts: list[str | None]) -> uuid.UUID:
    """A job whose items, every second of them unguided, ended with these texts, or failed."""
    job_id = a_job(database, [(GUIDED, UNGUIDED)[number % 2] for number in range(len(texts))])
    owner = uuid.uuid4()
    with database.transaction() as session:
        claimed = claims.claim(session, owner=owner, model_digest=DIGEST, limit=99, lease_seconds=60)
    outcomes = []
    for position, (item, text) in enumerate(zip(sorted(claimed, key=lambda each: each.item_id), texts, strict=True)):
        error = NOT_FINITE if text is None else None
        reward = None if position % 2 else 2.0
        facts = {"text": text, "reward": reward, "num_completion_tokens": 4 + position % 2}
        outcomes.append(Outcome(item.item_id, item.attempt, error_code=error, error_message=error, **facts))  # type: ignore[arg-type] # fields by name
    with database.transaction() as session:
        claims.save(session, owner=owner, outcomes=outcomes)
    return job_id


def record(session: Session, job_id: uuid.UUID) -> JobRecord:
    (found,) = find_jobs(session, [job_id])
    return found


def test_results_are_found_by_any_text_literally_and_whatever_the_case(database: Database) -> None:
    job_id = ended(database, ["Green Tea", "50% off", None, "green_tea"])

    def found(text: str, *, limit: int = 10, after: int = -1, before: int | None = None) -> list[int]:
        with database.reading() as session:
            looked = Looked(text, after=after, before=before)
            rows = find_results(session, record(session, job_id), looked, limit=limit).rows
        return [row.position for row in rows]

    assert found("green") == [0, 3]
    assert found("0%") == [1]
    assert found("n_t") == [3]
    assert found("USER-2") == found(NOT_FINITE.upper()) == [2]
    assert found("", limit=2) == [0, 1]
    assert found("", limit=2, after=1) == [2, 3]
    assert found("", limit=2, before=3) == [1, 2]
    assert found("e", limit=1, before=3) == [2]


def test_results_are_paged_by_state_whatever_lies_between_them(database: Database) -> None:
    job_id = ended(database, ["a", None, "c", None, "e"])

    def found(*states: ItemState, after: int = -1, before: int | None = None) -> list[int]:
        with database.reading() as session:
            looked = Looked("", states, after, before)
            return [row.position for row in find_results(session, record(session, job_id), looked, limit=2).rows]

    assert found(ItemState.FAILED) == [1, 3]
    assert found(ItemState.FAILED, after=1) == [3]
    assert found(ItemState.FAILED, ItemState.SUCCEEDED, before=4) == [2, 3]
    assert found(ItemState.CANCELLED) == []


def test_items_that_are_still_to_follow_their_cancelled_job_are_found_as_cancelled(database: Database) -> None:
    job_id = a_job(database, [GUIDED] * 3)
    with database.transaction() as session:
        values = {"state": JobState.CANCELLED, "finished_at": now(session)}
        session.execute(update(Job).where(Job.id == job_id).values(**values))

    with database.reading() as session:
        job = record(session, job_id)
        assert len(find_results(session, job, Looked(), limit=9).rows) == 3
        assert len(find_results(session, job, Looked(states=(ItemState.CANCELLED,)), limit=9).rows) == 3
        assert find_results(session, job, Looked(states=(ItemState.FAILED,)), limit=9).rows == []


def test_a_search_that_takes_long_says_how_far_it_came_and_goes_on_from_there(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_search, "FIRST_WINDOW", 2)
    monkeypatch.setattr(job_search, "STATEMENT_SECONDS", 0.0)
    monkeypatch.setattr(job_search, "SEARCH_SECONDS", 0.0)
    job_id = ended(database, ["tea", "x", "x", "x", "tea"])

    with database.reading() as session:
        job = record(session, job_id)
        first = find_results(session, job, Looked("tea"), limit=9)
        rest = find_results(session, job, Looked("tea", after=3), limit=9)
        back = find_results(session, job, Looked("tea", before=4), limit=9)
        named = job_search.find_named(session, job, "item-4")

    assert ([row.position for row in first.rows], first.looked_to) == ([0], 1)
    assert ([row.position for row in rest.rows], rest.looked_to) == ([4], None)
    assert ([row.position for row in back.rows], back.looked_to) == ([], 2)
    assert named is not None
    assert named.text == "tea"


def test_ends_are_counted_by_the_stretch_of_time_they_are_in(database: Database) -> None:
    job_id = ended(database, ["a", "b", None])
    since = dt.datetime(2030, 1, 1, 12, 0, 0, 900_000, tzinfo=dt.UTC)
    for position, seconds in enumerate((0.0, 9.05, 25.0)):
        with database.transaction() as session:
            moment = since + dt.timedelta(seconds=seconds)
            at = (Item.job_id == job_id, Item.position == position)
            session.execute(update(Item).where(*at).values(finished_at=moment))

    with database.reading() as session:
        ends = job_pages.ends_over_time(session, job_id, range(3), since=since, bucket_seconds=10)

        part = job_pages.ends_over_time(session, job_id, range(1, 2), since=since, bucket_seconds=10)

    assert ends == {(0, ItemState.SUCCEEDED): 2, (2, ItemState.FAILED): 1}
    assert part == {(0, ItemState.SUCCEEDED): 1}


def test_the_sides_of_a_hold_out_are_summed_up(database: Database) -> None:
    job_id = ended(database, ["a", "b", None, "d"])

    halves = (range(3), range(3, 4))
    with database.reading() as session:
        parts = [job_pages.sides(session, job_id, each, unguided_hash=UNGUIDED.hash) for each in halves]
    guided, unguided = (one + other for one, other in zip(*parts, strict=True))

    assert (guided.num_items, guided.num_succeeded, guided.mean_reward, guided.mean_tokens) == (2, 1, 2.0, 4.0)
    assert (unguided.num_items, unguided.num_succeeded, unguided.mean_reward, unguided.mean_tokens) == (2, 2, None, 5.0)


def test_a_tenant_sees_its_own_groups_failures_and_items_alone(database: Database) -> None:
    a_model(database)
    job_id = ended(database, ["a", None])
    a_job(database, [GUIDED, GUIDED, UNGUIDED])
    with database.reading() as session:
        mine = session.get_one(Job, job_id).tenant_id
        stranger = uuid.uuid4()

        groups = overviews.queued_groups(session, mine, limit=5)
        failures = overviews.last_failures(session, mine, limit=5)

        assert [(group.num_items, group.num_jobs) for group in groups] == [(2, 1), (1, 1)]
        assert [(failure.custom_id, failure.code) for failure in failures] == [("item-1", NOT_FINITE)]
        assert overviews.queued_groups(session, stranger, limit=5) == []
        by_tenant = overviews.queue_by_tenant(session, mine)
        assert (by_tenant.own, by_tenant.others) == (QueueShare(3, 0, 1), QueueShare())
        by_tenant = overviews.queue_by_tenant(session, stranger)
        assert (by_tenant.own, by_tenant.others) == (QueueShare(), QueueShare(3, 0, 1))
        assert overviews.last_failures(session, stranger, limit=5) == []
        asked = job_pages.find_item(session, tenant_id=mine, job_id=job_id, position=0)
        assert asked is not None
        assert asked.messages == [{"role": "user", "content": "prompt 0"}]
        assert job_pages.find_item(session, tenant_id=stranger, job_id=job_id, position=0) is None
        (worker,) = overviews.list_workers(session, limit=5)
        assert worker.is_alive
        assert worker.load is None
        assert now(session) >= worker.seen_at
