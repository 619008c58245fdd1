"""What a template makes of every turn, so that whole conversations can be counted where they are submitted.

The previous version of the code must keep working on this schema: it counts the last turn alone, as where nothing is
known.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Move to this version."""
    op.add_column("models", sa.Column("num_turn_tokens", sa.Integer(), nullable=True))


def downgrade() -> None:
    """Move back to the version before."""
    op.drop_column("models", "num_turn_tokens")
