"""What guidance cost, and several answers to one item.

The previous version of the code must keep working on this schema: add first, remove a release later.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Move to this version."""
    op.add_column("results", sa.Column("kl", sa.Double(), nullable=True))
    op.add_column("results", sa.Column("choices", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    """Move back to the version before."""
    op.drop_column("results", "choices")
    op.drop_column("results", "kl")
