"""A job's items by state in their order: pages of those that failed, or of the few that have ended yet.

The previous version of the code works on it: the new index does what the old one did.
"""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Move to this version."""
    op.create_index("ix_items_states", "items", ["job_id", "state", "position"], unique=False)
    op.drop_index("ix_items_counts", table_name="items")


def downgrade() -> None:
    """Move back to the version before."""
    op.create_index("ix_items_counts", "items", ["job_id", "state"], unique=False)
    op.drop_index("ix_items_states", table_name="items")
