"""Campaigns: names of jobs, hold-outs, users who were skipped, and how fast a model writes.

The previous version of the code works on it: it says none of this, and nothing of it is needed.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

COUNTS = ("num_holdout", "num_skipped")
NAMED = sa.text("name IS NOT NULL")


def upgrade() -> None:
    """Move to this version."""
    op.add_column("jobs", sa.Column("name", sa.String(length=128), nullable=True))
    op.add_column("jobs", sa.Column("holdout_share", sa.Double(), nullable=True))
    op.add_column("jobs", sa.Column("holdout_seed", sa.Integer(), nullable=True))
    for count in COUNTS:
        op.add_column("jobs", sa.Column(count, sa.Integer(), server_default="0", nullable=False))
    op.create_index(
        "ix_jobs_named",
        "jobs",
        ["tenant_id", "name", "id"],
        unique=False,
        postgresql_where=NAMED,
        sqlite_where=NAMED,
    )
    for table in ("workers", "models"):
        op.add_column(table, sa.Column("tokens_per_second", sa.Double(), nullable=True))


def downgrade() -> None:
    """Move back to the version before."""
    for table in ("workers", "models"):
        op.drop_column(table, "tokens_per_second")
    op.drop_index("ix_jobs_named", table_name="jobs")
    for column in (*COUNTS, "holdout_seed", "holdout_share", "name"):
        op.drop_column("jobs", column)
