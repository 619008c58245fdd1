"""Profiles in SQL: versions are kept, lost races change nothing, reads are of one tenant only."""

import uuid

import pytest

from db.queries import keys, profiles
from db.queries.profiles import PinnedProfile, StoredProfile
from db.session import Database
from domain.json_values import JsonObject

Tenant = uuid.UUID


@pytest.fixture
def tenant(database: Database) -> Tenant:
    with database.transaction() as session:
        return keys.create_tenant(session, "acme").id


def body(*tags: str) -> JsonObject:
    return {"principles": [], "tags": list(tags)}


def create(database: Database, tenant: Tenant, user_id: str, *tags: str) -> StoredProfile:
    with database.transaction() as session:
        created = profiles.create_profile(session, tenant, user_id, body(*tags))
    assert created is not None
    return created


def test_a_profile_is_read_back_as_it_was_written(database: Database, tenant: Tenant) -> None:
    created = create(database, tenant, "ada", "a")

    with database.reading() as session:
        assert profiles.find_profile(session, tenant, "ada") == created


def test_creating_a_profile_that_exists_changes_nothing(database: Database, tenant: Tenant) -> None:
    created = create(database, tenant, "ada", "a")

    with database.transaction() as session:
        assert profiles.create_profile(session, tenant, "ada", body("b")) is None

    with database.reading() as session:
        assert profiles.find_profile(session, tenant, "ada") == created


def test_an_update_keeps_the_versions_before_it(database: Database, tenant: Tenant) -> None:
    first = create(database, tenant, "ada", "a")

    with database.transaction() as session:
        second = profiles.update_profile(session, tenant, first, body("b"))

    with database.reading() as session:
        assert profiles.list_versions(session, tenant, "ada", before=None, limit=10) == [second, first]
        assert profiles.find_version(session, tenant, "ada", 1) == first
        assert profiles.list_profiles(session, tenant, tags=["a"], limit=10) == []
        assert profiles.list_profiles(session, tenant, tags=["b"], limit=10) == [second]


def test_a_writer_that_read_an_older_version_changes_nothing(database: Database, tenant: Tenant) -> None:
    first = create(database, tenant, "ada", "a")
    with database.transaction() as session:
        second = profiles.update_profile(session, tenant, first, body("b"))

    with database.transaction() as session:
        assert profiles.update_profile(session, tenant, first, body("c")) is None
        assert not profiles.delete_profile(session, tenant, first)

    with database.reading() as session:
        assert profiles.find_profile(session, tenant, "ada") == second


def test_a_deletion_takes_versions_and_tags_along(database: Database, tenant: Tenant) -> None:
    first = create(database, tenant, "ada", "a")

    with database.transaction() as session:
        assert profiles.delete_profile(session, tenant, first)

    with database.reading() as session:
        assert profiles.find_profile(session, tenant, "ada") is None
        assert profiles.find_version(session, tenant, "ada", 1) is None
        assert profiles.list_profiles(session, tenant, tags=["a"], limit=10) == []


def test_profiles_are_resolved_in_lists_longer_than_a_statement(database: Database, tenant: Tenant) -> None:
    create(database, tenant, "first", "a")
    create(database, tenant, "last", "b")
    asked = ["first", *(f"nobody-{number}" for number in range(2 * profiles.ROWS_PER_QUERY)), "last", "first"]

    with database.reading() as session:
        found = profiles.resolve_profiles(session, tenant, asked)

    assert found == {
        "first": PinnedProfile("first", 1, body("a")),
        "last": PinnedProfile("last", 1, body("b")),
    }


def test_another_tenants_profiles_are_not_read(database: Database, tenant: Tenant) -> None:
    create(database, tenant, "ada", "a")
    with database.transaction() as session:
        other = keys.create_tenant(session, "other").id

    with database.reading() as session:
        assert profiles.find_profile(session, other, "ada") is None
        assert profiles.find_version(session, other, "ada", 1) is None
        assert profiles.list_versions(session, other, "ada", before=None, limit=1) == []
        assert profiles.list_profiles(session, other, tags=["a"], limit=1) == []
        assert profiles.resolve_profiles(session, other, ["ada"]) == {}
