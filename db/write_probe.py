"""Can the database be written to? A read-only one, or one on a full disk, still answers every question."""

import shutil
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

from db.session import Database, first_line

TIMEOUT_SECONDS = 2.0
LEAST_FREE_BYTES = 2**20
# The one row that every migrated database has; nothing changes, but it is written.
REWRITE = "UPDATE alembic_version SET version_num = version_num"
LOCK_NOT_AVAILABLE, INSUFFICIENT_PRIVILEGE = "55P03", "42501"


class WritesFailError(Exception):
    """The database answers, and cannot be written to. The message is the database's own, and holds no value of ours."""


def check_writes(database: Database) -> None:
    """Write a little, and raise `WritesFailError` if that fails. Where others write, it does not wait for them."""
    try:
        with database.writing_engine.connect() as connection:
            if connection.dialect.name == "sqlite":
                _write_to_sqlite(connection)
            else:
                _unless(LOCK_NOT_AVAILABLE, _rewrite_a_row, connection)
                _unless(INSUFFICIENT_PRIVILEGE, _ask_for_room, connection)
    except SQLAlchemyError as error:
        raise WritesFailError(first_line(error)) from error


def _write_to_sqlite(connection: Connection) -> None:
    """A row can be rewritten where a file cannot grow any more, so the disk's room is looked at as well."""
    file = connection.engine.url.database
    if file and file != ":memory:" and shutil.disk_usage(Path(file).absolute().parent).free < LEAST_FREE_BYTES:
        raise WritesFailError("the disk is full")
    driver = connection.connection.cursor()
    before = driver.execute("PRAGMA busy_timeout").fetchone()[0]
    driver.execute(f"PRAGMA busy_timeout = {int(TIMEOUT_SECONDS * 1000)}")
    try:
        connection.exec_driver_sql(REWRITE)
        connection.commit()
    except OperationalError as error:
        if "locked" not in first_line(error):
            raise
        connection.rollback()
    finally:
        driver.execute(f"PRAGMA busy_timeout = {before}")


def _rewrite_a_row(connection: Connection) -> None:
    """Fails where the database is read-only, or its log cannot be written."""
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = {int(TIMEOUT_SECONDS * 1000)}")
    connection.exec_driver_sql(REWRITE)


def _ask_for_room(connection: Connection) -> None:
    """Fails where no file can grow: an emptied temporary table begins with a new page."""
    connection.exec_driver_sql("CREATE TEMPORARY TABLE IF NOT EXISTS write_probe (page int) ON COMMIT DELETE ROWS")
    connection.exec_driver_sql("INSERT INTO pg_temp.write_probe VALUES (0)")


def _unless(code: str, write: Callable[[Connection], None], connection: Connection) -> None:
    """Write in a transaction of its own; an error of that code says nothing against the database."""
    try:
        write(connection)
        connection.commit()
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != code:
            raise
        connection.rollback()
