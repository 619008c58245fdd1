"""Migrations of tables that hold rows: what was there before is counted, kept and still served."""

import uuid
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import insert, select, text, update

import db
from db.models import Job, Tenant
from db.queries import claims, deadlines, profiles
from db.queries.audit import violations
from db.queries.cancelling import cancel
from db.queries.jobs import Counts, find_job
from db.session import Database, clock
from domain.attempts import Outcome
from domain.states import ItemState, JobState
from tests.builders import DIGEST, MODEL, a_job, items_of, job_state, preference, wind_up

OWNER = uuid.UUID(int=1)


def migrate(database: Database, revision: str) -> None:
    with database.engine.connect() as connection:
        config = Config()
        config.set_main_option("script_location", str(Path(db.__file__).parent / "migrations"))
        config.attributes["connection"] = connection
        (command.upgrade if revision == "head" else command.downgrade)(config, revision)
        connection.commit()


def claim(database: Database, limit: int) -> list[claims.ClaimedItem]:
    with database.transaction() as session:
        return claims.claim(session, owner=OWNER, model_digest=DIGEST, limit=limit, lease_seconds=60)


def save(database: Database, *items: claims.ClaimedItem) -> None:
    outcomes = [Outcome(item.item_id, item.attempt, text="text", finish_reason="stop") for item in items]
    with database.transaction() as session:
        claims.save(session, owner=OWNER, outcomes=outcomes)


def counters_of(database: Database) -> dict[uuid.UUID, tuple[int, ...]]:
    columns = "num_queued, num_running, num_succeeded, num_failed, num_cancelled"
    with database.reading() as session:
        rows = session.execute(text(f"SELECT id, {columns} FROM jobs"))  # noqa: S608 - our own names
        return {row[0]: tuple(row[1:]) for row in rows}


def test_counters_are_filled_from_the_items_that_are_there(database: Database) -> None:
    a_job(database)
    save(database, *claim(database, 1))
    cancelled = a_job(database, [preference("formal")] * 3)
    with database.transaction() as session:
        cancel(session, cancelled)
    wind_up(database, cancelled)
    a_job(database, [preference("formal")] * 4)
    save(database, *claim(database, 2)[:1])
    counters = counters_of(database)

    migrate(database, "0005")
    migrate(database, "head")

    assert counters_of(database) == counters
    assert sorted(counters.values()) == [(0, 0, 0, 0, 3), (0, 0, 1, 0, 0), (2, 1, 1, 0, 0)]
    with database.reading() as session:
        assert violations(session) == {}


def test_what_was_still_to_follow_a_cancel_has_followed_before_a_version_that_knows_nothing_of_it(
    database: Database,
) -> None:
    job_id = a_job(database, [preference("formal")] * 2)
    with database.transaction() as session:
        cancel(session, job_id)

    migrate(database, "0005")
    migrate(database, "head")

    assert {(item.state, item.error_code) for item in items_of(database, job_id)} == {
        (ItemState.CANCELLED, "cancelled")
    }
    with database.reading() as session:
        assert violations(session) == {}


def test_a_job_that_expired_survives_the_way_back_and_forth_with_all_its_items(database: Database) -> None:
    job_id = a_job(database, [preference("formal")] * 2, expires_at=clock(-1))
    with database.transaction() as session:
        assert deadlines.enforce(session, job_id)

    migrate(database, "0005")
    migrate(database, "head")

    assert job_state(database, job_id) is JobState.CANCELLED
    assert [item.error_code for item in items_of(database, job_id)] == ["expired", "expired"]
    with database.reading() as session:
        assert violations(session) == {}


def test_the_version_before_can_submit_and_end_a_job(database: Database) -> None:
    # Its statements name no counter but the three that it freezes at the end.
    job_id = a_job(database)
    old_id = uuid.uuid4()
    with database.transaction() as session:
        tenant_id = session.scalars(select(Job.tenant_id)).one()
        named = {"state": JobState.QUEUED, "model": MODEL, "model_digest": DIGEST, "details": {}, "num_items": 1}
        session.execute(insert(Job).values(id=old_id, tenant_id=tenant_id, created_at=clock(), **named))
        frozen = {"num_succeeded": 1, "num_failed": 0, "num_cancelled": 0}
        ended = {"state": JobState.COMPLETED, "finished_at": clock(), **frozen}
        session.execute(update(Job).where(Job.id == job_id).values(**ended))

    with database.reading() as session:
        old, ended_job = (find_job(session, tenant_id=tenant_id, job_id=one) for one in (old_id, job_id))
    assert old is not None
    assert ended_job is not None
    assert old.state is JobState.QUEUED
    assert ended_job.counts == Counts(0, 0, 1, 0, 0, 1)


def test_user_ids_get_their_canonical_form_and_no_profile_is_lost(database: Database) -> None:
    migrate(database, "0008")
    with database.transaction() as session:
        acme, other = uuid.uuid4(), uuid.uuid4()
        for tenant_id, name in ((acme, "acme"), (other, "other")):  # as it was then: later columns are not there yet
            session.execute(insert(Tenant).values(id=tenant_id, name=name, created_at=clock()))
        for tenant_id, user_id in [(acme, " ada"), (acme, "ada"), (acme, "ada "), (acme, "Zoe\u0308"), (other, "ada ")]:
            profiles.create_profile(session, tenant_id, user_id, {"tags": [repr(user_id)]})

    migrate(database, "head")

    with database.reading() as session:
        tags = {
            (profile.user_id, str(profile.body["tags"])) for profile in profiles.list_profiles(session, acme, limit=9)
        }
        others = profiles.list_profiles(session, other, limit=9)
    assert tags == {
        ("ada", "[\"'ada'\"]"),
        ("ada (2)", "[\"' ada'\"]"),
        ("ada (3)", "[\"'ada '\"]"),
        ("Zo\u00eb", "[\"'Zoe\u0308'\"]"),
    }
    assert [profile.user_id for profile in others] == ["ada"]
