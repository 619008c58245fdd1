"""One chaos run: jobs are submitted while everything is hurt, then everything is left in peace, then the verdict."""

import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from db.models import Item, Job
from db.queries.keys import create_key, create_tenant
from db.session import Database
from tests.chaos.clients import Client
from tests.chaos.databases import DatabaseUnderFire
from tests.chaos.journal import keep_journal
from tests.chaos.stack import SETTINGS, StackUnderFire
from tests.chaos.verdict import verdict
from tests.fake_decoder import SLOW_SECONDS
from tests.system.processes import KEY, Stack, a_forking_stack, wait_until

LOOK_SECONDS = 0.1
START_SECONDS = 180
BUSY_SHARE = 0.5
LAST_SUBMISSION = 0.8
"""The last job is submitted when that part of the time is over: there is something to hurt until the end."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much, for how long, and by which draws."""

    seed: int
    num_items: int
    seconds: float
    num_jobs: int = 40
    num_workers: int = 3
    standstill_seconds: float = 180.0
    """How long it may take, once there is peace, until another item ends or all is over: machines are slow or busy."""

    @property
    def slow_share(self) -> float:
        """So many slow items that the workers would be busy for `BUSY_SHARE` of the time if nothing went wrong."""
        return min(1.0, BUSY_SHARE * self.seconds * self.num_workers / (SLOW_SECONDS * self.num_items))


@dataclass(frozen=True, slots=True)
class Report:
    """What a run was like; `broken` is empty when every promise was kept."""

    broken: list[str]
    num_suffered: dict[str, int]
    num_of_kind: Mapping[str, int]
    """How many jobs there were of each kind."""
    num_items: int
    num_attempts: int
    most_attempts: int
    seconds: float
    rest_seconds: float


def run(plan: Plan, under_fire: DatabaseUnderFire, folder: Path) -> Report:
    """Make it, on a migrated and empty database."""
    database = Database(under_fire.url)
    keep_journal(database)
    with database.transaction() as session:
        create_key(session, create_tenant(session, "default").id, "test", ["admin"], secret=KEY)
    try:
        with a_forking_stack(folder, under_fire.url, **SETTINGS) as stack:
            return _Run(plan, under_fire, database, stack).run()
    finally:
        database.dispose()


class _Run:
    def __init__(self, plan: Plan, under_fire: DatabaseUnderFire, database: Database, stack: Stack) -> None:
        self._plan = plan
        self._database = database
        self._stack = stack
        self._under_fire = StackUnderFire(stack, under_fire, plan.num_workers, random.Random(plan.seed))
        self._client = Client(
            lambda: stack.client,
            stack.folder,
            random.Random(f"client {plan.seed}"),
            plan.num_items,
            plan.num_jobs,
            plan.seconds * LAST_SUBMISSION,
            plan.slow_share,
        )
        self._num_ended = -1
        self._moved_at = 0.0

    def run(self) -> Report:
        self._under_fire.start()
        wait_until(self._stack.is_ready, START_SECONDS, "a model is served")
        began = time.monotonic()
        self._client.start()
        try:
            self._for_as_long_as(lambda: time.monotonic() < began + self._plan.seconds, self._under_fire.suffer)
        finally:
            self._under_fire.calm_down()
        calm = time.monotonic()
        self._for_as_long_as(lambda: not self._is_over() and self._moves(), self._under_fire.keep_running)
        self._client.join(0)
        return self._report(began, calm)

    def _for_as_long_as(self, condition: Callable[[], bool], act: Callable[[], None]) -> None:
        while condition():
            act()
            time.sleep(LOOK_SECONDS)

    def _is_over(self) -> bool:
        """Everything is accepted, has ended and has been wound up or removed, and the API answers."""
        if not self._client.is_done or not self._stack.api_answers():
            return False
        with self._database.reading() as session:
            is_open = Job.finished_at.is_(None) | Job.is_winding_up | Job.deleted_at.is_not(None)
            return session.scalar(select(func.count()).select_from(Job).where(is_open)) == 0

    def _moves(self) -> bool:
        """Whether an item has ended since this was last asked, or not too long ago."""
        num_ended = self._num_ended
        with suppress(SQLAlchemyError), self._database.reading() as session:  # it may still be starting
            num_ended = session.scalar(select(func.sum(Job.num_succeeded + Job.num_failed + Job.num_cancelled))) or 0
        if num_ended != self._num_ended:
            self._num_ended, self._moved_at = num_ended, time.monotonic()
        return time.monotonic() < self._moved_at + self._plan.standstill_seconds

    def _report(self, began: float, calm: float) -> Report:
        with self._stack.client as client:
            broken = verdict(self._database, client, self._client.submitted, self._under_fire.logs)
        with self._database.reading() as session:
            counted = select(func.count(), func.coalesce(func.sum(Item.attempt), 0), func.max(Item.attempt))
            num_items, num_attempts, most_attempts = session.execute(counted.select_from(Item)).one()
        return Report(
            broken=broken + ([] if num_items == self._client.num_kept else [f"{num_items} items are stored"]),
            num_suffered=dict(self._under_fire.num_suffered),
            num_of_kind=Counter(job.kind.value for job in self._client.submitted),
            num_items=num_items,
            num_attempts=num_attempts,
            most_attempts=most_attempts,
            seconds=calm - began,
            rest_seconds=time.monotonic() - calm,
        )
