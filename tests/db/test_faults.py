"""Which errors of a database are waited out. Each is the real one, from the real driver."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from db.faults import describe, is_passing
from db.session import Database


def error_of(database: Database, *statements: str) -> SQLAlchemyError:
    try:
        with database.transaction() as session:
            for statement in statements:
                session.execute(text(statement))
    except SQLAlchemyError as error:
        return error
    return pytest.fail("nothing went wrong")


def test_a_table_that_is_not_there_passes(database: Database) -> None:
    assert is_passing(error_of(database, "SELECT * FROM not_yet"))


def test_a_database_that_is_read_only_passes(postgresql_database: Database) -> None:
    error = error_of(postgresql_database, "SET TRANSACTION READ ONLY", "DELETE FROM workers")

    assert is_passing(error)
    assert describe(error) == {"reason": "ReadOnlySqlTransaction", "sqlstate": "25006"}


def test_a_sqlite_file_that_is_read_only_passes(sqlite_database: Database) -> None:
    assert is_passing(error_of(sqlite_database, "PRAGMA query_only = ON", "DELETE FROM workers"))


def test_a_connection_that_was_ended_passes(postgresql_database: Database) -> None:
    assert is_passing(error_of(postgresql_database, "SELECT pg_terminate_backend(pg_backend_pid())"))


def test_a_pool_that_is_empty_passes() -> None:
    assert is_passing(PoolTimeoutError("no connection"))


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO tenants (id, name) VALUES (NULL, NULL)",
        "SELECT 1 / 0, CAST('x' AS INTEGER)",
        "SELEC 1",
    ],
)
def test_what_a_statement_itself_says_wrong_does_not(postgresql_database: Database, statement: str) -> None:
    assert not is_passing(error_of(postgresql_database, statement))


def test_what_is_no_error_of_a_database_does_not() -> None:
    assert not any(map(is_passing, [ValueError("x"), KeyError("x"), RuntimeError("x")]))


def test_what_a_log_says_of_an_error_holds_no_text_of_it(postgresql_database: Database) -> None:
    assert "secret" not in str(describe(error_of(postgresql_database, "SELECT CAST('secret' AS INTEGER)")))
