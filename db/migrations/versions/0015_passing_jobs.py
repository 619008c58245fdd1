"""An index of the jobs that are requests answered at once: what a killed server leaves of them is looked for.

The previous version of the code works on it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Move to this version."""
    op.create_index(
        "ix_jobs_passing",
        "jobs",
        ["id"],
        unique=False,
        postgresql_where=sa.text("NOT is_announced"),
        sqlite_where=sa.text("is_announced = 0"),
    )


def downgrade() -> None:
    """Move back to the version before."""
    op.drop_index("ix_jobs_passing", table_name="jobs")
