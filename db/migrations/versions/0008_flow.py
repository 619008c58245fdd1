"""Fairness and flow: tenants' shares, priorities, pauses, deadlines, deletion, and stretches of a job's items.

The previous version of the code must keep working on this schema: add first, remove a release later. It knows no pause,
no deadline and no share, and cannot read a job that expired; it claims from the new index by sorting.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

OLD_STATES = "'queued', 'running', 'completed', 'cancelled'"
NEW_STATES = f"{OLD_STATES}, 'expired'"
PRIORITIES = "'interactive', 'normal', 'bulk'"
MOMENTS = ("not_before", "expires_at", "paused_at", "claimed_at", "deleted_at")
JOB_INDEXES = (
    ("ix_jobs_deadlines", ["expires_at"], sa.text("finished_at IS NULL AND expires_at IS NOT NULL")),
    ("ix_jobs_deleted", ["id"], sa.text("deleted_at IS NOT NULL")),
)
QUEUED = sa.text("state = 'queued'")
IN_STRETCHES = ["model_digest", "job_id", "stretch", "preference_hash", "position"]


def upgrade() -> None:
    """Move to this version."""
    double = "DOUBLE" if op.get_bind().dialect.name == "sqlite" else "DOUBLE PRECISION"
    op.execute(
        f"ALTER TABLE tenants ADD COLUMN weight {double} DEFAULT 1 NOT NULL "
        "CONSTRAINT ck_tenants_weight CHECK (weight > 0)"
    )
    op.create_table(
        "tenant_shares",
        sa.Column("model_digest", sa.String(length=64), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("began_at", sa.Double(), nullable=False),
        sa.Column("virtual_time", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_tenant_shares_tenant_id_tenants"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("model_digest", "tenant_id", name=op.f("pk_tenant_shares")),
    )
    op.execute(
        "ALTER TABLE jobs ADD COLUMN priority VARCHAR(16) DEFAULT 'normal' NOT NULL "
        f"CONSTRAINT ck_jobs_priority CHECK (priority IN ({PRIORITIES}))"
    )
    op.add_column("jobs", sa.Column("window_seconds", sa.Integer(), nullable=True))
    for moment in MOMENTS:
        op.add_column("jobs", sa.Column(moment, sa.DateTime(timezone=True), nullable=True))
    _set_job_states(OLD_STATES, NEW_STATES)
    for name, columns, where in JOB_INDEXES:
        op.create_index(name, "jobs", columns, unique=False, postgresql_where=where, sqlite_where=where)
    op.add_column("items", sa.Column("stretch", sa.Integer(), server_default="0", nullable=False))
    _set_queue_index("ix_items_queue", "ix_items_stretches", IN_STRETCHES)


def downgrade() -> None:
    """Move back to the version before."""
    _set_queue_index("ix_items_stretches", "ix_items_queue", [name for name in IN_STRETCHES if name != "stretch"])
    op.drop_column("items", "stretch")
    for name, _, _ in JOB_INDEXES:
        op.drop_index(name, table_name="jobs")
    op.execute("DELETE FROM jobs WHERE deleted_at IS NOT NULL")
    _end_what_was_to_follow()
    op.execute("UPDATE jobs SET state = 'cancelled', is_winding_up = false WHERE state = 'expired'")
    _set_job_states(NEW_STATES, OLD_STATES)
    for moment in MOMENTS:
        op.drop_column("jobs", moment)
    op.drop_column("jobs", "window_seconds")
    op.drop_column("jobs", "priority")
    op.drop_table("tenant_shares")
    op.drop_column("tenants", "weight")


def _end_what_was_to_follow() -> None:
    """The version before would end as cancelled what an expired job counts as failed."""
    following = "state IN ('queued', 'running') AND job_id IN (SELECT id FROM jobs WHERE state = 'expired')"
    message = "The job''s completion window ended before this item was decoded."
    op.execute(
        "INSERT INTO results (item_id, error_code, error_message) "  # noqa: S608 - our own names
        f"SELECT id, 'expired', '{message}' FROM items WHERE {following}"
    )
    op.execute(
        "UPDATE items SET state = 'failed', lease_owner = NULL, lease_until = NULL, "  # noqa: S608 - our own names
        f"finished_at = (SELECT finished_at FROM jobs WHERE jobs.id = items.job_id) WHERE {following}"
    )


def _set_job_states(before: str, after: str) -> None:
    """Change which states a job may have.

    SQLite cannot change a constraint, and to rebuild the table would delete every item with it. Its manual describes
    this way for changes that concern no stored row: https://www.sqlite.org/lang_altertable.html#otheralter
    """
    connection = op.get_bind()
    if connection.dialect.name != "sqlite":
        op.execute("ALTER TABLE jobs DROP CONSTRAINT ck_jobs_state")
        op.execute(f"ALTER TABLE jobs ADD CONSTRAINT ck_jobs_state CHECK (state IN ({after}))")
        return
    version = connection.exec_driver_sql("PRAGMA schema_version").scalar_one()
    connection.exec_driver_sql("PRAGMA writable_schema = ON")
    connection.exec_driver_sql(
        "UPDATE sqlite_master SET sql = replace(sql, ?, ?) WHERE type = 'table' AND name = 'jobs'",
        (f"state IN ({before})", f"state IN ({after})"),
    )
    connection.exec_driver_sql(f"PRAGMA schema_version = {version + 1}")
    connection.exec_driver_sql("PRAGMA writable_schema = OFF")


def _set_queue_index(before: str, after: str, columns: list[str]) -> None:
    op.drop_index(before, table_name="items")
    op.create_index(after, "items", columns, unique=False, postgresql_where=QUEUED, sqlite_where=QUEUED)
