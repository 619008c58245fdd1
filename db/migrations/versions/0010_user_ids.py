"""User ids in their canonical form: no space around them, Unicode form NFC.

What is no longer looked up as it was written is renamed, with a number where that user has another profile: nobody can
say here which of the two is right, and each can be read and removed. The previous version of the code works on it.
"""

import unicodedata
import uuid
from itertools import count

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

MAX_CHARACTERS = 128
PROFILES = sa.table("profiles", sa.column("id", sa.Uuid()), sa.column("tenant_id", sa.Uuid()), sa.column("user_id"))


def upgrade() -> None:
    """Move to this version."""
    connection = op.get_bind()
    rows = connection.execute(
        sa.select(PROFILES.c.id, PROFILES.c.tenant_id, PROFILES.c.user_id).order_by(PROFILES.c.id)
    )
    renamed = [row for row in rows if row.user_id != _canonical(row.user_id)]
    for profile_id, tenant_id, user_id in renamed:
        free = _free_name(connection, tenant_id, _canonical(user_id))
        connection.execute(sa.update(PROFILES).where(PROFILES.c.id == profile_id).values(user_id=free))


def downgrade() -> None:
    """Move back to the version before: its user ids may be of any form, so these are as good."""


def _canonical(user_id: str) -> str:
    return unicodedata.normalize("NFC", user_id).strip()[:MAX_CHARACTERS] or "unnamed"


def _free_name(connection: sa.Connection, tenant_id: uuid.UUID, user_id: str) -> str:
    """`user_id`, or with the first number that makes it the only one of its tenant."""
    name = user_id
    for number in count(2):
        taken = sa.select(PROFILES.c.id).where(PROFILES.c.tenant_id == tenant_id, PROFILES.c.user_id == name)
        if connection.execute(taken).first() is None:
            break
        ending = f" ({number})"
        name = user_id[: MAX_CHARACTERS - len(ending)] + ending
    return name
