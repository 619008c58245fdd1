"""How much memory a worker's cache may take, as the worker last said.

The previous version of the code works on it: the column is NULL unless it is written.
"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Move to this version."""
    op.add_column("workers", sa.Column("cache_bytes_budget", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Move back to the version before."""
    op.drop_column("workers", "cache_bytes_budget")
