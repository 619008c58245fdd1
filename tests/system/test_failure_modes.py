"""What else happens to a queue, on real processes: hasty and doubled messages, zombies, deploys, skewed clocks."""

import datetime as dt
import signal
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import redis
from sqlalchemy import URL, text, update
from sqlalchemy.orm import Session

from db.models import Job
from db.queries.audit import leftovers, violations
from db.queries.history import Said
from db.session import Database
from domain.states import ItemState
from tests.builders import DIGEST, a_job, items_of, preference, states_of
from tests.chaos.history import Event, broken_rules, said_in, unfinished, unsaid
from tests.chaos.journal import keep_journal, read_journal
from tests.system.processes import ECHO_WORKER, Process, Stack, a_forking_stack, wait_until
from worker.queue import DECODE, Queue, create_queue, enqueue, queue_name

LEASE_SECONDS = 2
SETTINGS = {"model": "tiny", "lease_seconds": LEASE_SECONDS, "reconcile_seconds": 0.2, "log_level": "debug"}
HELD = ["endless", "slow", "slow", "slow"]
"""Of which a worker holds all for more than two seconds."""

pytestmark = pytest.mark.timeout(300)


class Town:
    """A database with a journal, a Redis, and workers with the test decoder."""

    def __init__(self, stack: Stack, database: Database) -> None:
        self.stack = stack
        self.database = database
        self.queue: Queue = create_queue(f"redis://127.0.0.1:{stack.redis_port}/0")
        self._num_started = 0

    def start_worker(self, *misfortunes: str, drain_seconds: float = 1) -> Process:
        """Another one; it is at work once it has done a job."""
        self._num_started += 1
        command = [sys.executable, str(ECHO_WORKER), *misfortunes]
        settings = {"PADSERVE_DRAIN_SECONDS": str(drain_seconds)}
        return self.stack.start(f"worker-{self._num_started}", command, settings)

    def submit(self, prompts: Sequence[str], not_before: dt.datetime | None = None) -> uuid.UUID:
        return a_job(self.database, [preference("formal")] * len(prompts), prompts=prompts, not_before=not_before)

    def states(self, job_id: uuid.UUID) -> set[ItemState]:
        return set(states_of(self.database, job_id))

    def wait_until_running(self, job_id: uuid.UUID) -> None:
        wait_until(lambda: self.states(job_id) == {ItemState.RUNNING}, 60, "a worker holds all of it")

    def wait_until_done(self, job_id: uuid.UUID) -> None:
        wait_until(lambda: self.states(job_id) == {ItemState.SUCCEEDED}, 60, "it is done")

    def attempts(self, job_id: uuid.UUID) -> set[int]:
        return {item.attempt for item in items_of(self.database, job_id)}

    def is_heard(self) -> bool:
        """Whether no message waits."""
        with redis.Redis(port=self.stack.redis_port) as client:
            return not client.llen(f"padserve:{queue_name(DIGEST)}")

    def history(self) -> list[Event]:
        """What was committed, after a look at whether all of it might be, and was done by who held it."""
        with self.database.reading() as session:
            assert violations(session) | leftovers(session, seconds=10) == {}
            committed, strange = read_journal(session)
        said = said_in(self.stack.folder.glob("worker-*.log"))
        assert strange + broken_rules(committed) + unsaid(committed, said) == []
        assert unfinished(committed) == set()
        return committed


@contextmanager
def a_town(url: str, folder: Path) -> Iterator[Town]:
    database = Database(url)
    keep_journal(database)
    with a_forking_stack(folder, url, **SETTINGS) as stack:
        stack.start_redis()
        yield Town(stack, database)
    database.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def town(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Town]:
    with a_town(request.getfixturevalue(f"{request.param}_url"), tmp_path) as town:
        yield town


@pytest.fixture
def postgresql_town(postgresql_url: str, tmp_path: Path) -> Iterator[Town]:
    with a_town(postgresql_url, tmp_path) as town:
        yield town


class HastyDatabase(Database):
    """Sends its message before the commit, and commits only once the message is gone."""

    def __init__(self, url: URL, town: Town) -> None:
        super().__init__(url.render_as_string(hide_password=False))
        self._town = town

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        with super().transaction() as session:
            yield session
            session.flush()
            assert enqueue(self._town.queue, uuid.uuid4(), DIGEST)
            wait_until(self._town.is_heard, 30, "a worker has taken the message")


def test_messages_that_come_too_early_too_often_or_from_another_version_fail_nothing(town: Town) -> None:
    worker = town.start_worker()
    town.wait_until_done(town.submit(["first"]))
    hasty = HastyDatabase(town.database.url, town)

    early = a_job(hasty, [preference("formal")] * 3, prompts=["a", "b", "c"])
    doubled = town.submit(HELD)
    for _ in range(3):
        enqueue(town.queue, doubled, DIGEST)
    for name, arguments in (("padserve.of_tomorrow", [str(doubled)]), (DECODE, [str(doubled), "and more"])):
        town.queue.send_task(name, args=arguments, queue=queue_name(DIGEST))
    town.wait_until_done(early)
    town.wait_until_done(doubled)
    wait_until(town.is_heard, 60, "every message is taken")
    town.wait_until_done(after := town.submit(["after"]))

    assert worker.poll() is None
    assert town.attempts(early) | town.attempts(doubled) | town.attempts(after) == {1}
    assert sum(event.said is Said.CLAIMED for event in town.history()) == 1 + 3 + len(HELD) + 1
    hasty.dispose()


def test_a_worker_that_was_paused_for_longer_than_its_lease_changes_nothing_when_it_goes_on(town: Town) -> None:
    zombie = town.start_worker()
    job_id = town.submit(HELD)
    town.wait_until_running(job_id)
    stopped = [psutil.Process(zombie.pid), *psutil.Process(zombie.pid).children(recursive=True)]
    with town.database.transaction() as session:
        session.connection()  # so that it does not stop as SQLite's one writer, for whom everybody waits
        for process in stopped:
            process.suspend()

    town.start_worker()
    town.wait_until_done(job_id)
    ended = items_of(town.database, job_id)
    for process in stopped:
        process.resume()
    wait_until(lambda: "leases_compared" in town.stack.log("worker-1"), 60, "it finds out")
    zombie.terminate()
    zombie.wait(60)

    assert items_of(town.database, job_id) == ended
    assert town.attempts(job_id) == {2}
    assert {event.said for event in town.history()} == {Said.CLAIMED, Said.EXPIRED, Said.SAVED}


def test_a_worker_that_is_paused_in_the_middle_of_a_claim_keeps_the_others_waiting_for_seconds_only(
    postgresql_town: Town,
) -> None:
    """It has locked its tenant's share, for which every claim of that tenant's has to wait."""
    town = postgresql_town
    paused = town.start_worker()
    town.wait_until_done(town.submit(["first"]))
    job_id = town.submit(["second"], not_before=dt.datetime.now(dt.UTC) + dt.timedelta(days=1))
    with town.database.transaction() as session:
        session.execute(text("LOCK TABLE preferences IN ACCESS EXCLUSIVE MODE"))  # a claim reads them last
        with town.database.transaction() as other:
            other.execute(update(Job).where(Job.id == job_id).values(not_before=None))
        wait_until(lambda: waits_for_a_lock(town.database), 60, "it is in the middle of its claim")
        psutil.Process(paused.pid).suspend()

    town.start_worker()
    town.wait_until_done(job_id)

    psutil.Process(paused.pid).resume()
    town.wait_until_done(town.submit(["after"]))
    town.history()


def waits_for_a_lock(database: Database) -> bool:
    """Whether a statement in this database does."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with database.reading() as session:
        return bool(session.scalar(waiting))


def test_a_worker_that_is_told_to_end_gives_back_untried_what_it_cannot_finish(town: Town) -> None:
    leaving = town.start_worker(drain_seconds=0)
    job_id = town.submit(HELD)
    town.wait_until_running(job_id)

    leaving.send_signal(signal.SIGTERM)

    assert leaving.wait(20) == 0
    assert town.states(job_id) == {ItemState.QUEUED}
    assert town.attempts(job_id) == {0}
    town.start_worker()
    town.wait_until_done(job_id)
    assert {event.said for event in town.history()} == {Said.CLAIMED, Said.RELEASED, Said.SAVED}


@pytest.mark.parametrize("signals", [(signal.SIGQUIT,), (signal.SIGTERM, signal.SIGTERM)], ids=["QUIT", "TERM twice"])
def test_a_worker_ends_in_peace_on_whichever_signal_it_is_told_to_end_by(
    postgresql_town: Town, signals: Sequence[signal.Signals]
) -> None:
    town = postgresql_town
    leaving = town.start_worker(drain_seconds=60)
    town.wait_until_done(town.submit(["first"]))
    assert enqueue(town.queue, uuid.uuid4(), DIGEST)
    wait_until(town.is_heard, 60, "Celery listens: to messages, and to signals")
    job_id = town.submit(HELD)
    town.wait_until_running(job_id)

    for number in signals:
        leaving.send_signal(number)

    assert leaving.wait(60) == 0
    town.wait_until_done(job_id)
    assert town.attempts(job_id) == {1}
    town.history()


def test_workers_whose_clocks_differ_by_an_hour_leave_each_others_leases_alone(postgresql_town: Town) -> None:
    town = postgresql_town
    town.start_worker("ahead")
    held_ahead = town.submit(HELD)
    town.wait_until_running(held_ahead)
    town.start_worker()
    second = town.submit([*HELD, *HELD])

    town.wait_until_done(held_ahead)
    town.wait_until_done(second)

    assert town.attempts(held_ahead) | town.attempts(second) == {1}
    town.history()
