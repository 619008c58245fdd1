"""PostgreSQL connections that wait for an answer only so long. Imports the driver.

A connection whose packets are swallowed is a socket that is silent for ever: the server's own timeout ends the
statement, but the word of it never arrives, and where a proxy or a NAT acknowledges in the server's place, TCP sees
nothing wrong.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.errors import _WaitTimeout
from sqlalchemy import Connection

T = TypeVar("T")
Connect = Callable[[object, object, list[Any], dict[str, Any]], "PatientConnection"]


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
