"""`python -m bench.fairness --seeds 1000`: what the real claim statements do to many tenants, seed by seed.

Prints a line for every hundred seeds and the worst of each measure at the end; exit code 1 where a goal was missed.
A seed takes two or three seconds, with `--big-items 50000` half a minute.
"""

import argparse
import math
import sys
import time
from collections.abc import Sequence

from bench.fairness.scenes import Verdict, judge
from bench.fairness.world import worlds
from db.queries.items import ITEMS_PER_STRETCH

MOST_RATIO = 2.0
LEAST_JAIN = 0.95
EVERY = 100


def main(arguments: Sequence[str] | None = None) -> int:
    """Play the seeds; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.fairness", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--big-items", type=int, default=3000, help="of the tenant that has more than the others")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no further seed after that long")
    given = parser.parse_args(arguments)
    verdicts: list[Verdict] = []
    end = time.monotonic() + 60 * given.minutes
    with worlds() as make:
        for seed in range(given.first, given.first + given.seeds):
            if time.monotonic() > end:
                break
            verdicts.append(judge(make, seed, big_items=given.big_items))
            if len(verdicts) % EVERY == 0:
                _say(verdicts)
    _say(verdicts)
    missed = [verdict for verdict in verdicts if not is_met(verdict)]
    for verdict in missed:
        sys.stdout.write(f"missed: {verdict}\n")
    return 1 if missed else 0


def is_met(verdict: Verdict) -> bool:
    """Whether a seed shows what is promised."""
    return (
        max(verdict.crowd_ratio, verdict.stream_ratio) <= MOST_RATIO
        and min(verdict.crowd_jain, verdict.weights_jain) >= LEAST_JAIN
        and verdict.overtaken < ITEMS_PER_STRETCH
    )


def _say(verdicts: Sequence[Verdict]) -> None:
    sys.stdout.write(
        f"{len(verdicts)} seeds, the worst of each: "
        f"p95 beside a big job {max(one.crowd_ratio for one in verdicts):.2f}x at once, "
        f"{max(one.stream_ratio for one in verdicts):.2f}x one after the other; "
        f"Jain {min(one.crowd_jain for one in verdicts):.3f} at once, "
        f"{min(one.weights_jain for one in verdicts):.3f} by weights; "
        f"overtaken by {max(one.overtaken for one in verdicts)} of {ITEMS_PER_STRETCH}\n"
    )
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
