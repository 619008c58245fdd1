"""How much a worker's engine has to do, as the worker last said.

The previous version of the code works on it: the columns are NULL unless they are written.
"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

COUNTS = ("num_slots", "num_active", "num_waiting")
SIZES = ("cache_bytes_reserved", "cache_bytes_used")


def upgrade() -> None:
    """Move to this version."""
    for name in COUNTS:
        op.add_column("workers", sa.Column(name, sa.Integer(), nullable=True))
    for name in SIZES:
        op.add_column("workers", sa.Column(name, sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Move back to the version before."""
    for name in reversed((*COUNTS, *SIZES)):
        op.drop_column("workers", name)
