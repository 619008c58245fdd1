"""Which jobs have a preference, so that one that no job has any more is removed.

The previous version of the code works on it: jobs are listed here by a worker, some time after they were stored. Where
its APIs run beside workers of this version for longer than the ten minutes before a worker's first look, a preference
can be removed in the moment in which one of them stores a job that has it: they do not hold what they find.
"""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Move to this version."""
    op.create_table(
        "job_preferences",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("preference_hash", sa.String(64), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_job_preferences_job_id_jobs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "preference_hash", name=op.f("pk_job_preferences")),
    )
    op.create_index(
        op.f("ix_job_preferences_tenant_id_preference_hash"), "job_preferences", ["tenant_id", "preference_hash"]
    )


def downgrade() -> None:
    """Move back to the version before."""
    op.drop_index(op.f("ix_job_preferences_tenant_id_preference_hash"), table_name="job_preferences")
    op.drop_table("job_preferences")
