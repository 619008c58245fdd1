"""Redis stops in the middle of everything: what is submitted is accepted at once, and everything else is answered."""

import signal
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from db.queries.keys import create_key, create_tenant
from db.session import Database
from tests.builders import a_model, a_profile
from tests.system.processes import KEY, Stack, a_forking_stack, wait_until

NUM_SUBMISSIONS = 45
MOST_SECONDS = 30  # of all of them together; where each waited for Redis, it was minutes


@pytest.fixture
def stack(sqlite_url: str, tmp_path: Path) -> Iterator[Stack]:
    database = Database(sqlite_url)
    with database.transaction() as session:
        create_key(session, create_tenant(session, "default").id, "test", ["admin"], secret=KEY)
    a_profile(database, "formal")
    a_model(database)
    database.dispose()
    with a_forking_stack(tmp_path, sqlite_url) as stack:
        yield stack


def test_submissions_while_redis_hangs_are_accepted_at_once_and_polls_are_answered(stack: Stack) -> None:
    redis = stack.start_redis()
    stack.start_api()

    def submit(number: int) -> float:
        began = time.monotonic()
        item = {"custom_id": str(number), "user_id": "ada", "prompt": "Write about tea.", "max_tokens": 8}
        with stack.client as client:
            assert client.post("/v1/jobs", json={"items": [item]}).status_code == 202
        return time.monotonic() - began

    def poll(_: int) -> float:
        began = time.monotonic()
        with stack.client as client:
            assert client.get("/v1/jobs", params={"limit": 1}).status_code == 200
        return time.monotonic() - began

    submit(-1)
    redis.send_signal(signal.SIGSTOP)
    with ThreadPoolExecutor(NUM_SUBMISSIONS) as pool, ThreadPoolExecutor(1) as poller:
        began = time.monotonic()
        polls = poller.map(poll, range(10))
        submitted = list(pool.map(submit, range(NUM_SUBMISSIONS)))
        assert time.monotonic() - began < MOST_SECONDS
        assert statistics.median(polls) <= max(submitted) + 1

    with stack.client as client:
        not_ready = client.get("/readyz")
        assert (not_ready.status_code, not_ready.json()["reason"]) == (503, "Redis does not answer.")
        redis.send_signal(signal.SIGCONT)
        wait_until(lambda: client.get("/readyz").json()["checks"]["redis"]["state"] == "ok", 60, "Redis answers again")
