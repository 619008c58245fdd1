"""`python -m tests.chaos`: thousands of items through a stack whose every process is killed, paused and flushed.

    make chaos
    make chaos CHAOS="--seed 7 --items 2000 --seconds 60 --database sqlite"

The seed decides what happens to what and in which order; when exactly, the machine decides. Ends with 1 and a line for
each broken promise, and then keeps the folder with the logs.
"""

import argparse
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from db import schema
from db.session import Database
from tests.chaos.databases import DatabaseUnderFire, postgresql_of_our_own, sqlite
from tests.chaos.run import Plan, Report, run
from tests.chaos.stack import LEASE_SECONDS


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Kill everything, lose nothing.")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=150.0, help="for how long everything is hurt")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--database", choices=("postgresql", "sqlite"), default="postgresql")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="padserve-chaos-logs-"))
    say(
        f"seed {options.seed}, {options.items} items, {options.seconds:.0f} seconds, {options.database}; logs: {folder}"
    )
    plan = Plan(options.seed, options.items, options.seconds, num_workers=options.workers)
    with a_database(options.database, folder) as under_fire:
        report = run(plan, under_fire, folder)
    tell(report, options.seed)
    if not report.broken:
        shutil.rmtree(folder)
    return 1 if report.broken else 0


@contextmanager
def a_database(kind: str, folder: Path) -> Iterator[DatabaseUnderFire]:
    """Migrated, empty, and ours alone."""
    if kind == "postgresql":
        with postgresql_of_our_own(LEASE_SECONDS) as under_fire:
            yield under_fire
    else:
        under_fire = sqlite(folder / "padserve.db", LEASE_SECONDS)
        database = Database(under_fire.url)
        schema.upgrade(database)
        database.dispose()
        yield under_fire


def tell(report: Report, seed: int) -> None:
    """What happened, and what came of it."""
    for name, times in sorted(report.num_suffered.items()):
        say(f"  {times:4} x {name}")
    say("  jobs: " + ", ".join(f"{times} {kind}" for kind, times in sorted(report.num_of_kind.items())))
    say(
        f"{report.num_items} items in {report.seconds:.0f} + {report.rest_seconds:.0f} seconds: {report.num_attempts} "
        f"attempts that counted, at most {report.most_attempts} for one item"
    )
    for line in report.broken:
        say(f"  BROKEN {line}")
    say(f"seed {seed}: {'every promise was kept' if not report.broken else f'{len(report.broken)} broken promises'}")


def say(line: str) -> None:
    """At once, also into a pipe."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
