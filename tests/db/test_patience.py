"""A database connection that swallows what is sent is given up in time, and the next one works."""

import os
import socket
import time
from collections.abc import Iterator

import pytest
from sqlalchemy import func, make_url, select, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

from db import patience
from db.faults import is_passing, sqlstate
from db.patience import waiting_as_long_as_it_takes
from db.session import ANSWER_MARGIN_SECONDS, Database, DatabaseUnreachableError
from tests.swallowing import SwallowingProxy, connect_to_postgresql, swallowing_proxy

STATEMENT_SECONDS = 1
QUERY_CANCELED = "57014"
PROBES = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 15_000}


@pytest.fixture
def proxy(postgresql_url: str) -> Iterator[SwallowingProxy]:
    url = make_url(postgresql_url)
    host = url.query.get("host") or url.host or "127.0.0.1"
    with swallowing_proxy(connect_to_postgresql(str(host), url.port or 5432)) as proxy:
        yield proxy


@pytest.fixture
def database(proxy: SwallowingProxy, postgresql_url: str) -> Iterator[Database]:
    url = make_url(postgresql_url).set(host="127.0.0.1", port=proxy.port, query={})
    database = Database(url.render_as_string(hide_password=False), statement_seconds=STATEMENT_SECONDS)
    yield database
    database.dispose()


def test_a_statement_that_is_swallowed_fails_in_time_and_the_next_connection_works(
    proxy: SwallowingProxy, database: Database
) -> None:
    with database.transaction() as session:
        session.execute(text("SELECT 1"))
        proxy.swallow()
        began = time.monotonic()
        with pytest.raises(OperationalError) as raised:
            session.execute(text("SELECT 2"))
        seconds = time.monotonic() - began
        session.rollback()
    proxy.forward()

    with database.transaction() as session:
        answer = session.scalar(text("SELECT 3"))

    assert is_passing(raised.value)
    assert STATEMENT_SECONDS <= seconds < 3 * (STATEMENT_SECONDS + ANSWER_MARGIN_SECONDS)
    assert answer == 3


def test_a_commit_that_is_swallowed_fails_in_time(proxy: SwallowingProxy, database: Database) -> None:
    with Session(database.engine) as session:
        session.execute(text("SELECT 1"))
        proxy.swallow()

        with pytest.raises(OperationalError):
            session.commit()


def test_a_statement_that_takes_too_long_is_ended_by_the_server(postgresql_url: str) -> None:
    """Who only stopped listening would leave it there, with its locks."""
    database = Database(postgresql_url, statement_seconds=STATEMENT_SECONDS)

    with pytest.raises(OperationalError) as raised, database.reading() as session:
        session.execute(select(func.pg_sleep(STATEMENT_SECONDS + ANSWER_MARGIN_SECONDS + 30)))

    assert sqlstate(raised.value) == QUERY_CANCELED
    database.dispose()


def test_a_server_that_is_gone_without_a_word_is_noticed_by_the_kernel(database: Database) -> None:
    with database.engine.connect() as connection:
        driver = connection.connection.dbapi_connection
        assert driver is not None
        with socket.socket(fileno=os.dup(driver.fileno())) as probed:
            told = {name: probed.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in PROBES}
            is_probed = probed.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)

    assert is_probed
    assert told == PROBES


def test_a_server_that_takes_connections_and_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("db.session.CONNECT_TIMEOUT_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        database = Database(f"postgresql://nobody@127.0.0.1:{server.getsockname()[1]}/nothing")

        with pytest.raises(DatabaseUnreachableError):  # would never come
            database.check()


def test_a_transaction_whose_process_falls_silent_keeps_nobody_waiting(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its machine was paused, or cut off: the connection stays open, and so would its locks."""
    monkeypatch.setattr("db.session.SILENT_SECONDS", 1)
    silent, other = Database(postgresql_url), Database(postgresql_url)
    write = text("UPDATE alembic_version SET version_num = version_num")
    with silent.transaction() as session:
        session.execute(write)

        with other.transaction() as waiting:
            waiting.execute(write)

        with pytest.raises(DBAPIError) as raised:
            session.execute(write)
        session.rollback()
    with silent.transaction() as session:
        session.execute(write)

    assert is_passing(raised.value)
    silent.dispose()
    other.dispose()


def test_a_migration_may_take_its_time(database: Database) -> None:
    with database.engine.connect() as connection, waiting_as_long_as_it_takes(connection):
        connection.execute(text("SET statement_timeout = 0"))

        connection.scalar(select(func.pg_sleep(STATEMENT_SECONDS + ANSWER_MARGIN_SECONDS + 0.5)))

        assert connection.scalar(text("SELECT 1")) == 1


def backend(database: Database) -> int:
    """The server's process that serves the connection which is used next."""
    with database.transaction() as session:
        number: int = session.scalars(select(func.pg_backend_pid())).one()
        return number


def test_a_connection_that_the_server_has_ended_is_not_used_again(postgresql_url: str) -> None:
    database, other = Database(postgresql_url), Database(postgresql_url)
    ended = backend(database)
    with other.transaction() as session:
        assert session.scalar(select(func.pg_terminate_backend(ended, 5000)))

    assert backend(database) != ended

    database.dispose()
    other.dispose()


def test_a_connection_is_asked_whether_it_lives_only_after_a_while(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, asked = Database(postgresql_url), list[object]()
    monkeypatch.setattr(database.engine.dialect, "do_ping", asked.append)
    first = backend(database)

    assert backend(database) == first
    assert asked == []

    monkeypatch.setattr(patience, "TRUSTED_SECONDS", 0.0)
    assert backend(database) == first
    assert len(asked) == 1
    database.dispose()
