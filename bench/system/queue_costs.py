"""What a claim and a save cost per item: one process at the real statements, without engine, API and Redis."""

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import fmean
from typing import TypeVar

from sqlalchemy import text

from bench.system.databases import TEXT, Databases, add_job, fill, opened
from bench.system.table import Measured
from db.queries import claims
from db.queries.positions import Positions
from db.session import Database
from domain.attempts import ClaimedItem, Outcome
from tests.builders import DIGEST
from worker.pipeline.pace import MOST_AHEAD

T = TypeVar("T")


@dataclass
class Costs:
    """Seconds per item of each claim and each save, in their order."""

    claims: list[float] = field(default_factory=list)
    saves: list[float] = field(default_factory=list)

    def of(self, part: slice) -> tuple[float, float]:
        """The means of a part of them, in microseconds: of a claim, and of a save."""
        claimed, saved = (1e6 * fmean(each[part]) for each in (self.claims, self.saves))
        return claimed, saved


ALL = slice(None)
LEAST_BATCH = 32
"""As a worker of 16 slots claims whose engine is slow."""


def by_table_size(
    databases: Databases, kind: str, *, num_items: int, num_filled: int, num_runs: int
) -> Iterator[Measured]:
    """In an empty table, and in one of many finished rows."""
    for filled in (0, num_filled):
        with databases.fresh(kind) as url, opened(url) as database:
            fill(database, filled)
            _drained(database, num_items // 4, MOST_AHEAD // 4)  # to warm up
            for batch in (LEAST_BATCH, MOST_AHEAD // 4):
                runs = [_drained(database, num_items, batch).of(ALL) for _ in range(num_runs)]
                case = f"{kind}, {filled:,} finished rows, {batch} at a time"
                for measure, values in zip(("claim", "save"), zip(*runs, strict=True), strict=True):
                    yield Measured("queue", case, f"{measure}, per item", values, "us")


def under_an_old_snapshot(databases: Databases, *, num_items: int) -> Iterator[Measured]:
    """On PostgreSQL, while somebody reads as of the beginning: what nobody needs any more cannot be removed."""
    with databases.fresh("postgresql") as url, opened(url) as database:
        _drained(database, num_items // 20, MOST_AHEAD // 4)
        add_job(database, num_items)
        with database.engine.connect() as reader:
            reader.execution_options(isolation_level="REPEATABLE READ").execute(text("SELECT count(*) FROM items"))
            costs = drain(database, MOST_AHEAD // 4)
    quarter = len(costs.claims) // 4
    for name, part in (("first", slice(0, quarter)), ("last", slice(3 * quarter, 4 * quarter))):
        case = f"postgresql, {name} quarter of {num_items:,} items under one snapshot"
        yield Measured("queue", case, "claim, per item", (costs.of(part)[0],), "us")


def _drained(database: Database, num_items: int, batch: int) -> Costs:
    add_job(database, num_items)
    return drain(database, batch)


def drain(database: Database, batch: int) -> Costs:
    """Claim and save until nothing is queued, `batch` items at a time."""
    costs, owner, positions = Costs(), uuid.uuid4(), Positions()

    def claim() -> list[ClaimedItem]:
        with database.transaction() as session:
            return claims.claim(
                session, owner=owner, model_digest=DIGEST, limit=batch, lease_seconds=60, positions=positions
            )

    def save(outcomes: list[Outcome]) -> None:
        with database.transaction() as session:
            claims.save(session, owner=owner, outcomes=outcomes)

    while claimed := _timed(claim, costs.claims):
        outcomes = [
            Outcome(item.item_id, item.attempt, TEXT, "stop", num_prompt_tokens=60, num_completion_tokens=20)
            for item in claimed
        ]
        _timed(lambda outcomes=outcomes: save(outcomes), costs.saves)  # type: ignore[misc] # a default, not a parameter
        costs.claims[-1] /= len(claimed)
        costs.saves[-1] /= len(claimed)
    costs.claims.pop()  # it found nothing
    return costs


def _timed(act: Callable[[], T], seconds: list[float]) -> T:
    began = time.perf_counter()
    result = act()
    seconds.append(time.perf_counter() - began)
    return result
