"""${message}

The previous version of the code must keep working on this schema: add first, remove a release later.
"""

import sqlalchemy as sa
from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    """Move to this version."""
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    """Move back to the version before."""
    ${downgrades if downgrades else "pass"}
