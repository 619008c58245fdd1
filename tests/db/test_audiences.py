"""Whom a campaign addresses is found by tags in any combination, in order, one tenant at a time, and by an index."""

import uuid

import pytest
from sqlalchemy import insert

from db.base import new_id
from db.models import Profile, ProfileTag, ProfileVersion
from db.queries import audiences, keys, profiles
from db.queries.audiences import Tagged
from db.session import Database, now
from tests.db.test_plans import planned

NUM_PROFILES = 4000


@pytest.fixture
def tenant(database: Database) -> uuid.UUID:
    with database.transaction() as session:
        return keys.create_tenant(session, "acme").id


def create(database: Database, tenant: uuid.UUID, user_id: str, tags: str) -> None:
    with database.transaction() as session:
        assert profiles.create_profile(session, tenant, user_id, {"tags": list(tags), "attributes": {}})


def addressed(database: Database, tenant: uuid.UUID, tagged: Tagged) -> list[str]:
    with database.reading() as session:
        found = [profile.user_id for profile in audiences.audience(session, tenant, tagged)]
        assert list(audiences.user_ids(session, tenant, tagged)) == found
    return found


@pytest.mark.parametrize(
    ("tagged", "expected"),
    [
        (Tagged(), ["ada", "bob", "carl", "dora"]),
        (Tagged(any_of=["x"]), ["ada", "bob"]),
        (Tagged(any_of=["x", "y"]), ["ada", "bob", "carl"]),
        (Tagged(all_of=["x", "y"]), ["bob"]),
        (Tagged(all_of=["y", "y"]), ["bob", "carl"]),
        (Tagged(none_of=["x"]), ["carl", "dora"]),
        (Tagged(any_of=["x", "y"], all_of=["y"], none_of=["x"]), ["carl"]),
        (Tagged(any_of=["z"]), []),
    ],
)
def test_an_audience_fits_the_tags_and_is_ordered_by_user(
    database: Database, tenant: uuid.UUID, tagged: Tagged, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audiences, "USERS_PER_PAGE", 1)
    monkeypatch.setattr(audiences, "IDS_PER_PAGE", 1)
    for user_id, tags in (("dora", ""), ("carl", "y"), ("bob", "xy"), ("ada", "x")):
        create(database, tenant, user_id, tags)

    assert addressed(database, tenant, tagged) == expected


def test_nobody_of_another_tenant_is_addressed_or_known(database: Database, tenant: uuid.UUID) -> None:
    create(database, tenant, "ada", "x")
    with database.transaction() as session:
        other = keys.create_tenant(session, "other").id

    assert addressed(database, other, Tagged()) == []
    assert addressed(database, other, Tagged(any_of=["x"])) == []
    with database.reading() as session:
        assert audiences.unknown_among(session, other, ["ada"]) == ["ada"]


def test_unknown_users_are_told_once_and_in_their_order(database: Database, tenant: uuid.UUID) -> None:
    create(database, tenant, "ada", "")

    with database.reading() as session:
        assert audiences.unknown_among(session, tenant, ["zoe", "ada", "yan", "zoe"]) == ["zoe", "yan"]


@pytest.fixture
def grown(database: Database, tenant: uuid.UUID) -> Database:
    """Thousands of profiles, each with one tag of many and one that all have."""
    with database.transaction() as session:
        moment = now(session)
        ids = [new_id() for _ in range(NUM_PROFILES)]
        session.execute(
            insert(Profile),
            [
                {
                    "id": id_,
                    "tenant_id": tenant,
                    "user_id": f"user-{n:05}",
                    "version": 1,
                    "created_at": moment,
                    "updated_at": moment,
                }
                for n, id_ in enumerate(ids)
            ],
        )
        session.execute(
            insert(ProfileVersion),
            [{"profile_id": id_, "version": 1, "body": {}, "digest": "d", "created_at": moment} for id_ in ids],
        )
        tags = [(id_, tag) for n, id_ in enumerate(ids) for tag in ("everybody", f"tag-{n % 50}")]
        session.execute(insert(ProfileTag), [{"profile_id": i, "tag": t, "tenant_id": tenant} for i, t in tags])
    with database.engine.connect() as connection:
        connection.exec_driver_sql("ANALYZE")
        connection.commit()
    return database


def test_a_page_of_any_audience_is_read_by_indexes_alone(grown: Database, tenant: uuid.UUID) -> None:
    for tagged in (
        Tagged(),
        Tagged(any_of=["everybody"]),
        Tagged(all_of=["everybody", "tag-7"]),
        Tagged(any_of=["everybody"], none_of=["tag-7"]),
    ):
        with grown.reading() as session, planned(grown) as plans:
            pages = audiences.audience(session, tenant, tagged)
            assert next(pages).user_id
            problems = plans.problems(session.connection())

        assert len(plans.statements) == 2, tagged
        assert [problem for problem in problems if "profile" in problem] == [], tagged
