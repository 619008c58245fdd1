"""INSERT statements that know what to do with an existing row. SQLAlchemy has one per dialect; this picks it."""

from sqlalchemy import Dialect
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Session


def insert_or_ignore(session: Session, table: type[DeclarativeBase]) -> postgresql.Insert | sqlite.Insert:
    """INSERT INTO `table` ... ON CONFLICT DO NOTHING.

    On PostgreSQL it waits for another transaction that has inserted the same key and has not ended yet.
    """
    return insert_for(session, table).on_conflict_do_nothing()


def insert_for(session: Session, table: type[DeclarativeBase]) -> postgresql.Insert | sqlite.Insert:
    """INSERT INTO `table` that has `on_conflict_do_update`."""
    dialect: Dialect = session.get_bind().dialect
    return sqlite.insert(table) if dialect.name == "sqlite" else postgresql.insert(table)
