import datetime as dt

from db.queries import keys
from db.session import Database


def test_a_key_is_found_by_its_text_and_stored_only_as_a_digest(database: Database) -> None:
    with database.transaction() as session:
        tenant = keys.create_tenant(session, "acme")
        key, text = keys.create_key(session, tenant.id, "cli", ["jobs:read"])

    with database.reading() as session:
        found = keys.caller_of(session, text)

    assert found is not None
    assert found.id == key.id
    assert text.startswith(f"pad_{key.prefix}_")
    secret = text.split("_", 2)[2]
    assert secret not in f"{found.digest}{found.prefix}{found.name}"


def test_unknown_expired_and_revoked_keys_are_refused(database: Database) -> None:
    with database.transaction() as session:
        tenant = keys.create_tenant(session, "acme")
        past = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=1)
        _, expired = keys.create_key(session, tenant.id, "expired", [], expires_at=past)
        key, revoked = keys.create_key(session, tenant.id, "revoked", [])

    with database.transaction() as session:
        assert keys.revoke_key(session, key.id)
        assert not keys.revoke_key(session, key.id)

    with database.reading() as session:
        assert [keys.caller_of(session, text) for text in ("pad_no_such", expired, revoked)] == [None, None, None]


def test_creating_a_tenant_twice_gives_the_same_tenant(database: Database) -> None:
    with database.transaction() as session:
        first = keys.create_tenant(session, "acme").id

    with database.transaction() as session:
        second = keys.create_tenant(session, "acme").id

    assert first == second


def test_keys_are_listed_per_tenant_the_oldest_first(database: Database) -> None:
    with database.transaction() as session:
        acme, other = keys.create_tenant(session, "acme"), keys.create_tenant(session, "other")
        keys.create_key(session, acme.id, "one", [])
        keys.create_key(session, other.id, "elsewhere", [])
        keys.create_key(session, acme.id, "two", [])

    with database.reading() as session:
        assert [key.name for key in keys.list_keys(session, acme.id)] == ["one", "two"]
        assert [key.name for key in keys.list_keys(session)] == ["one", "elsewhere", "two"]
