"""PostgreSQL connections that wait for an answer only so long, and are asked whether they live. Imports the driver.

A connection whose packets are swallowed is a socket that is silent for ever: the server's own timeout ends the
statement, but the word of it never arrives, and where a proxy or a NAT acknowledges in the server's place, TCP sees
nothing wrong.
"""

import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.errors import _WaitTimeout
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

T = TypeVar("T")
Connect = Callable[[object, object, list[Any], dict[str, Any]], "PatientConnection"]

TRUSTED_SECONDS = 1.0
"""So long after its last use a connection that is silent is taken to live."""
_USED_AT = "used_at"


class PatientConnection(psycopg.Connection[Any]):
    """Closes itself when the server is silent for too long, which is an OperationalError."""

    patience_seconds: float | None = None

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """Wait as the driver does, at most `patience_seconds`; then close, and raise `psycopg.OperationalError`."""
        patience = self.patience_seconds
        try:
            return super().wait(gen, interval, timeout=patience if timeout is None else timeout)
        except _WaitTimeout:
            if timeout is not None:
                raise
            self.close()
            message = f"the server did not answer for {patience:.0f} seconds"
            raise psycopg.OperationalError(message) from None


def connect_with_patience(seconds: float) -> Connect:
    """A listener for SQLAlchemy's `do_connect` that makes connections which wait at most `seconds` for the server."""

    def connect(
        _dialect: object, _record: object, arguments: list[Any], parameters: dict[str, Any]
    ) -> PatientConnection:
        connection = PatientConnection.connect(*arguments, **parameters)
        connection.patience_seconds = seconds
        return connection

    return connect


def ask_whether_they_live(engine: Engine) -> None:
    """Before each use of a connection of the pool, find out whether its server is still there; if not, make a new one.

    A server that has gone has closed its end, which costs no message to see. It is sent one, and waited for, where
    anything has come of it unasked, and where the last use is longer ago than `TRUSTED_SECONDS`: with every use, as
    SQLAlchemy's `pool_pre_ping` has it, a status poll would wait for twice as many answers.
    """

    def note_use(_driver: PatientConnection | None, entry: ConnectionPoolEntry) -> None:
        entry.info[_USED_AT] = time.monotonic()

    def check(driver: PatientConnection, entry: ConnectionPoolEntry, _proxy: PoolProxiedConnection) -> None:
        used_at = entry.info.get(_USED_AT)
        if used_at is None or (time.monotonic() - used_at < TRUSTED_SECONDS and _is_silent(driver)):
            return
        try:
            engine.dialect.do_ping(driver)  # type: ignore[arg-type] # the driver's connection, whose stubs differ
        except psycopg.Error as error:
            raise InvalidatePoolError from error

    event.listen(engine, "checkin", note_use)
    event.listen(engine, "checkout", check)


def _is_silent(driver: PatientConnection) -> bool:
    """Whether nothing has come since the last answer: neither words of the server nor the end of the connection."""
    if driver.closed:
        return False
    poll = select.poll()
    poll.register(driver.fileno(), select.POLLIN)
    return not poll.poll(0)


@contextmanager
def waiting_as_long_as_it_takes(connection: Connection) -> Iterator[None]:
    """Within the block, statements and answers on this connection may take their time: a migration's do.

    The statement timeout stays off afterwards: the connection is one that is not used for anything else.
    """
    connection.exec_driver_sql("SET statement_timeout = 0")
    driver = connection.connection.dbapi_connection  # a connection that left the pool has this one alone
    before, driver.patience_seconds = driver.patience_seconds, None  # type: ignore[union-attr]
    try:
        yield
    finally:
        driver.patience_seconds = before  # type: ignore[union-attr]
