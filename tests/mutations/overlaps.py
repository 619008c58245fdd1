"""What keeps two transactions that meet on the same rows from undoing each other, or from waiting in a circle."""

from tests.mutations.mechanism import Mechanism

_ORDER = ("tests/db/test_lock_order.py",)
_OVERLAPS = ("tests/db/test_overlaps.py",)
_FLOW = ("tests/db/test_flow.py",)

OVERLAPS = (
    Mechanism(
        "the order in which leases are extended",
        "db/queries/claims.py",
        (("_locking(held.order_by(Item.id).with_for_update())", "_locking(held)"),),
        _ORDER,
    ),
    Mechanism(
        "the order in which held items are locked",
        "db/queries/held_items.py",
        (("        .order_by(Item.id)\n", ""),),
        _ORDER,
    ),
    Mechanism(
        "the order in which items that follow their job are locked",
        "db/queries/cancelling.py",
        (
            (
                "is_open).order_by(Item.id).with_for_update()",
                "is_open).with_for_update()",
            ),
        ),
        _ORDER,
    ),
    Mechanism(
        "the order in which retried items are locked",
        "db/queries/retrying.py",
        (("failed.order_by(Item.id).with_for_update()", "failed.with_for_update()"),),
        _ORDER,
    ),
    Mechanism(
        "the lock on items that are given to another model",
        "db/queries/jobs.py",
        ((".order_by(Item.id).with_for_update().cte(", ".order_by(Item.id).cte("),),
        _ORDER,
    ),
    Mechanism(
        "the order in which jobs are counted",
        "db/queries/counters.py",
        (
            (
                "for job_id in sorted(changes)",
                "for job_id in sorted(changes, key=lambda _: __import__('random').random())",
            ),
        ),
        ("tests/db/test_counters_at_once.py",),
    ),
    Mechanism(
        "no claim of what was cancelled meanwhile",
        "db/queries/claims.py",
        (("        if job.id not in ended:\n", "        if ended is not None:\n"),),
        _OVERLAPS,
    ),
    Mechanism(
        "one end of a job that was cancelled meanwhile",
        "db/queries/counters.py",
        ((" if job_id not in ended])", "])"),),
        ("tests/webhooks/test_events.py",),
    ),
    Mechanism(
        "leases that ran out of items that others hold wait",
        "db/queries/losses.py",
        ((".with_for_update(skip_locked=True)", ".with_for_update()"),),
        _OVERLAPS,
    ),
    Mechanism(
        "a job is wound up with its last item",
        "db/queries/cancelling.py",
        (("Job.is_winding_up, none_open)", "Job.is_winding_up)"),),
        _OVERLAPS,
    ),
    Mechanism(
        "the second look at what is to follow",
        "db/queries/cancelling.py",
        (("Item.id.in_(some.scalar_subquery()), is_open)", "Item.id.in_(some.scalar_subquery()))"),),
        _OVERLAPS,
    ),
    Mechanism(
        "nothing follows a job that was retried",
        "db/queries/cancelling.py",
        (("locked.where(still_winding_up)", "locked"),),
        _FLOW,
    ),
    Mechanism(
        "the second look at what is retried",
        "db/queries/retrying.py",
        (("Item.id.in_(some.scalar_subquery()), is_failed)", "Item.id.in_(some.scalar_subquery()))"),),
        _OVERLAPS,
    ),
    Mechanism(
        "no retry of a deleted job",
        "db/queries/retrying.py",
        ((", Job.deleted_at.is_(None))", ")"),),
        _FLOW,
    ),
    Mechanism(
        "a retry forgets deaths",
        "db/queries/retrying.py",
        ((", finished_at=None, num_deaths=0)", ", finished_at=None)"),),
        ("tests/db/test_losses.py",),
    ),
    Mechanism(
        "another model's items have seen no death",
        "db/queries/jobs.py",
        (("            num_deaths=0,\n", ""),),
        ("tests/db/test_losses.py",),
    ),
    Mechanism(
        "nothing is removed that somebody holds",
        "db/queries/deleting.py",
        (("some.with_for_update(skip_locked=True, of=Item)", "some"),),
        _OVERLAPS,
    ),
    Mechanism(
        "a job is removed with its last item",
        "db/queries/deleting.py",
        (("Job.deleted_at.is_not(None), is_empty)", "Job.deleted_at.is_not(None))"),),
        _OVERLAPS,
    ),
    Mechanism(
        "jobs stand still while they are audited",
        "db/queries/audit.py",
        (("        session.execute(select(Job.id).where(Job.id == job_id).with_for_update(key_share=True))\n", ""),),
        _OVERLAPS,
    ),
    Mechanism(
        "no cancel of what has nothing open",
        "db/queries/cancelling.py",
        (("Job.finished_at.is_(None), num_open > 0, *conditions", "Job.finished_at.is_(None), *conditions"),),
        ("tests/db/test_audit.py",),
    ),
)
