"""One running system: real processes of Redis, API and workers in a folder, and a client on the loopback."""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx
from sqlalchemy import func, select

from bench.system.databases import opened
from db.registry_models import Worker
from domain.states import WorkerState
from tests.system.processes import KEY, Process, Stack, a_stack

PROFILES = 50
PROMPT = "Write two sentences about the autumn sale."
MOST_SECONDS = 240.0
START_SECONDS = 60.0
LOOK_SECONDS = 0.1
UNCOUNTED = (sys.executable, "-m", "bench.system.uncounted")
NDJSON = {"Content-Type": "application/x-ndjson"}


class TooSlowError(Exception):
    """A scene did not end in its time."""


@dataclass
class Site:
    """A stack whose model is served, with PROFILES profiles."""

    stack: Stack
    client: httpx.Client
    workers: Sequence[Process]

    def submit(self, num_items: int) -> str:
        """A job as NDJSON; its id."""
        return self.send(a_body(num_items))

    def send(self, body: bytes) -> str:
        """The job of this body."""
        answer = self.client.post("/v1/jobs", content=body, headers=NDJSON)
        answer.raise_for_status()
        return str(answer.json()["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        """Its status."""
        answer = self.client.get(f"/v1/jobs/{job_id}")
        answer.raise_for_status()
        return dict(answer.json())

    def wait_for(self, job_id: str) -> dict[str, Any]:
        """Its status once it has ended."""
        wait_until(partial(self.has_ended, job_id), MOST_SECONDS, "the job has ended")
        return self.job(job_id)

    def has_ended(self, job_id: str) -> bool:
        """Whether nothing of it is left to do."""
        return self.job(job_id)["finished_at"] is not None


def a_body(num_items: int) -> bytes:
    """A job's NDJSON; neighbours are for users of different preferences."""
    items = (
        {"custom_id": f"item-{place}", "user_id": f"user-{place % PROFILES}", "prompt": f"{PROMPT} ({place})"}
        for place in range(num_items)
    )
    return "\n".join(json.dumps(item) for item in items).encode()


def wait_until(condition: Callable[[], bool], seconds: float, what: str, look_seconds: float = LOOK_SECONDS) -> None:
    """Look again and again; raises `TooSlowError`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            raise TooSlowError(f"Not in {seconds:.0f} seconds: {what}.")
        time.sleep(look_seconds)


@contextmanager
def a_site(
    database_url: str,
    *,
    num_workers: int = 1,
    num_slots: int = 16,
    settings: Mapping[str, object] = MappingProxyType({}),
    is_counted: bool = True,
) -> Iterator[Site]:
    """Everything started, and ended with the block. `settings`: those of all processes, besides; by their names.

    `is_counted`: whether the processes count what they do, as they always do outside of this bench.
    """
    given = {"num_slots": num_slots, "model_name": "tiny", **settings}
    with (
        tempfile.TemporaryDirectory(prefix="padserve-bench-") as folder,
        a_stack(Path(folder), database_url, **given) as stack,
        httpx.Client(
            base_url=f"http://127.0.0.1:{stack.api_port}",
            headers={"Authorization": f"Bearer {KEY}"},
            timeout=MOST_SECONDS,
        ) as client,
    ):
        stack.start_redis()
        if is_counted:
            stack.start_api()
        else:
            stack.start("api", [*UNCOUNTED, "api"])
            wait_until(stack.api_answers, START_SECONDS, "the API answers")
        command = [sys.executable, "-m", "bench.system.worker"] if is_counted else [*UNCOUNTED, "worker"]
        workers = [stack.start("worker", command) for _ in range(num_workers)]
        wait_until(lambda: _num_ready(database_url) >= num_workers, START_SECONDS, "every worker is ready")
        profiles = "\n".join(
            json.dumps({"user_id": f"user-{number}", "principles": [f"principle {number}"]})
            for number in range(PROFILES)
        )
        client.post("/v1/profiles:import", content=profiles.encode(), headers=NDJSON).raise_for_status()
        yield Site(stack, client, workers)


def _num_ready(database_url: str) -> int:
    with opened(database_url) as database, database.reading() as session:
        return session.scalars(select(func.count()).where(Worker.state == WorkerState.READY)).one()
