"""The registry: what workers have loaded, who serves it, and work that was queued before there were digests."""

import datetime as dt
import uuid

import pytest
from sqlalchemy import select, update

from db.base import new_id
from db.models import Fit, Item, Job
from db.queries import cancelling, claims, feedback, fits, jobs, workers
from db.queries.models import RegisteredModel, list_models
from db.queries.open_items import open_items
from db.queries.workers import WorkerStatus, seen_workers, serving_status
from db.registry_models import Model, Worker
from db.session import Database, now
from domain.preferences import Method
from domain.states import ItemState, ModelState, WorkerState
from tests.builders import DIGEST, MODEL, a_description, a_job, a_model, a_profile, items_of, preference, some_pairs

OWNER = uuid.UUID(int=1)
OTHER_DIGEST = "e" * 64


def registered(database: Database) -> list[RegisteredModel]:
    with database.reading() as session:
        return list_models(session)


def status_of(database: Database, model: str = MODEL, digest: str | None = DIGEST) -> WorkerStatus:
    with database.reading() as session:
        return serving_status(seen_workers(session), model=model, digest=digest)


def claim(database: Database, digest: str) -> list[claims.ClaimedItem]:
    with database.transaction() as session:
        return claims.claim(session, owner=OWNER, model_digest=digest, limit=9, lease_seconds=60)


def a_loading_worker(database: Database, name: str, state: WorkerState = WorkerState.LOADING, said: str = "") -> None:
    worker_id = new_id()
    with database.transaction() as session:
        workers.register(session, worker_id=worker_id, model=name)
        session.flush()
        workers.report(session, worker_id=worker_id, state=state, message=said or None)


def test_what_a_worker_registers_is_read_as_it_was_said(database: Database) -> None:
    described = a_description(max_kl=0.5, strength=1.5, format="system", card={"version": 1})

    a_model(database, "demo", described, aliases=("latest",))

    (model,) = registered(database)
    assert (model.name, model.aliases, model.description) == ("demo", ("latest",), described)
    assert (model.state, model.reference) == (ModelState.READY, "demo@dddddddd")


def test_registering_again_is_one_row_with_what_was_said_last(database: Database) -> None:
    a_model(database, description=a_description(max_length=512), state=WorkerState.STOPPED)
    a_model(database, description=a_description(max_length=1024), aliases=("latest",))

    (model,) = registered(database)
    assert (model.aliases, model.description.max_length) == (("latest",), 1024)


@pytest.mark.parametrize("lengths", [(512, 256), (256, 512)])
def test_of_workers_that_serve_one_model_the_shortest_length_counts(
    database: Database, lengths: tuple[int, int]
) -> None:
    for length in lengths:
        a_model(database, description=a_description(max_length=length))

    assert [model.description.max_length for model in registered(database)] == [256]


def test_a_model_is_gone_when_its_worker_is_and_loading_when_one_of_its_name_is(database: Database) -> None:
    worker_id = a_model(database)
    with database.transaction() as session:
        long_ago = now(session) - dt.timedelta(minutes=2)
        session.execute(update(Worker).where(Worker.id == worker_id).values(seen_at=long_ago))
    gone = registered(database)[0].state

    a_loading_worker(database, MODEL)

    assert (gone, registered(database)[0].state) == (ModelState.GONE, ModelState.LOADING)


def test_a_model_that_is_served_is_seen(database: Database) -> None:
    worker_id = a_model(database)
    with database.transaction() as session:
        session.execute(update(Model).values(seen_at=now(session) - dt.timedelta(hours=1)))
    before = registered(database)[0].seen_at

    with database.transaction() as session:
        workers.report(session, worker_id=worker_id, state=WorkerState.READY)

    assert registered(database)[0].seen_at > before + dt.timedelta(minutes=59)


def test_a_model_nobody_has_served_for_long_is_forgotten_unless_a_job_waits_for_it(database: Database) -> None:
    a_model(database, "gone", a_description("a" * 64))
    a_model(database, "waited for", a_description("b" * 64))
    a_job(database, model_digest="b" * 64)
    with database.transaction() as session:
        session.execute(update(Model).values(seen_at=now(session) - dt.timedelta(days=31)))

    a_model(database, "new", a_description("c" * 64))

    assert [model.name for model in registered(database)] == ["new", "waited for"]


def test_work_of_an_older_version_is_adopted_by_the_first_model_of_its_name(database: Database) -> None:
    job_id = a_job(database, [preference("formal")] * 2, model_digest=None)
    other_id = a_job(database, model="another", model_digest=None)
    profile_id = a_profile(database, "formal", "playful")
    with database.transaction() as session:
        feedback.add_pairs(session, profile_id, some_pairs(6))
        feedback.request_fit(session, profile_id, model=MODEL, model_digest=DIGEST)
        session.execute(update(Fit).values(model_digest=None))

    a_model(database)
    a_model(database, description=a_description(OTHER_DIGEST))

    with database.reading() as session:
        digests = {job.id: job.model_digest for job in session.scalars(select(Job))}
        assert set(session.scalars(select(Item.model_digest).where(Item.job_id == job_id))) == {DIGEST}
        assert set(session.scalars(select(Item.model_digest).where(Item.job_id == other_id))) == {None}
        assert fits.next_waiting(session, model_digest=DIGEST) is not None
    assert digests == {job_id: DIGEST, other_id: None}
    assert len(claim(database, DIGEST)) == 2


def test_work_of_an_older_version_waits_for_a_model_that_knows_its_methods(database: Database) -> None:
    job_id = a_job(database, [preference("formal"), preference("brief", method=Method.PAD)], model_digest=None)

    a_model(database, description=a_description(OTHER_DIGEST, has_policy=False))
    assert claim(database, OTHER_DIGEST) == []

    a_model(database)
    assert [item.job_id for item in claim(database, DIGEST)] == [job_id] * 2


def test_what_has_ended_is_not_adopted(database: Database) -> None:
    job_id = a_job(database, model_digest=None)
    with database.transaction() as session:
        cancelling.cancel(session, job_id)

    a_model(database)

    with database.reading() as session:
        assert session.scalars(select(Job.model_digest)).one() is None


def test_a_renamed_model_goes_on_and_another_one_of_the_old_name_touches_nothing(database: Database) -> None:
    a_job(database)
    a_model(database, state=WorkerState.STOPPED)

    a_model(database, description=a_description(OTHER_DIGEST))
    assert claim(database, OTHER_DIGEST) == []

    a_model(database, "renamed", a_description(DIGEST))
    assert len(claim(database, DIGEST)) == 1


def test_why_a_job_waits_is_about_its_own_model(database: Database) -> None:
    assert status_of(database).message == workers.NO_WORKER
    a_loading_worker(database, MODEL)
    assert status_of(database).message == workers.LOADING

    a_model(database, "demo", a_description(OTHER_DIGEST))
    assert status_of(database, "demo").message == (
        "No worker serves demo@dddddddd; a worker serves another model under that name."
    )
    assert status_of(database, "third").message == "No worker serves third@dddddddd."
    assert status_of(database, "old", None).message == "No worker serves old."
    assert status_of(database, "demo", OTHER_DIGEST) == WorkerStatus(WorkerState.READY, None)

    a_loading_worker(database, "third", WorkerState.FAILED, "No such model.")
    assert status_of(database, "third").message == "No worker serves third@dddddddd: No such model."

    a_model(database, "renamed", a_description(DIGEST))
    assert status_of(database, "demo").message is None


def test_a_job_that_is_readdressed_is_written_by_the_other_model_alone(database: Database) -> None:
    job_id = a_job(database, [preference("formal")] * 3)
    zombie, *_ = claim(database, DIGEST)
    with database.transaction() as session:
        first = claims.Outcome(zombie.item_id, zombie.attempt, text="first")
        claims.save(session, owner=OWNER, outcomes=[first])
        late = [claims.Outcome(zombie.item_id + 1, 1, text="late")]

    with database.transaction() as session:
        assert jobs.readdress(session, job_id, model="newer", model_digest=OTHER_DIGEST)
    with database.transaction() as session:
        assert claims.save(session, owner=OWNER, outcomes=late) == set()

    assert [item.state for item in items_of(database, job_id)] == [
        ItemState.SUCCEEDED,
        ItemState.QUEUED,
        ItemState.QUEUED,
    ]
    assert claim(database, DIGEST) == []
    assert [item.attempt for item in claim(database, OTHER_DIGEST)] == [2, 2]


def test_an_outcome_of_before_a_job_went_to_another_model_and_back_changes_nothing(database: Database) -> None:
    job_id = a_job(database)
    (item,) = claim(database, DIGEST)
    for digest in (OTHER_DIGEST, DIGEST):
        with database.transaction() as session:
            assert jobs.readdress(session, job_id, model="tiny", model_digest=digest)
    (again,) = claim(database, DIGEST)

    with database.transaction() as session:
        late = claims.Outcome(item.item_id, item.attempt, text="late")
        assert claims.save(session, owner=OWNER, outcomes=[late]) == set()

    assert again.attempt == 2
    assert [one.state for one in items_of(database, job_id)] == [ItemState.RUNNING]


def test_what_is_left_of_a_job_is_read_in_order_page_by_page(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("db.queries.open_items.ITEMS_PER_PAGE", 2)
    job_id = a_job(database, [preference("formal"), preference(), *[preference("short")] * 3])
    a_job(database, [preference("of another job")])
    ended, *_ = claim(database, DIGEST)
    with database.transaction() as session:
        claims.save(session, owner=OWNER, outcomes=[claims.Outcome(ended.item_id, ended.attempt, text="done")])
    items = items_of(database, job_id)
    left = [place for place, item in enumerate(items) if item.state is not ItemState.SUCCEEDED]

    with database.transaction() as session:
        before = list(open_items(session, job_id))
        cancelling.cancel(session, job_id)
        after = list(open_items(session, job_id))
        assert not jobs.readdress(session, job_id, model="newer", model_digest=OTHER_DIGEST)

    methods = ["contrast", "none", "contrast", "contrast", "contrast"]
    assert [item.position for item in before] == left
    assert [item.preference["method"] for item in before] == [methods[position] for position in left]
    assert (len(left), after) == (4, [])
