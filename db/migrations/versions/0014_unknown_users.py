"""A tenant chooses what becomes of requests for users without a profile.

The previous version of the code works on it: it asks the deployment's setting alone.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

CHOICES = sa.Enum("unguided", "refuse", name="unknown_users", native_enum=False, create_constraint=True, length=16)


def upgrade() -> None:
    """Move to this version."""
    with op.batch_alter_table("tenants") as tenants:
        tenants.add_column(sa.Column("unknown_users", CHOICES, nullable=True))


def downgrade() -> None:
    """Move back to the version before."""
    with op.batch_alter_table("tenants") as tenants:
        tenants.drop_constraint(op.f("ck_tenants_unknown_users"), type_="check")
        tenants.drop_column("unknown_users")
