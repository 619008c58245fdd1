"""Real API processes: they deliver what is due, a kill -9 loses nothing, and listeners do not hold up their end."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from db.queries import keys
from db.session import Database
from tests.builders import a_job
from tests.servers import free_port
from tests.system.forked import API, ForkedProcess
from tests.webhooks.conftest import a_completed_job, bring_forward, deliveries_of
from tests.webhooks.receiver import Receiver, a_receiver, until

TENANT = "acme"


class Process:
    """One API process."""

    def __init__(self, database_url: str, redis_url: str, log: Path) -> None:
        port = free_port()
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PADSERVE_")}
        told = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "PORT": str(port)}
        told["WEBHOOK_PRIVATE_ADDRESSES"] = "true"
        self.url = f"http://127.0.0.1:{port}"
        environment = kept | {f"PADSERVE_{name}": value for name, value in told.items()}
        self.process = ForkedProcess(API, [], environment, log)
        until(lambda: "listening" in log.read_text())

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)

    def remove(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def start(database: Database, redis_url: str, tmp_path: Path) -> Iterator[Callable[[], Process]]:
    started: list[Process] = []

    def run() -> Process:
        log = tmp_path / f"api-{len(started)}.log"
        started.append(Process(database.url.render_as_string(hide_password=False), redis_url, log))
        return started[-1]

    yield run
    for each in started:
        each.remove()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with a_receiver() as receiver:
        yield receiver


@pytest.fixture
def headers(database: Database) -> dict[str, str]:
    with database.transaction() as session:
        tenant = keys.create_tenant(session, TENANT)
        _, key = keys.create_key(session, tenant.id, "test", ["admin"])
    return {"Authorization": f"Bearer {key}"}


def test_an_event_that_a_killed_process_was_sending_is_sent_by_another_under_the_same_id(
    database: Database, start: Callable[[], Process], receiver: Receiver, headers: dict[str, str]
) -> None:
    first = start()
    httpx.post(f"{first.url}/v1/webhooks", json={"url": receiver.url}, headers=headers).raise_for_status()
    receiver.hold = threading.Event()
    a_completed_job(database, TENANT)
    receiver.wait_for(1)

    first.end(signal.SIGKILL)
    receiver.hold.set()
    bring_forward(database)  # the attempt's time is over
    start()
    start()

    lost, delivered = receiver.wait_for(2)
    until(lambda: [each.state for each in deliveries_of(database)] == ["delivered"])
    assert lost.headers["webhook-id"] == delivered.headers["webhook-id"]
    assert lost.body == delivered.body
    assert len(receiver.received) == 2


def test_a_process_that_is_told_to_end_lets_its_listeners_go(
    database: Database, start: Callable[[], Process], headers: dict[str, str]
) -> None:
    api, job_id = start(), a_job(database, tenant=TENANT)
    with httpx.stream("GET", f"{api.url}/v1/jobs/{job_id}/events", headers=headers, timeout=30) as response:
        lines = response.iter_lines()
        assert next(lines) == "retry: 2000"
        began = time.monotonic()
        code = api.end()
        seconds = time.monotonic() - began
        rest = list(lines)  # it ends as a stream does: nothing breaks

    assert code == 0
    assert seconds < 8
    assert any(line == "event: status" for line in rest)
