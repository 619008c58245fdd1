"""The migrations make the tables that the models describe, once, however many migrators there are."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text

from db import schema
from db.anthropic_models import MessageBatch
from db.dashboard_models import DashboardSession
from db.idempotency_models import IdempotencyRecord
from db.models import Tenant
from db.openai_models import Batch
from db.session import Database
from db.webhook_models import Webhook

DECLARED = (Tenant, Batch, MessageBatch, Webhook, DashboardSession, IdempotencyRecord)
TABLES = {name for model in DECLARED for name in model.metadata.tables}
"""Of every module that declares some."""


def test_the_migrated_schema_is_what_the_models_describe(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})

        assert compare_metadata(context, Tenant.metadata) == []


def test_a_migrated_database_is_current_and_an_empty_one_is_not(database: Database) -> None:
    with database.engine.connect() as connection:
        assert schema.is_current(connection)

    empty(database)

    with database.engine.connect() as connection:
        assert not schema.is_current(connection)


@pytest.mark.parametrize(("applied", "is_current"), [("0001", False), ("9999", True), ("unnumbered", False)])
def test_a_newer_migration_leaves_the_schema_current_and_an_older_one_does_not(
    database: Database,
    applied: str,
    is_current: bool,  # noqa: FBT001 - what is expected
) -> None:
    with database.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM alembic_version")
        connection.execute(text("INSERT INTO alembic_version VALUES (:applied)"), {"applied": applied})

    with database.engine.connect() as connection:
        assert schema.is_current(connection) is is_current


def test_neither_a_migration_nor_the_wait_for_another_is_bounded_in_time(
    postgresql_database: Database,
) -> None:
    empty(postgresql_database)
    hurried = Database(postgresql_database.url.render_as_string(hide_password=False), statement_seconds=1)
    with ThreadPoolExecutor(1) as pool, postgresql_database.engine.connect() as other:
        other.exec_driver_sql(f"SELECT pg_advisory_lock({schema.MIGRATION_LOCK})")
        migrating = pool.submit(schema.upgrade, hurried)
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        while not other.exec_driver_sql(waiting).scalar_one() and not migrating.done():
            pass
        other.exec_driver_sql("SELECT pg_sleep(1.5)")  # longer than a statement may take
        other.exec_driver_sql(f"SELECT pg_advisory_unlock({schema.MIGRATION_LOCK})")

        migrating.result(60)

    with hurried.engine.connect() as connection:
        assert connection.exec_driver_sql("SHOW statement_timeout").scalar_one() == "1s"
    hurried.dispose()


def test_upgrading_again_changes_nothing(database: Database) -> None:
    tables = inspect(database.engine).get_table_names()

    schema.upgrade(database)

    assert inspect(database.engine).get_table_names() == tables


def test_migrators_at_the_same_moment_end_with_one_schema(postgresql_database: Database) -> None:
    empty(postgresql_database)
    barrier = threading.Barrier(3)

    def migrate(_: int) -> None:
        barrier.wait()
        schema.upgrade(postgresql_database)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(migrate, range(3)))

    with postgresql_database.engine.connect() as connection:
        assert schema.is_current(connection)


@pytest.mark.parametrize("table", sorted(TABLES))
def test_every_constraint_and_index_has_a_name(sqlite_database: Database, table: str) -> None:
    inspector = inspect(sqlite_database.engine)

    named = [
        *inspector.get_indexes(table),
        *inspector.get_unique_constraints(table),
        *inspector.get_foreign_keys(table),
        inspector.get_pk_constraint(table),
    ]

    assert [entry for entry in named if not entry["name"]] == []


def empty(database: Database) -> None:
    """Remove every table."""
    Tenant.metadata.drop_all(database.engine)
    with database.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE alembic_version")
