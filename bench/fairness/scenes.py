"""What is played in a world, and what is measured of it: waiting, shares, and how far grouping overtakes."""

import math
import random
from bisect import bisect_right, insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from bench.fairness.world import JobLog, Submission, World
from domain.priorities import Priority

BIG = "big"
NUM_SMALL = 20
WEIGHTS = (1.0, 2.0, 4.0)
ITEMS_PER_SLOT = 3

Make = Callable[..., World]


@dataclass(frozen=True)
class Verdict:
    """What one seed showed."""

    seed: int
    crowd_ratio: float
    """The small tenants' p95 with the big one's job before theirs, to the same without it; all come at once."""
    stream_ratio: float
    """The same where the small ones come one after the other while the big one's job is under way."""
    crowd_jain: float
    """Of what all 21 tenants had been given when the first of them had no more to want."""
    weights_jain: float
    """Of what tenants of different weights and numbers of jobs were given, each by its weight."""
    overtaken: int
    """By how many later items of its own job an item was overtaken at most."""


def judge(make: Make, seed: int, *, big_items: int, small_items: int = 50) -> Verdict:
    """Every scene of one seed, at two workers whose slots a small job fills one and a half times."""
    make = partial(make, num_slots=small_items // ITEMS_PER_SLOT)
    draw = random.Random(seed)
    crowd = [Submission(f"small-{number}", draw.uniform(0, 1), small_items) for number in range(NUM_SMALL)]
    in_stream = (5, 3 * small_items)  # seconds: about half of what the workers can do is asked for
    stream = [Submission(f"small-{number}", draw.uniform(*in_stream), small_items) for number in range(NUM_SMALL)]
    big = Submission(BIG, 0.0, big_items, num_groups=50)
    crowd_ratio, crowd_jain, crowd_overtaken = _beside(make, seed, big, crowd)
    stream_ratio, _, stream_overtaken = _beside(make, seed, big, stream)
    return Verdict(
        seed,
        crowd_ratio,
        stream_ratio,
        crowd_jain,
        _weights(make, seed, draw, num_items=24 * small_items),
        max(crowd_overtaken, stream_overtaken),
    )


def _beside(make: Make, seed: int, big: Submission, small: Sequence[Submission]) -> tuple[float, float, int]:
    alone = _play(make(seed), small)
    world = make(seed)
    shares: list[float] = []

    def note_shares() -> None:
        given = [(len(log.claims), log.submission.num_items) for log in world.jobs.values()]
        if not shares and any(taken == wanted for taken, wanted in given):
            shares.append(jain([taken for taken, _ in given]))

    world.on_claim = note_shares
    beside = _play(world, [big, *small])
    ratio = p95([log.seconds for log in beside]) / p95([log.seconds for log in alone])
    return ratio, shares[0], max(most_overtaken(log) for log in world.jobs.values())


def _play(world: World, submissions: Sequence[Submission]) -> list[JobLog]:
    """Until every small job has ended; returns those."""
    for submission in submissions:
        world.submit(submission)
    num_small = sum(submission.tenant != BIG for submission in submissions)

    def small() -> list[JobLog]:
        return [log for log in world.jobs.values() if log.submission.tenant != BIG]

    world.run(lambda: len(small()) == num_small and all(log.ended_at is not None for log in small()))
    return small()


def _weights(make: Make, seed: int, draw: random.Random, *, num_items: int) -> float:
    """Six tenants that all want more of these items than they get: with one job or many, of any priority."""
    world = make(seed)
    tenants = {f"tenant-{number}": draw.choice(WEIGHTS) for number in range(6)}
    for tenant, weight in tenants.items():
        num_jobs = draw.choice((1, 3, 12))
        for _ in range(num_jobs):
            at, priority = draw.uniform(0, 1), draw.choice(list(Priority))
            world.submit(Submission(tenant, at, num_items // num_jobs, weight=weight, priority=priority))

    def given(tenant: str) -> int:
        return sum(len(log.claims) for log in world.logs_of(tenant))

    world.run(lambda: sum(len(log.claims) for log in world.jobs.values()) >= num_items)
    return jain([given(tenant) / weight for tenant, weight in tenants.items()])


def jain(shares: Sequence[float]) -> float:
    """Jain's index: 1 where all are equal, 1 / n where one has everything."""
    return sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares))


def p95(values: Sequence[float]) -> float:
    """The value that 95 of 100 do not exceed."""
    return sorted(values)[math.ceil(0.95 * len(values)) - 1]


def most_overtaken(log: JobLog) -> int:
    """By how many later items an item of the job was overtaken at most, by the order of its claims."""
    claimed: list[int] = []
    most = 0
    for _, position in log.claims:
        most = max(most, len(claimed) - bisect_right(claimed, position))
        insort(claimed, position)
    return most
