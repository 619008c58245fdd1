"""Sessions of the dashboard: which browsers are signed in, each by which API key.

The previous version of the code works on it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Move to this version."""
    op.create_table(
        "dashboard_sessions",
        sa.Column("token_digest", sa.String(length=64), nullable=False),
        sa.Column("key_id", sa.Uuid(), nullable=False),
        sa.Column("csrf_secret", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["key_id"], ["api_keys.id"], name=op.f("fk_dashboard_sessions_key_id_api_keys"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("token_digest", name=op.f("pk_dashboard_sessions")),
    )
    for column in ("key_id", "expires_at"):
        op.create_index(op.f(f"ix_dashboard_sessions_{column}"), "dashboard_sessions", [column], unique=False)


def downgrade() -> None:
    """Move back to the version before."""
    op.drop_table("dashboard_sessions")
