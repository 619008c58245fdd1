"""The processes in which large jobs and batches are stored end with the API, and what one begins ends with it."""

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from api.http.admission import LIGHT_BYTES
from db.queries.keys import create_key, create_tenant
from db.session import Database
from tests.builders import a_model, a_profile
from tests.system.processes import KEY, Stack, a_forking_stack, wait_until

CHAT = "/v1/chat/completions"
NUM_LINES = 5000
LINE = {"model": "tiny", "messages": [{"role": "user", "content": "Write about tea."}]}


def an_uploaded_file(client: httpx.Client, num_lines: int) -> str:
    lines = ({"custom_id": f"{n}", "method": "POST", "url": CHAT, "body": LINE} for n in range(num_lines))
    content = "\n".join(map(json.dumps, lines))
    answer = client.post("/v1/files", files={"file": ("in.jsonl", content)}, data={"purpose": "batch"})
    return str(answer.json()["id"])


def create_batch(client: httpx.Client, file_id: str, retry: int) -> httpx.Response:
    body = {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h"}
    return client.post("/v1/batches", json=body, headers={"x-stainless-retry-count": str(retry)})


@pytest.fixture
def stack(sqlite_url: str, tmp_path: Path) -> Iterator[Stack]:
    database = Database(sqlite_url)
    with database.transaction() as session:
        create_key(session, create_tenant(session, "default").id, "test", ["admin"], secret=KEY)
    a_profile(database, "formal")
    a_model(database)
    database.dispose()
    with a_forking_stack(tmp_path, sqlite_url) as stack:
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


def test_a_batch_whose_file_was_being_read_when_the_process_died_can_be_asked_for_again(stack: Stack) -> None:
    api = stack.start_api()
    with stack.client as client, ThreadPoolExecutor(1) as others:
        file_id = an_uploaded_file(client, NUM_LINES)
        first = others.submit(create_batch, client, file_id, 0)
        wait_until(lambda: bool(client.get("/v1/batches").json()["data"]), 60, "its file is being read")
        for child in psutil.Process(api.pid).children(recursive=True):
            if "resource_tracker" not in " ".join(child.cmdline()):
                os.kill(child.pid, signal.SIGKILL)
        lost, again = first.result(), create_batch(client, file_id, 1)
        batches = client.get("/v1/batches").json()["data"]

    assert (lost.status_code, again.status_code) == (503, 200)
    assert [(each["id"], each["request_counts"]["total"]) for each in batches] == [(again.json()["id"], NUM_LINES)]
