"""INSERT statements that know what to do with an existing row. SQLAlchemy has one per dialect; this picks it."""

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Session


def insert_or_ignore(session: Session, table: type[DeclarativeBase]) -> postgresql.Insert | sqlite.Insert:
    """INSERT INTO `table` ... ON CONFLICT DO NOTHING.

    On PostgreSQL it waits for another transaction that has inserted the same key and has not ended yet.
    """
    return insert_for(session.get_bind().dialect.name, table).on_conflict_do_nothing()


def insert_for(dialect: str, table: type[DeclarativeBase]) -> postgresql.Insert | sqlite.Insert:
    """INSERT INTO `table` that has `on_conflict_do_update`, for the dialect of this name."""
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)
