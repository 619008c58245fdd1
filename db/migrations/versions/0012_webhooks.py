"""Webhooks: where tenants want to be told of events, of which types, and each event on its way there.

The previous version of the code must keep working on this schema: add first, remove a release later. It knows none of
these tables, so the ends of jobs that it writes are announced to nobody.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

PENDING = sa.text("state = 'pending'")
ENDED = sa.text("ended_at IS NOT NULL")


def upgrade() -> None:
    """Move to this version."""
    op.add_column("jobs", sa.Column("is_announced", sa.Boolean(), server_default=sa.true(), nullable=False))
    op.create_table(
        "webhooks",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("url", sa.String(length=2048), nullable=False),
        sa.Column("description", sa.String(length=256), nullable=False),
        sa.Column("secret", sa.String(length=128), nullable=False),
        sa.Column("retired_secrets", sa.JSON(), nullable=False),
        sa.Column("is_enabled", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("disabled_reason", sa.Text(), nullable=True),
        sa.Column("failing_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_webhooks_tenant_id_tenants"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
    )
    op.create_index(op.f("ix_webhooks_tenant_id_id"), "webhooks", ["tenant_id", "id"], unique=False)
    op.create_table(
        "webhook_topics",
        sa.Column("webhook_id", sa.Uuid(), nullable=False),
        sa.Column("event_type", sa.String(length=32), nullable=False),
        _of_a_webhook("webhook_topics"),
        sa.PrimaryKeyConstraint("webhook_id", "event_type", name=op.f("pk_webhook_topics")),
    )
    _create_deliveries()


def downgrade() -> None:
    """Move back to the version before."""
    for table in ("webhook_deliveries", "webhook_topics", "webhooks"):
        op.drop_table(table)
    op.drop_column("jobs", "is_announced")


def _create_deliveries() -> None:
    row_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", row_id, nullable=False),
        sa.Column("webhook_id", sa.Uuid(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("event_type", sa.String(length=32), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("attempts_before", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("status_code", sa.Integer(), nullable=True),
        sa.Column("fault", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("state IN ('pending', 'delivered', 'failed')", name=op.f("ck_webhook_deliveries_state")),
        sa.CheckConstraint(
            "(state = 'pending') = (next_attempt_at IS NOT NULL)",
            name=op.f("ck_webhook_deliveries_next_attempt_while_pending"),
        ),
        _of_a_webhook("webhook_deliveries"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_deliveries")),
    )
    indexes = (
        (op.f("ix_webhook_deliveries_webhook_id_id"), ["webhook_id", "id"], None),
        ("ix_webhook_deliveries_due", ["webhook_id", "next_attempt_at"], PENDING),
        ("ix_webhook_deliveries_ended", ["ended_at"], ENDED),
    )
    for name, columns, where in indexes:
        op.create_index(name, "webhook_deliveries", columns, unique=False, postgresql_where=where, sqlite_where=where)


def _of_a_webhook(table: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_webhook_id_webhooks")
    return sa.ForeignKeyConstraint(["webhook_id"], ["webhooks.id"], name=name, ondelete="CASCADE")
