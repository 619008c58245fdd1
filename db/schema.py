"""The schema's version: upgrade to the newest, or say how far behind a database is."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from db.session import Database

MIGRATION_LOCK = 7_204_410_070  # any constant will do, as long as every migrator asks for the same one


def upgrade(database: Database) -> None:
    """Bring the schema to the newest version; a second migrator waits for the first and finds nothing to do."""
    with database.engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_lock({MIGRATION_LOCK})")
            connection.commit()
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_unlock({MIGRATION_LOCK})")
        connection.commit()


def is_current(connection: Connection) -> bool:
    """Whether every migration has been applied."""
    applied = MigrationContext.configure(connection).get_current_revision()
    return applied == ScriptDirectory.from_config(_config()).get_current_head()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config
