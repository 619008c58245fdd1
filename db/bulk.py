"""Many rows at once: inserted past SQLAlchemy, and named by their ids in a statement that stays the same text.

A statement with a parameter for each id is written and parsed anew for every number of ids, which costs more than
finding the rows. Values are given as the database keeps them: JSON and UUIDs as texts.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Self

from sqlalchemy import ColumnElement, Connection, Dialect, literal
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import InstrumentedAttribute, Session
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import Boolean, UserDefinedType


def insert_rows(session: Session, table: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Insert rows, each a value per column: by COPY on PostgreSQL. The database's errors are SQLAlchemy's."""
    connection = session.connection()
    names = ", ".join(columns)
    if connection.dialect.name == "sqlite":
        places = ", ".join("?" * len(columns))
        connection.exec_driver_sql(f"INSERT INTO {table} ({names}) VALUES ({places})", list(map(tuple, rows)))  # noqa: S608 - names
    else:
        _copy(connection, f"COPY {table} ({names}) FROM STDIN", rows)


def _copy(connection: Connection, statement: str, rows: Iterable[Sequence[object]]) -> None:
    driver: Any = connection.connection.driver_connection
    errors = connection.dialect.loaded_dbapi.Error
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(row)
    except errors as error:
        raise DBAPIError.instance(statement, None, error, errors) from error


def is_among(column: InstrumentedAttribute[int], ids: Collection[int]) -> ColumnElement[bool]:
    """Whether the column is one of these ids, all of them in one parameter."""
    return _Among(column, literal(ids, _Ids()))


class _Ids(UserDefinedType[Collection[int]]):
    """As one text, which costs a tenth of what the driver takes for a list."""

    cache_ok = True
    render_bind_cast = True  # on PostgreSQL: the text is then an array before anything is planned

    def get_col_spec(self, **_: object) -> str:
        """As PostgreSQL names it."""
        return "BIGINT[]"

    def bind_processor(self, dialect: Dialect) -> Callable[[Collection[int] | None], str]:
        """The numbers between the brackets of an array, or of JSON."""
        first, last = "[]" if dialect.name == "sqlite" else "{}"
        return lambda ids: f"{first}{','.join(map(str, sorted(ids or ())))}{last}"


class _Among(FunctionElement[bool]):
    type = Boolean()
    inherit_cache = True

    def self_group(self, against: object = None) -> Self:
        """As it is: where SQLite has to compare it with 1, it looks at every row."""
        del against
        return self


@compiles(_Among, "postgresql")
def _postgresql_among(element: _Among, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401 - SQLAlchemy's
    column, ids = (compiler.process(part, **options) for part in element.clauses)
    return f"({column} = ANY ({ids}))"


@compiles(_Among, "sqlite")
def _sqlite_among(element: _Among, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401 - SQLAlchemy's
    column, ids = (compiler.process(part, **options) for part in element.clauses)
    return f"({column} IN (SELECT value FROM json_each({ids})))"  # noqa: S608 - a column and a parameter
