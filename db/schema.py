"""The schema's version: upgrade to the newest, or say how far behind a database is."""

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from db.session import Database

MIGRATION_LOCK = 7_204_410_070  # any constant will do, as long as every migrator asks for the same one


def upgrade(database: Database) -> None:
    """Bring the schema to the newest version; a second migrator waits for the first and finds nothing to do.

    Neither the wait nor a migration is bounded in time: an index on a large table takes as long as it takes.
    """
    with database.engine.connect() as connection:
        connection.detach()  # closed afterwards: what is set here is for migrations alone
        if connection.dialect.name == "postgresql":
            from db.patience import waiting_as_long_as_it_takes  # noqa: PLC0415 - its driver comes with PostgreSQL

            with waiting_as_long_as_it_takes(connection):
                connection.exec_driver_sql(f"SELECT pg_advisory_lock({MIGRATION_LOCK})")
                connection.commit()
                _upgrade(connection)
                connection.exec_driver_sql(f"SELECT pg_advisory_unlock({MIGRATION_LOCK})")
        else:
            _upgrade(connection)
        connection.commit()


def _upgrade(connection: Connection) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def is_current(connection: Connection) -> bool:
    """Whether every migration that this code knows has been applied.

    Newer ones may have been, too: each works with the code before it, and they are numbered, so that this code can
    tell a later one from an earlier one without knowing it.
    """
    applied = MigrationContext.configure(connection).get_current_revision()
    return applied is not None and _number(applied) >= _number(newest_revision())


@cache
def newest_revision() -> str:
    """The newest migration that this code knows."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    if head is None:
        raise RuntimeError("There are no migrations.")
    return head


def _number(revision: str) -> int:
    """The place of a migration among all, as its id says; 0 for an id that is none of ours."""
    return int(revision) if revision.isdecimal() else 0


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config
