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
                "    is_known = served_to > credited\n",
                "    is_known = served_to.is_not(None)\n",
            ),
        ),
        ("tests/db/test_fairness.py",),
    ),
    Mechanism(
        "newcomers push nobody aside",
        "db/queries/fairness.py",
        (("newcomers_lag = case((joined > credited, joined - credited), else_=0.0)", "newcomers_lag = 0.0 * now"),),
        ("tests/db/test_fairness.py",),
    ),
    Mechanism(
        "a newcomer joins those whose work ends in credit only",
        "db/queries/fairness.py",
        (("ends_in_credit = and_(is_known, served_to + wanted <= now)", "ends_in_credit = is_known"),),
        ("tests/db/test_fairness.py",),
    ),
    Mechanism(
        "who is in credit comes first",
        "db/queries/fairness.py",
        (("in_credit = self._start < self._now", "in_credit = True"),),
        ("tests/db/test_fairness.py",),
    ),
    Mechanism(
        "the lag that is kept",
        "db/queries/fairness.py",
        (('"lag": new.excluded.lag,', '"lag": 0.0 * new.excluded.lag,'), ('"lag": each.lag,', '"lag": 0.0,')),
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
