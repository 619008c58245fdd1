"""A database that answers but takes nothing is found out, with its own words for why; a busy one is not blamed."""

import shutil
from types import SimpleNamespace

import pytest
from sqlalchemy import text

from db import write_probe
from db.session import Database
from db.write_probe import WritesFailError, check_writes


def test_a_healthy_database_takes_writes_again_and_again(database: Database) -> None:
    for _ in range(3):
        check_writes(database)


def test_a_read_only_postgresql_is_found_out(postgresql_database: Database) -> None:
    name = postgresql_database.url.database
    with postgresql_database.engine.connect() as connection:
        connection.execute(text(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on'))
        connection.commit()
    postgresql_database.dispose()

    with pytest.raises(WritesFailError, match="read-only transaction"):
        check_writes(postgresql_database)


def test_a_postgresql_without_room_for_a_new_page_is_found_out(postgresql_database: Database) -> None:
    with postgresql_database.engine.connect() as connection:
        # A temporary table that cannot grow, as on a full disk: its insert fails.
        connection.execute(text("CREATE TEMPORARY TABLE write_probe (page int CHECK (page > 0))"))
        connection.commit()

    with pytest.raises(WritesFailError, match="write_probe"):
        check_writes(postgresql_database)


def test_a_read_only_sqlite_is_found_out(sqlite_database: Database) -> None:
    read_only = Database(f"sqlite:///file:{sqlite_database.url.database}?mode=ro&uri=true")

    with pytest.raises(WritesFailError, match="readonly"):
        check_writes(read_only)
    read_only.dispose()


def test_an_sqlite_that_cannot_grow_is_found_out(sqlite_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))

    with pytest.raises(WritesFailError, match="the disk is full"):
        check_writes(sqlite_database)


def test_a_database_in_which_somebody_writes_is_not_blamed_nor_waited_for(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_probe, "TIMEOUT_SECONDS", 0.05)
    with database.transaction() as session:
        session.execute(text(write_probe.REWRITE))

        check_writes(database)


def test_a_role_without_temporary_tables_is_not_blamed(postgresql_database: Database) -> None:
    with postgresql_database.engine.connect() as connection:
        name = connection.execute(text("SELECT current_database()")).scalar_one()
        connection.execute(text(f'REVOKE TEMPORARY ON DATABASE "{name}" FROM PUBLIC'))
        connection.execute(text("CREATE ROLE frugal LOGIN"))
        connection.execute(text("GRANT SELECT, UPDATE ON alembic_version TO frugal"))
        connection.commit()
        frugal = Database(postgresql_database.url.set(username="frugal").render_as_string(hide_password=False))
        try:
            check_writes(frugal)
        finally:
            frugal.dispose()
            connection.execute(text("DROP OWNED BY frugal"))
            connection.execute(text("DROP ROLE frugal"))
            connection.commit()


def test_whoever_uses_the_connection_next_waits_for_other_writers_as_long_as_before(sqlite_url: str) -> None:
    database = Database(sqlite_url, pool_size=1, statement_seconds=20)

    check_writes(database)

    with database.reading() as session:
        assert session.scalar(text("PRAGMA busy_timeout")) == 20_000
    database.dispose()
