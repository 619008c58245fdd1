"""Ratings that are kept between requests.

The previous version of the code must keep working on this schema: add first, remove a release later.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Move to this version."""
    op.create_table(
        "feedback_ratings",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("profile_id", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("prompt_digest", sa.String(length=64), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("rating", sa.Double(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["profile_id"], ["profiles.id"], name=op.f("fk_feedback_ratings_profile_id_profiles"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_feedback_ratings")),
        sa.UniqueConstraint("profile_id", "digest", name=op.f("uq_feedback_ratings_profile_id_digest")),
    )
    op.create_index(
        op.f("ix_feedback_ratings_profile_id_prompt_digest"),
        "feedback_ratings",
        ["profile_id", "prompt_digest"],
        unique=False,
    )


def downgrade() -> None:
    """Move back to the version before."""
    op.drop_index(op.f("ix_feedback_ratings_profile_id_prompt_digest"), table_name="feedback_ratings")
    op.drop_table("feedback_ratings")
