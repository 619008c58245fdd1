"""The Anthropic surface: message batches, each of which names its job, and which stop text a text ended before.

The previous version of the code must keep working on this schema: add first, remove a release later. It knows neither;
a batch's job is a job to it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Move to this version."""
    op.create_table(
        "message_batches",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("cancel_initiated_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_message_batches_job_id_jobs"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_message_batches_tenant_id_tenants"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_message_batches")),
        sa.UniqueConstraint("job_id", name=op.f("uq_message_batches_job_id")),
    )
    for columns in (["tenant_id", "id"], ["tenant_id", "fingerprint", "id"]):
        name = op.f(f"ix_message_batches_{'_'.join(columns)}")
        op.create_index(name, "message_batches", columns, unique=False)
    op.add_column("results", sa.Column("stop_text", sa.Text(), nullable=True))


def downgrade() -> None:
    """Move back to the version before."""
    op.drop_column("results", "stop_text")
    op.drop_table("message_batches")
