"""A tenant chooses what becomes of requests for users without a profile.

The previous version of the code works on it: it asks the deployment's setting alone.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Move to this version."""
    op.add_column("tenants", sa.Column("unknown_users", sa.String(length=16), nullable=True))


def downgrade() -> None:
    """Move back to the version before."""
    op.drop_column("tenants", "unknown_users")
