"""Runs migrations on the connection that `db.schema` hands over, or on PADSERVE_DATABASE_URL from the command line."""

import os
from typing import Literal

from alembic import context
from sqlalchemy import Connection

from db.anthropic_models import MessageBatch
from db.base import UtcDateTime
from db.dashboard_models import DashboardSession
from db.idempotency_models import IdempotencyRecord
from db.models import Tenant
from db.openai_models import Batch
from db.registry_models import Worker
from db.session import Database
from db.webhook_models import Webhook

METADATA = {
    Tenant.metadata,
    Batch.metadata,
    MessageBatch.metadata,
    Webhook.metadata,
    DashboardSession.metadata,
    IdempotencyRecord.metadata,
    Worker.metadata,
}.pop()  # one, through the models, so that every table is known


def render_type(kind: str, item: object, _context: object) -> str | Literal[False]:
    """Write plain SQL types into migrations: a migration must not change when the code does."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, UtcDateTime) else False


def run(connection: Connection) -> None:
    """Migrate over one connection, each step in a transaction of its own."""
    context.configure(
        connection=connection,
        target_metadata=METADATA,
        transaction_per_migration=True,
        render_as_batch=connection.dialect.name == "sqlite",
        render_item=render_type,
    )
    if connection.dialect.name == "postgresql":
        # Give up rather than queue behind a long transaction with every reader queueing behind us.
        connection.exec_driver_sql("SET lock_timeout = '10s'")
        connection.exec_driver_sql("SET statement_timeout = 0")
        connection.commit()
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if isinstance(given, Connection):
    run(given)
else:
    database = Database(os.environ["PADSERVE_DATABASE_URL"])
    with database.engine.connect() as opened:
        run(opened)
    database.dispose()
