"""The mechanisms on which the promises rest, each as a change that takes it away, and the tests that should notice."""

from tests.mutations.doors import DOORS
from tests.mutations.engines import ENGINES
from tests.mutations.mechanism import Mechanism
from tests.mutations.overlaps import OVERLAPS
from tests.mutations.turns import TURNS
from tests.mutations.work import WORK

_LEASES = (
    Mechanism(
        "the attempt in every save and release",
        "db/queries/held_items.py",
        ((" if wanted[item_id] == number]", "]"),),
        ("tests/db/test_claims.py",),
    ),
    Mechanism(
        "the owner in every save and release",
        "db/queries/held_items.py",
        ((", Item.lease_owner == owner, Item.state", ", Item.state"),),
        ("tests/db/test_claims.py",),
    ),
    Mechanism(
        "an owner of its own for each worker that starts",
        "worker/pipeline/decoding.py",
        (
            (
                "self.owner = uuid.uuid4()",
                "self.owner = uuid.uuid5(uuid.NAMESPACE_OID, f\"{__import__('os').getpid()}\")",
            ),
        ),
        ("tests/worker/pipeline/test_leases_compared.py",),
    ),
    Mechanism(
        "the end of a lease",
        "db/queries/losses.py",
        (("Item.lease_until < clock()", "Item.lease_until < clock(-1e9)"),),
        ("tests/db/test_losses.py",),
    ),
    Mechanism(
        "the extension of leases",
        "db/queries/claims.py",
        ((".values(lease_until=clock(lease_seconds))", ".values(lease_until=Item.lease_until)"),),
        ("tests/worker/pipeline/test_decoding.py",),
    ),
    Mechanism(
        "the heartbeat's look at what is only in SQL",
        "worker/pipeline/decoding.py",
        (("orphans := held - inside - unsaved:", "orphans := held - held:"),),
        ("tests/worker/pipeline/test_leases_compared.py",),
    ),
    Mechanism(
        "the heartbeat's look at what is only in hand",
        "worker/pipeline/decoding.py",
        (("lost := inside - held:", "lost := inside - inside:"),),
        ("tests/worker/pipeline/test_leases_compared.py",),
    ),
    Mechanism(
        "the refund of what was not tried",
        "db/queries/claims.py",
        (("refund=True", "refund=False"),),
        ("tests/db/test_claims.py",),
    ),
    Mechanism(
        "the bound on deaths of one item's engine",
        "db/queries/losses.py",
        (("if num_deaths >= max_deaths]", "if num_deaths < 0]"),),
        ("tests/db/test_losses.py",),
    ),
    Mechanism(
        "one clock, the database's",
        "db/session.py",
        (
            (
                'return f"(statement_timestamp() +',
                "return f\"(to_timestamp({__import__('time').time()}) +",
            ),
        ),
        ("tests/db/test_one_clock.py",),
    ),
)

_CLAIMS = (
    Mechanism(
        "passing over what others are just taking",
        "db/queries/claims.py",
        (("queued.with_for_update(skip_locked=True)", "queued.with_for_update()"),),
        ("tests/db/test_claims.py",),
    ),
    Mechanism(
        "the charge of what was claimed",
        "db/queries/fairness.py",
        (("taken.get(each.job.id, 0) / each.weight", "0.0"),),
        ("tests/db/test_fairness.py",),
    ),
    Mechanism(
        "the weight of a tenant",
        "db/queries/fairness.py",
        (("taken.get(each.job.id, 0) / each.weight", "taken.get(each.job.id, 0)"),),
        ("tests/db/test_fairness.py",),
    ),
    Mechanism(
        "the pause",
        "db/queries/fairness.py",
        (("        job.paused_at.is_(None),\n", ""),),
        ("tests/db/test_flow.py",),
    ),
    Mechanism(
        "the moment from which on a job runs",
        "db/queries/fairness.py",
        (("        or_(job.not_before.is_(None), job.not_before <= clock()),\n", ""),),
        ("tests/db/test_flow.py",),
    ),
    Mechanism(
        "no claim behind a deadline",
        "db/queries/fairness.py",
        (("        or_(job.expires_at.is_(None), job.expires_at > clock()),\n", ""),),
        ("tests/db/test_flow.py",),
    ),
)

_ENDS = (
    Mechanism(
        "the row binding",
        "db/queries/held_items.py",
        (
            (
                "map(_result_row, outcomes))",
                (
                    "[(one.item_id, *_result_row(other)[1:]) "
                    "for one, other in zip(outcomes, [*outcomes[1:], outcomes[0]], strict=True)])"
                ),
            ),
        ),
        ("tests/worker/pipeline/test_decoding.py",),
    ),
    Mechanism(
        "the end of a job with its last item",
        "db/queries/counters.py",
        (("state=case((completes, JobState.COMPLETED), (claims,", "state=case((claims,"),),
        ("tests/db/test_jobs_end.py",),
    ),
    Mechanism(
        "an ended job counts nothing more",
        "db/queries/counters.py",
        (('.where(Job.id == bindparam("job"), Job.finished_at.is_(None))', '.where(Job.id == bindparam("job"))'),),
        ("tests/db/test_jobs_end.py",),
    ),
    Mechanism(
        "terminal states of items",
        "db/queries/cancelling.py",
        (("    is_open = Item.state.in_(OPEN_ITEM_STATES)\n", "    is_open = Item.state.is_not(None)\n"),),
        ("tests/db/test_jobs_end.py",),
    ),
    Mechanism(
        "what was saved too late gives way to a cancel",
        "db/queries/counters.py",
        (("    if late:\n", "    if late is None:\n"),),
        ("tests/db/test_jobs_end.py", "tests/db/test_flow.py"),
    ),
    Mechanism(
        "the deadline",
        "db/queries/deadlines.py",
        (("passed.limit(JOBS_PER_SWEEP)", "passed.limit(0)"),),
        ("tests/worker/pipeline/test_reconciler.py",),
    ),
    Mechanism(
        "a retry of nothing but what failed",
        "db/queries/retrying.py",
        (("    is_failed = Item.state == RETRIED_ITEM_STATE\n", "    is_failed = Item.finished_at.is_not(None)\n"),),
        ("tests/db/test_flow.py",),
    ),
)

_SWEEPS = (
    Mechanism(
        "the reconciler",
        "worker/pipeline/reconciler.py",
        (("                part()\n", "                pass\n"),),
        ("tests/worker/pipeline/test_reconciler.py",),
    ),
    Mechanism(
        "the look for work that no message told of",
        "worker/pipeline/reconciler.py",
        (("            self._wake()\n", "            pass\n"),),
        ("tests/worker/pipeline/test_reconciler.py",),
    ),
    Mechanism(
        "the counter audit",
        "worker/pipeline/reconciler.py",
        (
            (
                "        if not differing:\n            return\n",
                "        if differing is not None:\n            return\n",
            ),
        ),
        ("tests/worker/pipeline/test_reconciler.py",),
    ),
    Mechanism(
        "the line before the commit",
        "db/queries/claims.py",
        (("    say(Said.SAVED, (one.attempt for one in held), owner)\n", ""),),
        ("tests/chaos/test_history.py",),
    ),
)

__all__ = ["MECHANISMS", "Mechanism"]

MECHANISMS = _LEASES + _CLAIMS + TURNS + _ENDS + OVERLAPS + _SWEEPS + ENGINES + WORK + DOORS
