"""Counters on the job row, moved with the items they count; deaths on the item; what runs out, by its lease.

The previous version of the code must keep working on this schema: add first, remove a release later. What it writes
moves no counter; the next audit of an open job finds and mends that.
"""

# ruff: noqa: S608 - statements of our own names and nothing else

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

OPEN = ("queued", "running")
FROZEN = ("succeeded", "failed", "cancelled")
OPEN_JOBS = sa.text("finished_at IS NULL")
JOB_INDEXES = (
    ("ix_jobs_claimable", ["model_digest", "id"], OPEN_JOBS),
    ("ix_jobs_waiting", ["tenant_id", "model_digest", "id"], OPEN_JOBS),
    ("ix_jobs_winding_up", ["id"], sa.text("is_winding_up")),
)
RUNNING = sa.text("state = 'running'")


def upgrade() -> None:
    """Move to this version."""
    for state in OPEN:
        op.add_column("jobs", _count(f"num_{state}"))
    for state in FROZEN:  # renamed into place: SQLite cannot make a column NOT NULL
        op.add_column("jobs", _count(f"new_{state}"))
        op.execute(f"UPDATE jobs SET new_{state} = num_{state} WHERE num_{state} IS NOT NULL")
        op.drop_column("jobs", f"num_{state}")
        op.execute(f"ALTER TABLE jobs RENAME COLUMN new_{state} TO num_{state}")
    for state in (*OPEN, *FROZEN):
        counted = f"SELECT count(*) FROM items WHERE items.job_id = jobs.id AND items.state = '{state}'"
        op.execute(f"UPDATE jobs SET num_{state} = ({counted}) WHERE finished_at IS NULL")
    op.add_column("jobs", sa.Column("is_winding_up", sa.Boolean(), server_default=sa.false(), nullable=False))
    for mark, base in (("rate_since", "rate_base"), ("rate_mark", "rate_mark_base")):
        op.add_column("jobs", sa.Column(mark, sa.DateTime(timezone=True), nullable=True))
        op.add_column("jobs", _count(base))
    for name, columns, where in JOB_INDEXES:
        op.create_index(name, "jobs", columns, unique=False, postgresql_where=where, sqlite_where=where)
    op.add_column("items", _count("num_deaths"))
    op.create_index(
        "ix_items_overdue", "items", ["lease_until"], unique=False, postgresql_where=RUNNING, sqlite_where=RUNNING
    )
    op.drop_index("ix_items_finished", table_name="items")


def downgrade() -> None:
    """Move back to the version before."""
    _end_what_was_to_follow()
    op.create_index("ix_items_finished", "items", ["job_id", "finished_at"], unique=False)
    op.drop_index("ix_items_overdue", table_name="items")
    op.drop_column("items", "num_deaths")
    for name, _, _ in JOB_INDEXES:
        op.drop_index(name, table_name="jobs")
    for state in FROZEN:
        op.add_column("jobs", sa.Column(f"old_{state}", sa.Integer(), nullable=True))
        op.execute(f"UPDATE jobs SET old_{state} = num_{state} WHERE finished_at IS NOT NULL")
        op.drop_column("jobs", f"num_{state}")
        op.execute(f"ALTER TABLE jobs RENAME COLUMN old_{state} TO num_{state}")
    added = ("is_winding_up", "rate_since", "rate_base", "rate_mark", "rate_mark_base")
    for column in (*(f"num_{state}" for state in OPEN), *added):
        op.drop_column("jobs", column)


def _end_what_was_to_follow() -> None:
    """The version before takes a queued item for one that is wanted, whatever its job says."""
    following = "state IN ('queued', 'running') AND job_id IN (SELECT id FROM jobs WHERE is_winding_up)"
    message = "The job was cancelled before this item was decoded."
    op.execute(
        "INSERT INTO results (item_id, error_code, error_message) "
        f"SELECT id, 'cancelled', '{message}' FROM items WHERE {following}"
    )
    op.execute(
        "UPDATE items SET state = 'cancelled', lease_owner = NULL, lease_until = NULL, "
        f"finished_at = (SELECT finished_at FROM jobs WHERE jobs.id = items.job_id) WHERE {following}"
    )


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), server_default="0", nullable=False)
