"""What statements compile to is kept between tests: each has a database of its own, and all of these speak alike.

SQLAlchemy keeps it for each engine, and would work every statement out anew for every test: longer than most tests.
"""

from typing import Any

from sqlalchemy import URL, Engine, create_engine
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.util import LRUCache

from db import session

MOST_STATEMENTS = 4000
"""Of one kind of database: more than all tests send."""

_compiled: dict[type, "LRUCache[Any, Any]"] = {}


def share_compiled_statements() -> None:
    """From now on every engine of this process begins with what those before it have compiled.

    A statement is looked up by its dialect, too: those of one kind count as one from now on.
    """
    for kind in (PGDialect_psycopg, SQLiteDialect_pysqlite):
        setattr(kind, "__eq__", lambda one, other: type(one) is type(other))  # noqa: B010 - assigning needs an ignore
        setattr(kind, "__hash__", lambda one: hash(type(one)))  # noqa: B010 - as above
    setattr(session, "create_engine", _engine_that_knows_statements)  # noqa: B010 - as above


def _engine_that_knows_statements(url: URL, **options: Any) -> Engine:  # noqa: ANN401 - SQLAlchemy's
    engine = create_engine(url, **options)
    engine._compiled_cache = _compiled.setdefault(type(engine.dialect), LRUCache(MOST_STATEMENTS))  # noqa: SLF001 - it cannot be given
    return engine
