"""A worker outlives whatever passes: what is accepted meanwhile is decoded by the same process, without a restart."""

import shutil
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import redis
from sqlalchemy import make_url, text

from db.queries.workers import worker_status
from db.session import Database
from domain.states import ItemState, WorkerState
from tests.builders import DIGEST, a_job, preference, states_of
from tests.servers import administer, redis_executable
from tests.swallowing import connect_to_postgresql, swallowing_proxy
from tests.system.processes import ECHO_WORKER, Process, Stack, a_forking_stack, wait_until
from worker.queue import create_queue, enqueue, queue_name

NUM_MESSAGES = 12
NUM_ITEMS = 20

pytestmark = pytest.mark.timeout(300)


class FaultyStack:
    """A database, a Redis that can be made to refuse, and a worker with the test decoder."""

    def __init__(self, stack: Stack, database: Database) -> None:
        self.stack = stack
        self.database = database
        self.data = stack.folder / "redis"
        self.redis_process: Process | None = None

    @property
    def redis(self) -> "redis.Redis":
        return redis.Redis(port=self.stack.redis_port)

    def start_redis(self) -> None:
        self.data.mkdir(exist_ok=True)
        options = ("--port", self.stack.redis_port, "--bind", "127.0.0.1", "--dir", self.data, "--save", "")
        self.redis_process = self.stack.start("redis", [redis_executable(), *map(str, options)])
        wait_until(self.stack.redis_answers, 30, "Redis answers")

    def start_worker(self, *misfortunes: str) -> Process:
        return self.stack.start("worker", [sys.executable, str(ECHO_WORKER), *misfortunes])

    def state(self) -> WorkerState:
        """Of its worker, as the API shows it."""
        with self.database.reading() as session:
            return worker_status(session).state

    def is_ready(self) -> bool:
        return self.state() is WorkerState.READY

    def num_logged(self, event: str) -> int:
        return self.stack.log("worker").count(event)

    def submit(self, prompt: str = "tea") -> uuid.UUID:
        return a_job(self.database, [preference("formal")] * NUM_ITEMS, prompts=[prompt] * NUM_ITEMS)

    def is_done(self, job_id: uuid.UUID) -> bool:
        return set(states_of(self.database, job_id)) == {ItemState.SUCCEEDED}


@pytest.fixture(params=["sqlite", "postgresql"])
def stack(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FaultyStack]:
    url: str = request.getfixturevalue(f"{request.param}_url")
    database = Database(url)
    settings = {"model": "tiny", "lease_seconds": 3, "reconcile_seconds": 0.2, "drain_seconds": 2}
    with a_forking_stack(tmp_path, url, **settings) as stack:
        yield FaultyStack(stack, database)
    database.dispose()


@pytest.fixture
def postgresql_stack(postgresql_url: str, tmp_path: Path) -> Iterator[FaultyStack]:
    database = Database(postgresql_url)
    settings = {"model": "tiny", "lease_seconds": 3, "reconcile_seconds": 0.2, "drain_seconds": 2}
    with a_forking_stack(tmp_path, postgresql_url, **settings) as stack:
        yield FaultyStack(stack, database)
    database.dispose()


def fail_to_write_to_disk(stack: FaultyStack) -> None:
    shutil.rmtree(stack.data)
    with stack.redis as client:
        client.config_set("save", "3600 1")
        client.bgsave()
        wait_until(lambda: client.info()["rdb_last_bgsave_status"] == "err", 60, "Redis answers MISCONF")


def mend_the_disk(stack: FaultyStack) -> None:
    with stack.redis as client:
        client.config_set("stop-writes-on-bgsave-error", "no")
        client.config_set("save", "")  # told to end, it would try to save for as long as it is waited for


def setting(name: str, value: str) -> Callable[[FaultyStack], None]:
    def act(stack: FaultyStack) -> None:
        with stack.redis as client:
            client.config_set(name, value)

    return act


def follow(*master: str) -> Callable[[FaultyStack], None]:
    def act(stack: FaultyStack) -> None:
        with stack.redis as client:
            client.replicaof(*master)

    return act


def kill_redis(stack: FaultyStack) -> None:
    assert stack.redis_process is not None
    stack.redis_process.kill()
    stack.redis_process.wait()


FAULTS: dict[str, tuple[Callable[[FaultyStack], None], Callable[[FaultyStack], None]]] = {
    "MISCONF": (fail_to_write_to_disk, mend_the_disk),
    "OOM": (setting("maxmemory", "1"), setting("maxmemory", "0")),
    "READONLY": (follow("127.0.0.1", "1"), follow("NO", "ONE")),
    "gone": (kill_redis, FaultyStack.start_redis),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_accepted_while_redis_refuses_is_decoded_by_the_same_worker(
    postgresql_stack: FaultyStack, fault: str
) -> None:
    stack = postgresql_stack
    begin, end = FAULTS[fault]
    stack.start_redis()
    worker = stack.start_worker()
    wait_until(stack.is_ready, 120, "the worker is ready")
    before = stack.submit()
    wait_until(lambda: stack.is_done(before), 120, "it decodes")

    begin(stack)
    for _ in range(3):
        meanwhile = stack.submit()
        wait_until(partial(stack.is_done, meanwhile), 120, f"it decodes all the same: {fault}")
    end(stack)

    queue = create_queue(f"redis://127.0.0.1:{stack.stack.redis_port}/0")
    wait_until(lambda: enqueue(queue, uuid.uuid4(), DIGEST), 60, "Redis takes messages")
    with stack.redis as client:
        wait_until(lambda: not client.llen(f"padserve:{queue_name(DIGEST)}"), 120, "the worker consumes again")
    assert worker.poll() is None


def test_tables_that_are_missing_for_a_while_cost_no_item(stack: FaultyStack) -> None:
    stack.start_redis()
    worker = stack.start_worker()
    wait_until(stack.is_ready, 120, "the worker is ready")
    job_id = stack.submit("slow")
    wait_until(lambda: ItemState.SUCCEEDED in states_of(stack.database, job_id), 120, "it decodes")

    with stack.database.transaction() as session:
        session.execute(text("ALTER TABLE items RENAME TO items_away"))
    wait_until(lambda: stack.num_logged("database_unavailable") >= 2, 120, "the main path has met the fault")
    wait_until(lambda: stack.num_logged("sweep_postponed") >= 2, 120, "the reconciler has met the fault")
    with stack.database.transaction() as session:
        session.execute(text("ALTER TABLE items_away RENAME TO items"))

    wait_until(lambda: stack.is_done(job_id), 120, "every item has succeeded")
    assert worker.poll() is None


def test_a_database_that_is_read_only_for_a_while_costs_no_item(postgresql_stack: FaultyStack) -> None:
    stack = postgresql_stack
    stack.start_redis()
    worker = stack.start_worker()
    wait_until(stack.is_ready, 120, "the worker is ready")
    url = make_url(stack.database.url)
    job_id = stack.submit("slow")
    wait_until(lambda: ItemState.SUCCEEDED in states_of(stack.database, job_id), 120, "it decodes")

    def read_only(value: str) -> None:
        server, name = url.set(database="postgres"), url.database
        stack.database.dispose()
        administer(server, f"ALTER DATABASE {name} SET default_transaction_read_only = {value}")
        administer(server, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")  # noqa: S608 - ours

    read_only("on")
    wait_until(lambda: stack.num_logged("25006") >= 5, 120, "the worker has been refused again and again")
    read_only("off")

    wait_until(lambda: stack.is_done(job_id), 120, "every item has succeeded")
    assert worker.poll() is None


def test_a_worker_that_starts_before_database_and_redis_waits_for_both(postgresql_url: str, tmp_path: Path) -> None:
    url = make_url(postgresql_url)
    connect = connect_to_postgresql(str(url.query.get("host") or url.host), url.port or 5432)
    with swallowing_proxy(connect) as proxy:
        proxy.swallow()
        through_proxy = url.set(host="127.0.0.1", port=proxy.port, query={}).render_as_string(hide_password=False)
        with a_forking_stack(tmp_path, through_proxy, model="tiny", reconcile_seconds=0.2) as processes:
            stack = FaultyStack(processes, Database(postgresql_url))
            worker = stack.start_worker()
            wait_until(lambda: stack.num_logged("database_unavailable") >= 1, 120, "it waits for the database")
            job_id = stack.submit()

            proxy.forward()
            wait_until(stack.is_ready, 120, "the worker is ready")
            stack.start_redis()

            wait_until(lambda: stack.is_done(job_id), 120, "it decodes")
            assert worker.poll() is None
            stack.database.dispose()


def test_connections_that_swallow_packets_stop_nothing_for_long(postgresql_url: str, tmp_path: Path) -> None:
    url = make_url(postgresql_url)
    connect = connect_to_postgresql(str(url.query.get("host") or url.host), url.port or 5432)
    with swallowing_proxy(connect) as proxy:
        through_proxy = url.set(host="127.0.0.1", port=proxy.port, query={}).render_as_string(hide_password=False)
        settings = {"model": "tiny", "lease_seconds": 3, "reconcile_seconds": 0.2}
        with a_forking_stack(tmp_path, through_proxy, **settings) as processes:
            stack = FaultyStack(processes, Database(postgresql_url))
            stack.start_redis()
            worker = stack.start_worker()
            wait_until(stack.is_ready, 120, "the worker is ready")
            job_id = stack.submit("endless")
            wait_until(lambda: ItemState.SUCCEEDED in states_of(stack.database, job_id), 120, "it decodes")

            proxy.swallow()
            wait_until(lambda: stack.num_logged("database_unavailable") >= 1, 60, "the worker has given them up")
            done = states_of(stack.database, job_id).count(ItemState.SUCCEEDED)
            proxy.forward()

            wait_until(lambda: states_of(stack.database, job_id).count(ItemState.SUCCEEDED) > done, 60, "it goes on")
            assert worker.poll() is None
            stack.database.dispose()


def test_a_consumer_that_ends_for_no_reason_is_begun_again_in_the_same_process(postgresql_stack: FaultyStack) -> None:
    stack = postgresql_stack
    stack.start_redis()
    worker = stack.start_worker("stumble")
    wait_until(lambda: stack.num_logged("consumer_ended") == 1, 120, "the consumer has ended")
    job_id = stack.submit()

    wait_until(lambda: stack.is_done(job_id), 120, "it decodes")
    with stack.redis as client:
        enqueue(create_queue(f"redis://127.0.0.1:{stack.stack.redis_port}/0"), job_id, DIGEST)
        wait_until(lambda: not client.llen(f"padserve:{queue_name(DIGEST)}"), 120, "the second consumer consumes")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0


def test_a_message_behind_another_is_consumed_when_that_one_is_done(postgresql_stack: FaultyStack) -> None:
    """Celery's loop came round once a second, so a small job right behind another waited for most of one."""
    stack = postgresql_stack
    stack.start_redis()
    stack.start_worker()
    wait_until(stack.is_ready, 120, "the worker is ready")
    queue = create_queue(f"redis://127.0.0.1:{stack.stack.redis_port}/0")

    began = time.monotonic()
    with stack.redis as client:
        for _ in range(NUM_MESSAGES):
            enqueue(queue, uuid.uuid4(), DIGEST)
            while client.llen(f"padserve:{queue_name(DIGEST)}"):
                time.sleep(0.005)

    assert time.monotonic() - began < NUM_MESSAGES / 2


def test_a_thread_that_dies_ends_the_worker_and_is_said(postgresql_stack: FaultyStack) -> None:
    stack = postgresql_stack
    stack.start_redis()

    exit_code = stack.start_worker("mute").wait(120)

    assert exit_code == 70
    assert "The worker's reconciler thread has ended." in stack.stack.log("worker")
    assert stack.state() is WorkerState.FAILED


def test_a_worker_that_is_told_to_end_before_it_consumes_says_that_it_has(postgresql_stack: FaultyStack) -> None:
    stack = postgresql_stack
    stack.start_redis()

    assert stack.start_worker("hurry").wait(120) == 0

    assert stack.state() is WorkerState.STOPPED


def test_a_worker_that_is_told_to_end_while_it_loads_ends_at_once(postgresql_stack: FaultyStack) -> None:
    stack = postgresql_stack
    stack.start_redis()
    worker = stack.start_worker("drag")
    wait_until(lambda: stack.state() is WorkerState.LOADING, 120, "it loads")

    worker.send_signal(signal.SIGTERM)

    assert worker.wait(60) == 0
    assert stack.state() is WorkerState.STOPPED
