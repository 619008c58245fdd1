"""Feedback pairs and fits.

The previous version of the code must keep working on this schema: add first, remove a release later.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Move to this version."""
    op.add_column("profile_versions", sa.Column("learned", sa.JSON(none_as_null=True), nullable=True))
    op.create_table(
        "feedback_pairs",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("profile_id", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("messages", sa.JSON(), nullable=False),
        sa.Column("chosen", sa.Text(), nullable=False),
        sa.Column("rejected", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["profile_id"], ["profiles.id"], name=op.f("fk_feedback_pairs_profile_id_profiles"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_feedback_pairs")),
        sa.UniqueConstraint("profile_id", "digest", name=op.f("uq_feedback_pairs_profile_id_digest")),
    )
    op.create_table(
        "fits",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("profile_id", sa.Uuid(), nullable=False),
        sa.Column("model", sa.String(length=256), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "queued",
                "running",
                "succeeded",
                "failed",
                name="state",
                native_enum=False,
                create_constraint=True,
                length=16,
            ),
            nullable=False,
        ),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("lease_owner", sa.Uuid(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("num_pairs", sa.Integer(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.Column("error_code", sa.String(length=64), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(state = 'running') = (lease_owner IS NOT NULL)", name=op.f("ck_fits_lease_while_running")),
        sa.ForeignKeyConstraint(
            ["profile_id"], ["profiles.id"], name=op.f("fk_fits_profile_id_profiles"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fits")),
    )
    op.create_index(op.f("ix_fits_profile_id_id"), "fits", ["profile_id", "id"], unique=False)
    for name, columns, state in (
        ("ix_fits_queue", ["model", "id"], "queued"),
        ("ix_fits_leases", ["lease_until"], "running"),
    ):
        where = sa.text(f"state = '{state}'")
        op.create_index(name, "fits", columns, unique=False, postgresql_where=where, sqlite_where=where)


def downgrade() -> None:
    """Move back to the version before."""
    for name in ("ix_fits_leases", "ix_fits_queue"):
        op.drop_index(name, table_name="fits")
    op.drop_index(op.f("ix_fits_profile_id_id"), table_name="fits")
    op.drop_table("fits")
    op.drop_table("feedback_pairs")
    op.drop_column("profile_versions", "learned")
