"""A batch of profiles ends as one by one would: created, updated or left alone."""

import uuid
from collections.abc import Sequence

import pytest

from db.queries import keys, profile_imports, profiles
from db.queries.profile_imports import ImportCounts, Row
from db.session import Database


@pytest.fixture
def tenant(database: Database) -> uuid.UUID:
    with database.transaction() as session:
        return keys.create_tenant(session, "acme").id


def batch(size: int, tag: str = "a") -> list[Row]:
    return [Row(f"user-{number:04}", lambda _: {"principles": [], "tags": [tag]}) for number in range(size)]


def store(database: Database, tenant: uuid.UUID, profiles: Sequence[Row]) -> ImportCounts:
    with database.transaction() as session:
        profile_imports.wait_for_other_imports(session, tenant)
        return profile_imports.store_profiles(session, tenant, profiles)


def test_a_batch_is_created_updated_and_left_alone(database: Database, tenant: uuid.UUID) -> None:
    store(database, tenant, batch(3, "a"))
    store(database, tenant, batch(2, "b"))

    counts = store(database, tenant, batch(4, "a"))

    assert counts == ImportCounts(num_created=1, num_updated=2, num_unchanged=1)
    with database.reading() as session:
        stored = profiles.list_profiles(session, tenant, limit=10)
        assert [(profile.version, profile.body["tags"]) for profile in stored] == [
            (3, ["a"]),
            (3, ["a"]),
            (1, ["a"]),
            (1, ["a"]),
        ]
        assert len(profiles.list_profiles(session, tenant, tags=["a"], limit=10)) == 4
        assert profiles.list_profiles(session, tenant, tags=["b"], limit=10) == []


def test_counting_differences_changes_nothing(database: Database, tenant: uuid.UUID) -> None:
    store(database, tenant, batch(3, "a"))

    with database.reading() as session:
        counts = profile_imports.count_differences(session, tenant, batch(5, "b"))

    assert counts == ImportCounts(num_created=2, num_updated=3)
    with database.reading() as session:
        assert len(profiles.list_profiles(session, tenant, tags=["a"], limit=10)) == 3


def test_an_empty_batch_is_nothing(database: Database, tenant: uuid.UUID) -> None:
    assert store(database, tenant, []) == ImportCounts()


def test_an_imported_profile_is_one_like_any_other(database: Database, tenant: uuid.UUID) -> None:
    store(database, tenant, batch(1, "a"))

    with database.transaction() as session:
        imported = profiles.find_profile(session, tenant, "user-0000", for_update=True)
        assert imported is not None
        updated = profiles.update_profile(session, tenant, imported, {"principles": [], "tags": ["b"]})

    assert updated is not None
    assert store(database, tenant, batch(1, "a")) == ImportCounts(num_updated=1)
