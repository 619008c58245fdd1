"""What guided each token of a result, where a preview asks for it.

The previous version of the code works on it: the column is NULL unless it is written.
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Move to this version."""
    op.add_column("results", sa.Column("token_rewards", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    """Move back to the version before."""
    op.drop_column("results", "token_rewards")
