"""Workers that claim with the real statements, on SQLite, while clock, decoding and saving are simulated.

A worker here does what `worker.pipeline.decoding` does: it claims ahead of its slots, decodes what it holds in the
order of the claims, and saves every second. How long an item takes is drawn from the seed and the item, not from the
order in which things happen, so the same item takes as long in every world of a seed.

Nothing is really saved, which would take half of the time: a claim reads nothing that a save writes of an item that was
claimed before. So items stay `running`, under leases that nobody looks at.
"""

import datetime as dt
import heapq
import math
import random
import sqlite3
import tempfile
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path

from sqlalchemy import delete, event, func, insert, select

from db import schema
from db.base import new_id
from db.batches import batches
from db.models import Item, Job, Preference, Tenant, TenantShare
from db.queries import claims, items, jobs
from db.queries.items import NewItem
from db.queries.jobs import Schedule
from db.queries.positions import Positions
from db.session import Database
from domain.attempts import ClaimedItem
from domain.priorities import Priority
from worker.pipeline.pace import Pace

DIGEST = "d" * 64
SAVE_SECONDS = 1.0
SHORTEST_SECONDS, LONGEST_SECONDS = 0.5, 4.0
BEGINNING = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True)
class Submission:
    """A job to come: whose, when, how many items, and in how many groups; the last groups are rare."""

    tenant: str
    at: float
    num_items: int
    num_groups: int = 4
    weight: float = 1.0
    priority: Priority = Priority.NORMAL


@dataclass
class JobLog:
    """What became of one job."""

    submission: Submission
    first_item: int
    claims: list[tuple[float, int]] = field(default_factory=list)
    """When, and which position."""
    num_saved: int = 0
    ended_at: float | None = None

    @property
    def seconds(self) -> float:
        """From its submission to its end; for ever, where it has not ended."""
        return math.inf if self.ended_at is None else self.ended_at - self.submission.at


class _Worker:
    def __init__(self, num_slots: int, clock: Callable[[], float]) -> None:
        self.owner = new_id()
        self.num_slots = num_slots
        self.positions = Positions(clock)
        self.pace = Pace(clock)
        self.waiting: deque[ClaimedItem] = deque()
        self.decoding: set[int] = set()
        self.unsaved: list[ClaimedItem] = []
        self.saves_soon = False

    @property
    def wanted(self) -> int:
        """How many items to claim, as in `worker.pipeline.decoding`."""
        return self.pace.wanted(num_slots=self.num_slots, num_held=len(self.waiting) + len(self.decoding))


class _Clock:
    """The clock of a database, set by whoever simulates. Times are in seconds from the beginning."""

    def __init__(self, database: Database) -> None:
        self.now = 0.0
        event.listen(database.engine, "connect", self._set)
        database.dispose()  # who is connected has another clock

    def _set(self, connection: sqlite3.Connection, _record: object) -> None:
        connection.create_function("padserve_clock", 1, self._moment)

    def _moment(self, seconds: float) -> str:
        return (BEGINNING + dt.timedelta(seconds=self.now + seconds)).strftime("%Y-%m-%d %H:%M:%S.%f")


class World:
    """An empty database, a simulated clock, and workers. Times are in seconds from the beginning."""

    def __init__(self, database: Database, clock: _Clock, *, seed: int, num_slots: int, num_workers: int = 2) -> None:
        self._clock = clock
        self._clock.now = 0.0
        self.jobs: dict[uuid.UUID, JobLog] = {}
        self.on_claim: Callable[[], None] = lambda: None
        self._seed = seed
        self._database = database
        self._workers = [_Worker(num_slots, lambda: self.now) for _ in range(num_workers)]
        self._order = count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._is_empty = True

    @property
    def now(self) -> float:
        """The simulated time."""
        return self._clock.now

    def submit(self, submission: Submission) -> None:
        """Let a job come at its time."""
        self._at(submission.at, lambda: self._store(submission))

    def run(self, is_over: Callable[[], bool] = lambda: False) -> None:
        """Let time pass until nothing is left to do, or until `is_over`."""
        while self._events and not is_over():
            self._clock.now, _, act = heapq.heappop(self._events)
            act()
            for worker in self._workers:
                self._claim(worker)

    def logs_of(self, tenant: str) -> list[JobLog]:
        """The jobs of one tenant."""
        return [log for log in self.jobs.values() if log.submission.tenant == tenant]

    def _at(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, (seconds, next(self._order), act))

    def _store(self, submission: Submission) -> None:
        hashes = [f"{group:064x}" for group in range(submission.num_groups)]
        draw = random.Random(f"{self._seed} {submission}")
        weights = [1 / (group + 1) ** 2 for group in range(submission.num_groups)]
        groups = draw.choices(range(submission.num_groups), weights, k=submission.num_items)
        with self._database.transaction() as session:
            tenant_id = session.scalars(select(Tenant.id).where(Tenant.name == submission.tenant)).one_or_none()
            if tenant_id is None:
                tenant_id = new_id()
                row = {"id": tenant_id, "name": submission.tenant, "weight": submission.weight, "created_at": BEGINNING}
                session.execute(insert(Tenant).values(**row))
                bodies = [{"tenant_id": tenant_id, "hash": hash_, "body": {}} for hash_ in hashes]
                session.execute(insert(Preference), bodies)
            job_id = jobs.insert_job(
                session,
                tenant_id=tenant_id,
                model="simulated",
                model_digest=DIGEST,
                metadata={},
                num_items=submission.num_items,
                schedule=Schedule(submission.priority),
            )
            rows = (
                NewItem(position, f"{position}", "ada", 1, hashes[group], "[]", "{}")
                for position, group in enumerate(groups)
            )
            for batch in batches(rows, 5000):
                items.insert_items(session, job_id=job_id, model="simulated", model_digest=DIGEST, items=batch)
            first_item = session.scalars(select(func.min(Item.id)).where(Item.job_id == job_id)).one()
        self.jobs[job_id] = JobLog(submission, first_item)
        self._is_empty = False

    def _claim(self, worker: _Worker) -> None:
        wanted = worker.wanted
        if self._is_empty or not wanted:
            return
        with self._database.transaction() as session:
            claimed = claims.claim(
                session,
                owner=worker.owner,
                model_digest=DIGEST,
                limit=wanted,
                lease_seconds=60,
                positions=worker.positions,
            )
        self._is_empty = len(claimed) < wanted
        for item in claimed:
            log = self.jobs[item.job_id]
            log.claims.append((self.now, item.item_id - log.first_item))
        worker.waiting.extend(claimed)
        self._decode(worker)
        self.on_claim()

    def _decode(self, worker: _Worker) -> None:
        while worker.waiting and len(worker.decoding) < worker.num_slots:
            item = worker.waiting.popleft()
            worker.decoding.add(item.item_id)
            log = self.jobs[item.job_id]
            place = f"{self._seed} {log.submission.tenant} {item.item_id - log.first_item}"
            seconds = random.Random(place).uniform(SHORTEST_SECONDS, LONGEST_SECONDS)
            self._at(self.now + seconds, partial(self._finish, worker, item))

    def _finish(self, worker: _Worker, item: ClaimedItem) -> None:
        worker.decoding.remove(item.item_id)
        worker.pace.finish(1)
        worker.unsaved.append(item)
        self.jobs[item.job_id].num_saved += 1
        if not worker.saves_soon:
            worker.saves_soon = True
            self._at(self.now + SAVE_SECONDS, lambda: self._save(worker))
        self._decode(worker)

    def _save(self, worker: _Worker) -> None:
        for job_id in {item.job_id for item in worker.unsaved}:
            log = self.jobs[job_id]
            if log.num_saved == log.submission.num_items and log.ended_at is None:
                log.ended_at = self.now
        worker.unsaved.clear()
        worker.saves_soon = False


@contextmanager
def worlds() -> Iterator[Callable[..., World]]:
    """Makes worlds one after the other, on one database that is emptied for each; in memory, where files can be."""
    shared_memory = Path("/dev/shm")  # noqa: S108 - a folder of our own in it
    with tempfile.TemporaryDirectory(dir=shared_memory if shared_memory.is_dir() else None) as folder:
        database = Database(f"sqlite:///{Path(folder, 'worlds.db')}")
        schema.upgrade(database)
        event.listen(database.engine, "connect", _wait_for_no_disk)
        clock = _Clock(database)

        def make(seed: int, **options: int) -> World:
            with database.transaction() as session:
                for table in (TenantShare, Item, Job, Preference, Tenant):
                    session.execute(delete(table))
            return World(database, clock, seed=seed, **options)

        yield make
        database.dispose()


def _wait_for_no_disk(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA synchronous=OFF")
