"""Transactions end as their block does, and a database that is not there says so in one line."""

import datetime as dt
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError, StatementError

from db.models import Tenant
from db.queries import keys
from db.session import Database, DatabaseUnreachableError, normalise_url, now


def names(database: Database) -> list[str]:
    with database.reading() as session:
        return list(session.execute(text("SELECT name FROM tenants ORDER BY name")).scalars())


def test_a_transaction_is_committed_when_its_block_ends(database: Database) -> None:
    with database.transaction() as session:
        keys.create_tenant(session, "acme")

    assert names(database) == ["acme"]


def test_a_transaction_is_rolled_back_when_its_block_raises(database: Database) -> None:
    def fail() -> None:
        with database.transaction() as session:
            keys.create_tenant(session, "acme")
            raise LookupError

    with pytest.raises(LookupError):
        fail()

    assert names(database) == []


def test_what_a_reading_session_does_is_not_kept(database: Database) -> None:
    with database.reading() as session:
        keys.create_tenant(session, "acme")

    assert names(database) == []


def test_who_only_glances_leaves_no_transaction_open(postgresql_database: Database) -> None:
    with postgresql_database.glancing() as session, postgresql_database.reading() as other:
        process = session.scalar(select(func.pg_backend_pid()))

        state = other.scalar(text("SELECT state FROM pg_stat_activity WHERE pid = :process"), {"process": process})

    assert state == "idle"


def test_moments_keep_their_time_zone_and_naive_ones_are_refused(database: Database) -> None:
    moment = dt.datetime(2026, 11, 23, 12, 30, 1, 500, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    with database.transaction() as session:
        tenant = Tenant(name="acme", created_at=moment)
        session.add(tenant)

    with database.reading() as session:
        stored = session.get_one(Tenant, tenant.id).created_at

    assert stored == moment
    assert stored.utcoffset() == dt.timedelta(0)
    with pytest.raises(StatementError, match="time zone"), database.transaction() as session:
        session.add(Tenant(name="other", created_at=moment.replace(tzinfo=None)))


def test_the_databases_clock_goes_on_within_a_transaction(database: Database) -> None:
    with database.transaction() as session:
        first, second = now(session), now(session)

    assert first.tzinfo is not None
    assert first < second


def test_writers_at_the_same_moment_wait_their_turn(database: Database) -> None:
    barrier = threading.Barrier(8)

    def write(writer: int) -> None:
        barrier.wait()
        with database.transaction() as session:
            keys.create_tenant(session, f"tenant-{writer}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))

    assert names(database) == [f"tenant-{writer}" for writer in range(8)]


def test_no_error_repeats_the_values_of_its_statement(database: Database) -> None:
    asked = text("SELECT 1 FROM nowhere WHERE name = :name")

    with pytest.raises(DBAPIError) as raised, database.reading() as session:
        session.execute(asked, {"name": "a secret"})

    assert "a secret" not in str(raised.value)


def test_an_unreachable_database_is_one_line_without_its_password() -> None:
    database = Database("postgres://ada:swordfish@127.0.0.1:1/padserve")

    with pytest.raises(DatabaseUnreachableError) as raised:
        database.check()

    assert "\n" not in str(raised.value)
    assert "swordfish" not in str(raised.value)
    assert "127.0.0.1" in str(raised.value)


@pytest.mark.parametrize("url", ["nonsense", "mysql://host/name"])
def test_what_is_no_url_of_a_supported_database_is_refused_by_the_name_of_the_setting(url: str) -> None:
    with pytest.raises(DatabaseUnreachableError, match="PADSERVE_DATABASE_URL is not the URL of a supported database"):
        Database(url)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    said = r"Cannot make the folder of .*/file/x/y\.db \(PADSERVE_DATABASE_URL\): Not a directory\."
    with pytest.raises(DatabaseUnreachableError, match=said):
        Database(f"sqlite:///{tmp_path}/file/x/y.db")


@pytest.mark.parametrize("short", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_short_form_of_a_postgresql_url_means_psycopg(short: str) -> None:
    assert normalise_url(f"{short}://host/name").drivername == "postgresql+psycopg"
