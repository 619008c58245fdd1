"""What makes turns fair: between tenants, between one tenant's jobs, and within a job."""

from tests.mutations.mechanism import Mechanism

TURNS = (
    Mechanism(
        "the ageing of a class that was passed over",
        "db/queries/fairness.py",
        (("steps = int((each.read_at - since).total_seconds() / AGEING_SECONDS)", "steps = 0"),),
        ("tests/db/test_fairness.py",),
    ),
    Mechanism(
        "the priority of a job",
        "db/queries/fairness.py",
        (("return max(each.rank - steps, 0), since", "return 0, since"),),
        ("tests/db/test_fairness.py",),
    ),
    Mechanism(
        "the stretches of a job",
        "db/queries/items.py",
        (("item.position // ITEMS_PER_STRETCH", "0 * ITEMS_PER_STRETCH"),),
        ("tests/db/test_jobs_store.py",),
    ),
    Mechanism(
        "the credit of who had no work",
        "db/queries/fairness.py",
        (("    credited = now - CREDIT\n", "    credited = now\n"),),
        ("tests/db/test_fairness.py",),
    ),
    Mechanism(
        "nobody saves up a share",
        "db/queries/fairness.py",
        (
            (
                "    return case((served_to > credited, served_to), else_=newcomer)",
                "    return case((served_to.is_not(None), served_to), else_=newcomer)",
            ),
        ),
        ("tests/db/test_fairness.py",),
    ),
    Mechanism(
        "newcomers push nobody aside",
        "db/queries/fairness.py",
        (("newcomer = case((before_others > credited, before_others), else_=credited)", "newcomer = credited"),),
        ("tests/db/test_fairness.py",),
    ),
    Mechanism(
        "the parts of a claim",
        "db/queries/fairness.py",
        (("max(math.ceil(limit / PARTS), LEAST_PART)", "limit"),),
        ("tests/db/test_fairness.py",),
    ),
    Mechanism(
        "a virtual time that is added to",
        "db/queries/fairness.py",
        (
            (
                '    start = _larger(TenantShare.virtual_time, bindparam("start", type_=Double()))',
                '    start = bindparam("start", type_=Double())',
            ),
        ),
        ("tests/db/test_fairness.py",),
    ),
)
