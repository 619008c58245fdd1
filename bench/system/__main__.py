"""`python -m bench.system`: what everything but the model costs; the table of docs/scaling.md.

python -m bench.system                                       every scene on both databases (about ten minutes)
python -m bench.system --scenes throughput --slots 16 --workers 1 --databases postgresql
"""

import argparse
import datetime as dt
import os
import platform
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from importlib.metadata import version

from bench.system import counting, queue_costs, serving, throughput
from bench.system.databases import KINDS, Databases
from bench.system.table import Measured, rendered

SCENES = ("throughput", "peer", "metrics", "queue", "snapshot", "acceptance", "reading", "latency", "polling")
TOLD_TO_END = 128 + signal.SIGTERM
ITEMS_PER_PEER = 10
"""The naive peer gets a part of the items: it is that much slower."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    given = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TOLD_TO_END))  # so that every process it started is ended, too
    sys.stdout.write(f"{conditions()}\n\n")
    rows: list[Measured] = []
    with ExitStack() as stack:
        for row in measured(Databases(stack), given):
            sys.stderr.write(f"{row.scene}: {row.case}: {row.measure}: {row.median:.4g} {row.unit}\n")
            rows.append(row)
    sys.stdout.write(f"{rendered(rows)}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.system", description=__doc__)
    parser.add_argument("--scenes", type=_names, default=SCENES, help=f"of {', '.join(SCENES)}")
    parser.add_argument("--databases", type=_names, default=KINDS, help=f"of {', '.join(KINDS)}")
    parser.add_argument("--slots", type=_numbers, default=(16, 64, 256))
    parser.add_argument("--workers", type=_numbers, default=(1, 2, 4))
    parser.add_argument("--items", type=int, default=20_000, help="of a job")
    parser.add_argument("--large", type=int, default=50_000, help="items of a job to accept or to export")
    parser.add_argument("--polled", type=int, default=200_000, help="items of the job that many ask for")
    parser.add_argument("--filled", type=int, default=2_000_000, help="finished rows in a large table")
    parser.add_argument("--runs", type=int, default=3)
    return parser


def measured(databases: Databases, given: argparse.Namespace) -> Iterator[Measured]:
    """Every scene that was asked for, on every database that was asked for."""
    for kind in given.databases:
        yield from _of_items(databases, kind, given)
        yield from _of_requests(databases, kind, given)


def _of_items(databases: Databases, kind: str, given: argparse.Namespace) -> Iterator[Measured]:
    """What it takes to have many written."""
    runs = {"num_runs": given.runs}
    if "throughput" in given.scenes:
        yield from throughput.whole_system(
            databases, kind, num_items=given.items, slots=given.slots, workers=given.workers, **runs
        )
    if "peer" in given.scenes:
        yield from throughput.naive_peer(databases, kind, num_items=given.items // ITEMS_PER_PEER, **runs)
    if "metrics" in given.scenes:
        yield from counting.counting(databases, kind, num_items=given.items, num_slots=given.slots[0], **runs)
    if "queue" in given.scenes:
        yield from queue_costs.by_table_size(
            databases, kind, num_items=given.items // 2, num_filled=given.filled, **runs
        )
    if "snapshot" in given.scenes and kind == "postgresql":
        yield from queue_costs.under_an_old_snapshot(databases, num_items=2 * given.large)


def _of_requests(databases: Databases, kind: str, given: argparse.Namespace) -> Iterator[Measured]:
    """What the API does meanwhile."""
    runs = {"num_runs": given.runs}
    if "acceptance" in given.scenes:
        yield from serving.acceptance(databases, kind, num_items=given.large, **runs)
    if "reading" in given.scenes:
        yield from serving.reading(databases, kind, num_items=given.large, num_filled=given.filled, **runs)
    if "latency" in given.scenes:
        yield from serving.latency(databases, kind)
    if "polling" in given.scenes:
        yield from serving.polling(databases, kind, num_items=given.polled)


def conditions() -> str:
    """When, where, with what, and how busy the machine was at the beginning."""
    packages = ", ".join(
        f"{name} {version(name)}" for name in ("sqlalchemy", "psycopg", "celery", "fastapi", "pydantic")
    )
    load = " ".join(f"{each:.2f}" for each in os.getloadavg())
    return (
        f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores, load before {load}, "
        f"Python {platform.python_version()}, {packages}; PostgreSQL without fsync, SQLite in WAL"
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


if __name__ == "__main__":
    sys.exit(main())
