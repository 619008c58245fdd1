"""The mechanisms on which the promises rest, each as a change that takes it away, and the tests that should notice."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mechanism:
    """One mechanism: where it stands, what replaces it, and who should miss it."""

    name: str
    file: str
    changes: tuple[tuple[str, str], ...]
    tests: tuple[str, ...]

    def take_from(self, source: str) -> str:
        """The source without it; raises where the source is no longer what it was."""
        for present, replacement in self.changes:
            if source.count(present) != 1:
                raise ValueError(f"{self.file} has not exactly one {present!r}: write the change anew.")
            source = source.replace(present, replacement)
        return source


MECHANISMS = (
    Mechanism(
        "the fencing predicate",
        "db/queries/held_items.py",
        ((" if wanted[row.id] == row.attempt]", "]"), (", Item.lease_owner == owner, Item.state", ", Item.state")),
        ("tests/db/test_claims.py",),
    ),
    Mechanism(
        "the lease",
        "db/queries/losses.py",
        (("Item.lease_until < clock()", "Item.lease_until < clock(-1e9)"),),
        ("tests/db/test_claims.py", "tests/db/test_losses.py", "tests/worker/test_reconciler.py"),
    ),
    Mechanism(
        "the reconciler",
        "worker/reconciler.py",
        (("                part()\n", "                pass\n"),),
        ("tests/worker/test_reconciler.py",),
    ),
    Mechanism(
        "the row binding",
        "db/queries/held_items.py",
        (
            (
                "[_result_row(outcome) for outcome in outcomes])",
                (
                    "[(one.item_id, *_result_row(other)[1:]) "
                    "for one, other in zip(outcomes, [*outcomes[1:], outcomes[0]], strict=True)])"
                ),
            ),
        ),
        ("tests/db/test_claims.py", "tests/db/test_results.py", "tests/worker/test_decoding.py"),
    ),
    Mechanism(
        "the heartbeat's look at what is only in SQL",
        "worker/decoding.py",
        (("orphans := held - inside - unsaved:", "orphans := held - held:"),),
        ("tests/worker/test_leases_compared.py",),
    ),
    Mechanism(
        "the heartbeat's look at what is only in hand",
        "worker/decoding.py",
        (("lost := inside - held:", "lost := inside - inside:"),),
        ("tests/worker/test_leases_compared.py", "tests/worker/test_decoding.py"),
    ),
    Mechanism(
        "the counter audit",
        "worker/reconciler.py",
        (
            (
                "        if not differing:\n            return\n",
                "        if differing is not None:\n            return\n",
            ),
        ),
        ("tests/worker/test_reconciler.py",),
    ),
    Mechanism(
        "the refund of what was not tried",
        "db/queries/claims.py",
        (("refund=True", "refund=False"),),
        ("tests/db/test_claims.py", "tests/worker/test_decoding.py"),
    ),
    Mechanism(
        "the line before the commit",
        "db/queries/claims.py",
        (("    say(Said.SAVED, (one.attempt for one in held), owner)\n", ""),),
        ("tests/chaos/test_history.py",),
    ),
)
