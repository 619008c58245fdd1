"""The processes in which large jobs are stored end with the API, however it ends."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from api.admission import LIGHT_BYTES
from db.queries.keys import create_key, create_tenant
from db.session import Database
from tests.builders import a_model, a_profile
from tests.system.processes import KEY, Stack, a_stack, wait_until


@pytest.fixture
def stack(sqlite_url: str, tmp_path: Path) -> Iterator[Stack]:
    database = Database(sqlite_url)
    with database.transaction() as session:
        create_key(session, create_tenant(session, "default").id, "test", ["admin"], secret=KEY)
    a_profile(database, "formal")
    a_model(database)
    database.dispose()
    with a_stack(tmp_path, sqlite_url) as stack:
        stack.start_redis()
        yield stack


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
def test_no_process_that_stored_a_large_job_outlives_the_api(stack: Stack, number: signal.Signals) -> None:
    api = stack.start_api()
    item = {"custom_id": "a", "user_id": "ada", "prompt": "Tea!"}
    body = json.dumps(item) + "\n" * LIGHT_BYTES
    with stack.client as client:
        stored = client.post("/v1/jobs", content=body, headers={"Content-Type": "application/x-ndjson"})
    children = psutil.Process(api.pid).children(recursive=True)

    api.send_signal(number)
    api.wait(30)

    assert (stored.status_code, bool(children)) == (202, True)
    wait_until(lambda: not any(child.is_running() for child in children), 20, "they have ended")
