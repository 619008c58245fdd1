"""Models are what workers register: the registry, and digests wherever a model was named.

The previous version of the code must keep working on this schema: add first, remove a release later. What it queues
has a name and no digest; the next worker that registers that name adopts it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

QUEUES = (
    ("ix_items_queue", "items", ["job_id", "preference_hash", "position"]),
    ("ix_fits_queue", "fits", ["id"]),
)
QUEUED = sa.text("state = 'queued'")


def upgrade() -> None:
    """Move to this version."""
    op.create_table(
        "models",
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("aliases", sa.JSON(), nullable=False),
        sa.Column("methods", sa.JSON(), nullable=False),
        sa.Column("default_method", sa.String(length=16), nullable=False),
        sa.Column("max_length", sa.Integer(), nullable=False),
        sa.Column("vocab_size", sa.Integer(), nullable=False),
        sa.Column("num_template_tokens", sa.Integer(), nullable=False),
        sa.Column("longest_token_bytes", sa.Integer(), nullable=False),
        sa.Column("strength", sa.Double(), nullable=False),
        sa.Column("max_kl", sa.Double(), nullable=True),
        sa.Column("format", sa.String(length=16), nullable=False),
        sa.Column("card", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("registered_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", "digest", name=op.f("pk_models")),
    )
    op.create_index(op.f("ix_models_digest"), "models", ["digest"], unique=False)
    for table in ("jobs", "items", "fits", "workers"):
        op.add_column(table, sa.Column("model_digest", sa.String(length=64), nullable=True))
    for name, table, columns in QUEUES:
        op.drop_index(name, table_name=table)
        _create_queue_index(name, table, ["model_digest", *columns])


def downgrade() -> None:
    """Move back to the version before."""
    for name, table, columns in QUEUES:
        op.drop_index(name, table_name=table)
        _create_queue_index(name, table, ["model", *columns])
    for table in ("jobs", "items", "fits", "workers"):
        op.drop_column(table, "model_digest")
    op.drop_index(op.f("ix_models_digest"), table_name="models")
    op.drop_table("models")


def _create_queue_index(name: str, table: str, columns: list[str]) -> None:
    op.create_index(name, table, columns, unique=False, postgresql_where=QUEUED, sqlite_where=QUEUED)
