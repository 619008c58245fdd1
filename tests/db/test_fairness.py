"""Whose items are next: the plan as a pure function, and what claims make of it on both databases."""

import datetime as dt
import threading
import uuid
from collections import Counter

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from db.models import Job, Tenant, TenantShare
from db.queries import claims, fairness
from db.queries.fairness import AGEING_SECONDS, CREDIT, Candidate, ClaimableJob, plan
from db.queries.items import ITEMS_PER_STRETCH
from db.queries.positions import Positions
from db.session import Database
from domain.attempts import ClaimedItem
from domain.priorities import Priority
from tests.builders import DIGEST, a_job, preference

NOW = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
FORMAL, PLAYFUL = sorted([preference("formal"), preference("playful")], key=lambda each: each.hash)


def a_candidate(
    tenant: int,
    job: int = 0,
    *,
    num_queued: int = 1000,
    start: float = 0.0,
    now: float = 0.0,
    lag: float = 0.0,
    weight: float = 1.0,
    priority: Priority = Priority.NORMAL,
    waited: float = 0.0,
) -> Candidate:
    return Candidate(
        ClaimableJob(uuid.UUID(int=100 * tenant + job), uuid.UUID(int=tenant)),
        num_queued,
        rank=priority.rank,
        weight=weight,
        now=now,
        start=start,
        lag=lag,
        since=NOW - dt.timedelta(seconds=waited),
        read_at=NOW,
    )


def planned(*wanting: Candidate, limit: int = 64) -> list[tuple[int, int]]:
    """The numbers of the jobs in the order of their turns, each with how many items."""
    return [(job.id.int, num_items) for job, num_items in plan(wanting, limit).items()]


def test_one_tenant_alone_gets_the_whole_claim() -> None:
    assert planned(a_candidate(1)) == [(100, 64)]


def test_tenants_that_were_served_alike_share_a_claim() -> None:
    assert planned(a_candidate(1), a_candidate(2)) == [(100, 32), (200, 32)]


def test_the_tenant_that_was_served_least_comes_first_until_it_has_caught_up() -> None:
    assert planned(a_candidate(1, start=40.0), a_candidate(2, start=0.0)) == [(200, 48), (100, 16)]


def test_those_in_credit_come_first_and_of_them_whoever_lags_least() -> None:
    out_of_credit = a_candidate(1, now=100.0, start=100.0)
    first = a_candidate(2, num_queued=16, now=100.0, start=90.0, lag=0.0)
    second = a_candidate(3, num_queued=16, now=100.0, start=60.0, lag=80.0)

    assert planned(out_of_credit, first, second) == [(200, 16), (300, 16), (100, 32)]


def test_no_lag_is_held_against_who_has_used_its_credit_up() -> None:
    lagged = a_candidate(1, now=100.0, start=90.0, lag=80.0)

    assert planned(lagged, a_candidate(2, now=100.0, start=130.0)) == [(100, 48), (200, 16)]


def test_a_weight_of_three_gets_three_times_as_much() -> None:
    assert dict(planned(a_candidate(1), a_candidate(2, weight=3.0))) == {100: 16, 200: 48}


def test_what_one_job_leaves_of_a_claim_is_for_the_next() -> None:
    few = a_candidate(1, 0, num_queued=3), a_candidate(1, 1, num_queued=4)

    assert planned(*few, a_candidate(2, num_queued=5), limit=64) == [(100, 3), (200, 5), (101, 4)]


def test_a_small_claim_is_not_cut_into_parts_that_are_smaller_still() -> None:
    assert planned(a_candidate(1), a_candidate(2), limit=10) == [(100, 8), (200, 2)]


def test_priority_orders_a_tenants_own_jobs_and_age_those_of_one_priority() -> None:
    jobs = [
        a_candidate(1, 0, num_queued=4, priority=Priority.BULK),
        a_candidate(1, 1, num_queued=4),
        a_candidate(1, 2, num_queued=4),
        a_candidate(1, 3, num_queued=4, priority=Priority.INTERACTIVE),
    ]

    assert planned(*jobs) == [(103, 4), (101, 4), (102, 4), (100, 4)]


def test_priority_takes_nothing_from_another_tenant() -> None:
    urgent = a_candidate(1, priority=Priority.INTERACTIVE)

    assert planned(urgent, a_candidate(2, priority=Priority.BULK)) == [(100, 32), (200, 32)]


def test_a_class_that_was_passed_over_for_long_enough_is_served_once() -> None:
    interactive = a_candidate(1, 0, priority=Priority.INTERACTIVE)
    waited = a_candidate(1, 1, num_queued=8, priority=Priority.BULK, waited=2 * AGEING_SECONDS)
    not_yet = a_candidate(1, 1, num_queued=8, priority=Priority.BULK, waited=2 * AGEING_SECONDS - 1)

    assert planned(interactive, waited) == [(101, 8), (100, 56)]
    assert planned(interactive, not_yet) == [(100, 64)]
    much = a_candidate(1, 1, priority=Priority.BULK, waited=2 * AGEING_SECONDS)
    assert planned(interactive, much, a_candidate(2)) == [(101, 16), (200, 32), (100, 16)], "once in a claim"


def claim(database: Database, limit: int = 8, owner: int = 1, positions: Positions | None = None) -> list[ClaimedItem]:
    with database.transaction() as session:
        return claims.claim(
            session,
            owner=uuid.UUID(int=owner),
            model_digest=DIGEST,
            limit=limit,
            lease_seconds=60,
            positions=positions,
        )


def weigh(database: Database, tenant: str, weight: float) -> None:
    with database.transaction() as session:
        session.execute(update(Tenant).where(Tenant.name == tenant).values(weight=weight))


def test_a_small_job_goes_through_beside_a_large_one_of_another_tenant(database: Database) -> None:
    large = a_job(database, [FORMAL] * 200, tenant="large")
    for _ in range(10):
        claim(database)
    small = a_job(database, [FORMAL] * 20, tenant="small")

    jobs = [item.job_id for _ in range(4) for item in claim(database)]

    assert jobs[:20] == [small] * 20
    assert jobs[20:] == [large] * 12


def served(database: Database, num_claims: int) -> Counter[uuid.UUID]:
    """How many items of which job so many claims take."""
    return Counter(item.job_id for _ in range(num_claims) for item in claim(database))


def test_who_comes_later_does_not_push_aside_who_came_earlier(database: Database) -> None:
    long_ago = a_job(database, tenant="later")
    assert [item.job_id for item in claim(database, 1)] == [long_ago]
    a_job(database, [FORMAL] * 200, tenant="large")
    served(database, 20)
    earlier = a_job(database, [FORMAL] * 50, tenant="earlier")
    served(database, 4)
    later = a_job(database, [FORMAL] * 50, tenant="later")

    assert served(database, 1) == {later: 8}
    assert served(database, 4) == {earlier: 16, later: 16}, "32 of 50 were its, and it is not made to wait for 32 more"


def test_of_many_who_come_one_after_the_other_none_is_pushed_aside_and_all_keep_their_credit(
    database: Database,
) -> None:
    large = a_job(database, [FORMAL] * 300, tenant="large")
    served(database, 20)
    small = [a_job(database, [FORMAL] * 50, tenant="small-0")]
    for number in range(1, 5):  # each joins when the one before it has had most of what it wants
        served(database, 6)
        small.append(a_job(database, [FORMAL] * 50, tenant=f"small-{number}"))
    *_, earlier, later = small

    assert served(database, 1) == {later: 8}
    assert served(database, 4) == {earlier: 8, later: 24}, "the last eight of its items wait for no more than these"
    assert large not in served(database, 2), "what was served before it came is not taken off its credit"


def test_nobody_begins_before_its_credit(database: Database) -> None:
    a_job(database, [FORMAL] * 200, tenant="large")
    served(database, 20)
    earlier = a_job(database, [FORMAL] * 50, tenant="earlier")
    claim(database, 4)
    later = a_job(database, [FORMAL] * 50, tenant="later")

    assert [item.job_id for _ in range(2) for item in claim(database, 4)] == [later] * 4 + [earlier] * 4


def test_those_who_come_at_once_begin_alike_whoever_of_them_is_served_first(database: Database) -> None:
    a_job(database, [FORMAL] * 200, tenant="large")
    served(database, 20)
    earlier = a_job(database, [FORMAL] * 50, tenant="earlier")
    served(database, 4)
    later = [a_job(database, [FORMAL] * 50, tenant=f"later-{number}") for number in range(3)]

    assert served(database, 3) == dict.fromkeys(later, 8)
    assert served(database, 4) == dict.fromkeys([earlier, *later], 8)


def test_the_credit_that_a_large_job_has_used_alone_takes_none_from_a_small_one(database: Database) -> None:
    for _ in range(3):
        a_job(database, [FORMAL] * 60, tenant="many")
    assert served(database, 8).total() == CREDIT / 2
    small = a_job(database, [FORMAL] * 50, tenant="small")

    assert served(database, 6) == {small: 48}, "each of the jobs fits in the credit, but not all of them do"


def test_what_fits_in_a_tenants_credit_goes_by_its_weight(database: Database) -> None:
    heavy = a_job(database, [FORMAL] * 200, tenant="heavy")
    weigh(database, "heavy", 2.0)
    served(database, 8)
    small = a_job(database, [FORMAL] * 50, tenant="small")

    assert served(database, 4) == {small: 16, heavy: 16}


def test_tenants_with_work_are_served_by_their_weights(database: Database) -> None:
    jobs = {tenant: a_job(database, [FORMAL] * 200, tenant=tenant) for tenant in ("one", "two")}
    weigh(database, "two", 3.0)

    taken = Counter(item.job_id for _ in range(20) for item in claim(database))

    assert (taken[jobs["one"]], taken[jobs["two"]]) == (40, 120)


def test_a_tenant_does_not_save_up_what_it_did_not_want(database: Database) -> None:
    busy = a_job(database, [FORMAL] * 900, tenant="busy")
    a_job(database, [FORMAL], tenant="back")
    claim(database, 2)
    for _ in range(20):
        claim(database, 16)
    back = a_job(database, [FORMAL] * 400, tenant="back")

    taken = Counter(item.job_id for _ in range(20) for item in claim(database, 16))

    assert taken[busy] + taken[back] == 320
    assert CREDIT - 16 <= taken[back] - taken[busy] <= CREDIT + 32


def test_workers_that_claim_at_once_charge_all_that_they_take(database: Database) -> None:
    for tenant in ("one", "two"):
        a_job(database, [FORMAL] * 60, tenant=tenant)
    barrier = threading.Barrier(3)

    def work(owner: int) -> None:
        barrier.wait()
        while claim(database, 10, owner):
            pass

    threads = [threading.Thread(target=work, args=(owner,)) for owner in range(1, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    with database.reading() as session:
        served = session.scalars(select(TenantShare.virtual_time)).all()
    # A charge that is lost would leave less; who is first claimed for later begins later, by what the other had then.
    assert len(served) == 2
    assert all(60.0 <= each + CREDIT <= 120.0 for each in served)


def test_an_interactive_job_overtakes_its_tenants_bulk_one_and_the_bulk_one_ages(database: Database) -> None:
    bulk = a_job(database, [FORMAL] * 50, priority=Priority.BULK)
    interactive = a_job(database, [FORMAL] * 50, priority=Priority.INTERACTIVE)
    with database.transaction() as session:
        long_ago = NOW.replace(year=2000)
        first = [item.job_id for item in claims_of(session, 4)]
        session.execute(update(Job).where(Job.id == bulk).values(created_at=long_ago))
        aged = [item.job_id for item in claims_of(session, 4)]
        after = [item.job_id for item in claims_of(session, 4)]

    assert (first, aged, after) == ([interactive] * 4, [bulk] * 4, [interactive] * 4)


def claims_of(session: Session, limit: int) -> list[ClaimedItem]:
    return claims.claim(session, owner=uuid.UUID(int=1), model_digest=DIGEST, limit=limit, lease_seconds=60)


def test_a_rare_group_waits_for_no_more_than_a_stretch_of_its_job(database: Database) -> None:
    rare_at = 5
    groups = [PLAYFUL if position == rare_at else FORMAL for position in range(ITEMS_PER_STRETCH + 20)]
    a_job(database, groups)
    positions = Positions()

    order = [item.item_id for _ in range(9) for item in claim(database, 128, positions=positions)]

    first = min(order)
    assert order[: ITEMS_PER_STRETCH - 1] == [
        first + position for position in range(ITEMS_PER_STRETCH) if position != rare_at
    ]
    assert order[ITEMS_PER_STRETCH - 1] == first + rare_at


def test_a_claim_of_many_small_jobs_looks_a_bounded_number_of_times(database: Database) -> None:
    num_jobs = (claims.MAX_LOOKS + 1) * fairness.JOBS_PER_LOOK
    for _ in range(num_jobs):
        a_job(database)

    assert len(claim(database, num_jobs)) == claims.MAX_LOOKS * fairness.JOBS_PER_LOOK
    assert len(claim(database, num_jobs)) == fairness.JOBS_PER_LOOK
