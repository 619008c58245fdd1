"""Engines and transactions. Knows SQLite from PostgreSQL, so that nobody else has to."""

import datetime as dt
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic_core import from_json
from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    Double,
    Engine,
    create_engine,
    event,
    func,
    literal,
    make_url,
    select,
    text,
)
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from db.base import UtcDateTime

STATEMENT_TIMEOUT_SECONDS = 60
CONNECT_TIMEOUT_SECONDS = 5
ANSWER_MARGIN_SECONDS = 3
"""How much longer than a statement may take its answer is waited for, before the connection counts as dead."""
SILENT_SECONDS = 10
"""How long a transaction may hear nothing of its process before the server rolls it back. A machine that is paused, or
gone without a word, would keep its locks for hours, and whoever claims or saves would wait for them."""
# A peer that is gone is noticed by the kernel: while idle by probes, with data under way by what is not acknowledged.
DEAD_PEER = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 15_000}


NOT_A_URL = "PADSERVE_DATABASE_URL is not the URL of a supported database: name a postgresql:// or sqlite:// one."
IN_MEMORY = (
    "PADSERVE_DATABASE_URL names a database in memory, which no other process could see: name a file, as in "
    "sqlite:////var/lib/padserve.db."
)
NO_DRIVER = "The database's driver is not installed: pip install 'padserve[postgres]'."


class DatabaseUnreachableError(Exception):
    """The database does not answer."""


class DatabaseUrlError(DatabaseUnreachableError):
    """What is given is not the URL of a database that this installation can use."""


class Database:
    """One database: hands out sessions whose transaction is visible as a `with` block."""

    def __init__(self, url: str, *, pool_size: int = 10, statement_seconds: int = STATEMENT_TIMEOUT_SECONDS) -> None:
        """No statement takes longer than `statement_seconds`, nor waits longer for another's lock on SQLite.

        Connects to nothing yet. Raises `DatabaseUrlError`, and `DatabaseUnreachableError` where the folder of an SQLite
        file cannot be made; each in one line.
        """
        try:
            self.url = normalise_url(url)
            _check_place(self.url)
            engine_of = ENGINES[self.url.get_backend_name()]
            self.engine = engine_of(self.url, pool_size, statement_seconds)
        except (ArgumentError, KeyError) as error:
            raise DatabaseUrlError(NOT_A_URL) from error
        except ImportError as error:
            raise DatabaseUrlError(NO_DRIVER) from error
        except OSError as error:
            raise DatabaseUnreachableError(
                f"Cannot make the folder of {self.url.database} (PADSERVE_DATABASE_URL): {error.strerror}."
            ) from error
        # SQLite has one writer: a transaction that will write says so at its start and waits its turn there.
        self.writing_engine = self.engine.execution_options(padserve_begin="BEGIN IMMEDIATE")
        self._glancing_engine = self.engine
        if self.url.get_backend_name() == "postgresql":
            self._glancing_engine = self.engine.execution_options(isolation_level="AUTOCOMMIT")

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session that may write: committed when the block ends, rolled back when it raises."""
        with Session(self.writing_engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that only reads, from one snapshot on SQLite; nothing done in it is kept."""
        with Session(self.engine, expire_on_commit=False, autoflush=False) as session:
            yield session

    @contextmanager
    def glancing(self) -> Iterator[Session]:
        """The same for what is asked all the time: to begin and to end a transaction costs no message of its own.

        And for who reads and thinks in turn, for long: no transaction is open meanwhile, which `SILENT_SECONDS` bounds.
        Only for what does nothing but read: on PostgreSQL each statement is a transaction, so a change would be kept.
        """
        with Session(self._glancing_engine, expire_on_commit=False, autoflush=False) as session:
            yield session

    def check(self) -> None:
        """Raise `DatabaseUnreachableError`, in one line without credentials, when the database does not answer."""
        try:
            with self.engine.connect() as connection:
                connection.execute(text("SELECT 1"))
        except SQLAlchemyError as error:
            where = self.url.render_as_string(hide_password=True)
            why = first_line(error).rstrip(".")
            raise DatabaseUnreachableError(
                f"Cannot reach the database at {where} (PADSERVE_DATABASE_URL): {why}."
            ) from error

    def dispose(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()


def now(session: Session) -> dt.datetime:
    """The database's clock: one clock for every lease, whichever machine asks."""
    if session.get_bind().dialect.name == "sqlite":
        return dt.datetime.now(dt.UTC)
    return session.scalars(select(func.clock_timestamp(type_=UtcDateTime))).one()


def plan_anew(session: Session, *, in_order: bool = False) -> None:
    """Have PostgreSQL plan this transaction's statements for their own values, on the tables as they are.

    A plan that was made while a table was small would be kept when it is large. With `in_order` rows that are wanted in
    an index's order are read in it: statistics that know nothing yet of a job that has just come take its thousands of
    items for a few, and all of them would be sorted for each claim. SQLite needs neither.
    """
    if session.get_bind().dialect.name == "postgresql":
        settings = _PLAN_ANEW + ("; SET LOCAL enable_sort = off" if in_order else "")
        session.connection().exec_driver_sql(settings)


_PLAN_ANEW = "SET LOCAL plan_cache_mode = force_custom_plan"


@contextmanager
def plans_kept(session: Session) -> Iterator[None]:
    """Undo `plan_anew` for the block, in which rows are inserted that refer to others.

    Each of those is looked for by a statement of PostgreSQL's own, which would be planned anew for each row: that takes
    longer than all else about it. The plan that is kept goes by the key, also where the table was small at first.
    """
    is_postgresql = session.get_bind().dialect.name == "postgresql"
    if is_postgresql:
        session.connection().exec_driver_sql("SET LOCAL plan_cache_mode = auto; SET LOCAL enable_seqscan = off")
    yield
    if is_postgresql:
        session.connection().exec_driver_sql(f"{_PLAN_ANEW}; SET LOCAL enable_seqscan = on")


def first_line(error: SQLAlchemyError) -> str:
    """What the database said, without the statement and its values."""
    return str(getattr(error, "orig", error)).strip().partition("\n")[0]


def clock(seconds: float | ColumnElement[float] = 0.0) -> ColumnElement[dt.datetime]:
    """The same clock inside a statement, `seconds` from now: no statement of its own, one moment on PostgreSQL."""
    return _Clock(literal(seconds, Double()) if isinstance(seconds, float | int) else seconds)


class _Clock(FunctionElement[dt.datetime]):
    type = UtcDateTime()
    inherit_cache = True


@compiles(_Clock, "postgresql")
def _postgresql_clock(element: _Clock, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401 - SQLAlchemy's
    return f"(statement_timestamp() + make_interval(secs => {compiler.process(element.clauses, **options)}))"


@compiles(_Clock, "sqlite")
def _sqlite_clock(element: _Clock, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401 - SQLAlchemy's
    return f"padserve_clock({compiler.process(element.clauses, **options)})"


def normalise_url(url: str) -> URL:
    """The URL with the driver this project uses, whatever short form was given."""
    parsed = make_url(url)
    if parsed.drivername in {"postgres", "postgresql"}:
        return parsed.set(drivername="postgresql+psycopg")
    return parsed


def _check_place(url: URL) -> None:
    if url.get_backend_name() == "sqlite" and url.database in {None, "", ":memory:"}:
        raise DatabaseUrlError(IN_MEMORY)


def _postgresql_engine(url: URL, pool_size: int, statement_seconds: int) -> Engine:
    from db.patience import ask_whether_they_live, connect_with_patience  # noqa: PLC0415 - its driver is there only where PostgreSQL is used

    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        hide_parameters=True,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "options": f"-c statement_timeout={statement_seconds}s "
            f"-c idle_in_transaction_session_timeout={SILENT_SECONDS}s "
            "-c timezone=UTC",  # a moment in UTC is not converted
            **DEAD_PEER,
        },
        json_deserializer=from_json,
    )
    event.listen(engine, "do_connect", connect_with_patience(statement_seconds + ANSWER_MARGIN_SECONDS))
    ask_whether_they_live(engine)
    return engine


def _sqlite_engine(url: URL, pool_size: int, statement_seconds: int) -> Engine:
    Path(url.database or "").parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        hide_parameters=True,
        connect_args={"timeout": statement_seconds, "check_same_thread": False},
        json_deserializer=from_json,
    )
    event.listen(engine, "connect", _prepare_sqlite_connection)
    event.listen(engine, "begin", _begin_sqlite_transaction)
    return engine


ENGINES = {"sqlite": _sqlite_engine, "postgresql": _postgresql_engine}


def _prepare_sqlite_connection(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # the driver must not start transactions of its own
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")
    connection.create_function("padserve_clock", 1, _moment_as_text)


def _moment_as_text(seconds: float) -> str:
    """As SQLAlchemy writes a moment into SQLite."""
    moment = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")


def _begin_sqlite_transaction(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("padserve_begin", "BEGIN"))
