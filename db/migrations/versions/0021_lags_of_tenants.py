"""How far a tenant stands behind its virtual time among those in credit.

The previous version of the code works on it: it leaves the column as it is, and begins at 0.
"""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Move to this version."""
    op.add_column("tenant_shares", sa.Column("lag", sa.Double(), server_default="0", nullable=False))


def downgrade() -> None:
    """Move back to the version before."""
    with op.batch_alter_table("tenant_shares") as batch:
        batch.drop_column("lag")
