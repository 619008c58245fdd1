"""INSERT statements that leave an existing row alone. SQLAlchemy has one per dialect; this picks the right one."""

from sqlalchemy import Dialect
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Session


def insert_or_ignore(session: Session, table: type[DeclarativeBase]) -> postgresql.Insert | sqlite.Insert:
    """INSERT INTO `table` ... ON CONFLICT DO NOTHING.

    On PostgreSQL it waits for another transaction that has inserted the same key and has not ended yet.
    """
    dialect: Dialect = session.get_bind().dialect
    insert = sqlite.insert if dialect.name == "sqlite" else postgresql.insert
    return insert(table).on_conflict_do_nothing()
