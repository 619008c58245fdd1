"""Work that takes seconds of Python is done in processes of its own, and none of its outcomes is lost on the way.

The processes are forked where their imports are done; `tests/system/test_bulk_processes.py` starts them as always.
"""

import asyncio
import os
import signal
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from starlette.testclient import TestClient

from api import bulk as bulk_module
from api.app import create_app
from api.bulk import BulkProcesses
from api.http.admission import LIGHT_BYTES
from api.http.bodies import SPOOL_IN_MEMORY_BYTES, SpooledBody
from api.http.errors import UnavailableError
from api.settings import Settings
from db.session import Database
from tests.api.conftest import EVERY_SCOPE, MODEL, Api
from tests.api.job_requests import NDJSON_HEADERS, an_item, give_profile, line_errors_of, submit_lines
from tests.system import forked
from tests.system.processes import wait_until

LONG = "Write about tea. " * 60
NUM_LETTERS = 2 * SPOOL_IN_MEMORY_BYTES // len(LONG)
NUM_ITEMS = 2 * LIGHT_BYTES // len(LONG)


def whoami(settings: Settings, database: Database) -> int:
    del settings, database
    return os.getpid()


def die(settings: Settings, database: Database) -> None:
    """As the system kills what takes too much memory."""
    del settings, database
    os.kill(os.getpid(), signal.SIGKILL)


def read(settings: Settings, database: Database, body: SpooledBody) -> int:
    del settings, database
    with body.file:
        return len(body.file.read())


def a_body() -> SpooledBody:
    return SpooledBody(tempfile.TemporaryFile(), 0, "")


async def given(bulk: BulkProcesses, body: SpooledBody) -> int:
    """As a request gives it: closed when the answer is there."""
    with body.file:
        return await bulk.run(read, body)


def num_unnamed_files() -> int:
    """How many files without a name this process holds open."""
    return sum(str(each.resolve()).endswith("(deleted)") for each in Path("/proc/self/fd").iterdir())


@pytest.fixture
def idle(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[BulkProcesses]:
    forking = SimpleNamespace(get_context=lambda _method: forked.context())
    monkeypatch.setattr(bulk_module, "multiprocessing", forking)
    processes = BulkProcesses(settings)
    yield processes
    processes.close()


@pytest.fixture
def bulk(idle: BulkProcesses) -> BulkProcesses:
    asyncio.run(idle.run(whoami))  # begun before the model is served, which is known for some seconds only
    return idle


@pytest.fixture
def client(bulk: BulkProcesses, api: Api) -> TestClient:
    """Of an API that stores large jobs as it does when it is served."""
    app = create_app(api.settings, database=api.database, queue=api.queue, bulk=bulk)
    api.queue.publishers.append(app.state.services.publisher)
    return TestClient(app, headers={"Authorization": f"Bearer {api.key(*EVERY_SCOPE)}"}, raise_server_exceptions=False)


def test_what_is_stored_aside_is_answered_refused_and_repeated_as_everything_else(client: TestClient, api: Api) -> None:
    give_profile(client)
    rows = [an_item(f"item-{number}", prompt=LONG) for number in range(NUM_ITEMS)]
    key = {"Idempotency-Key": "once"}

    stored, again = (submit_lines(client, *rows, headers=key) for _ in range(2))
    other = submit_lines(client, *rows[1:], headers=key)
    wrong = submit_lines(client, *rows, {"custom_id": "x", "user_id": "ada"}, an_item("item-0"))

    assert (stored.status_code, stored.json()["counts"]["queued"]) == (202, NUM_ITEMS)
    assert (again.json()["id"], again.headers["Idempotency-Replayed"]) == (stored.json()["id"], "true")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert line_errors_of(wrong) == [
        (NUM_ITEMS + 1, "prompt_or_messages", ""),
        (NUM_ITEMS + 2, "duplicate_custom_id", "/custom_id"),
    ]
    assert len(api.queue.published) == 1, "a worker is woken for what was stored, and once"


def test_a_small_campaign_may_be_a_large_job_and_imports_are_read_aside_too(
    client: TestClient, bulk: BulkProcesses
) -> None:
    imported = client.post(
        "/v1/profiles:import", content=b'{"user_id": "ada"}\n{"user_id": "bob"}', headers=NDJSON_HEADERS
    )
    campaign = client.post("/v1/jobs", json={"prompt": "Tea for {user_id}!", "audience": {"all": True}})

    assert (imported.status_code, imported.json()["num_created"]) == (200, 2)
    assert (campaign.status_code, campaign.json()["counts"]["queued"]) == (202, 2)
    assert asyncio.run(bulk.run(whoami)) != os.getpid()


def test_a_large_message_batch_is_read_aside_from_its_file_to_the_last_byte(client: TestClient) -> None:
    params = {"model": MODEL, "max_tokens": 5, "messages": [{"role": "user", "content": LONG}]}
    requests = [{"custom_id": f"letter-{number}", "params": params} for number in range(NUM_LETTERS)]
    wrong = [*requests, {"custom_id": "letter-0", "params": {**params, "max_tokens": 0}}]

    stored, again = (client.post("/v1/messages/batches", json={"requests": requests}) for _ in range(2))
    refused = client.post("/v1/messages/batches", json={"requests": wrong})

    assert len(stored.request.content) > SPOOL_IN_MEMORY_BYTES
    assert (stored.status_code, stored.json()["request_counts"]["processing"]) == (200, NUM_LETTERS)
    assert (again.json()["id"], again.headers["Idempotency-Replayed"]) == (stored.json()["id"], "true")
    errors = refused.json()["error"]["details"]["errors"]
    assert [(error["code"], error["param"]) for error in errors] == [
        ("greater_than_equal", f"requests.{NUM_LETTERS}.params.max_tokens"),
        ("duplicate_custom_id", f"requests.{NUM_LETTERS}.custom_id"),
    ]


def test_a_process_is_started_before_there_is_work_for_it(idle: BulkProcesses, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(ProcessPoolExecutor, "submit", lambda _pool, work: asked.append(work))

    idle.warm_up()

    assert asked == [int], "nothing to do, for which the pool starts a process all the same"


def test_a_process_has_imported_what_large_jobs_need_before_there_is_one(settings: Settings) -> None:
    processes = BulkProcesses(settings)
    pool: ProcessPoolExecutor = vars(processes)["_pool"]  # what is given to `run` is of a module that imports it itself

    assert pool.submit(eval, f"{bulk_module.USED_BY_MOST!r} in __import__('sys').modules").result()
    processes.close()


def test_a_process_that_dies_is_told_to_its_client_and_the_next_begins_anew(bulk: BulkProcesses) -> None:
    async def after_a_death_at_work_and_one_at_rest() -> tuple[int, int]:
        with pytest.raises(UnavailableError, match="has died"):
            await bulk.run(die)
        first = await bulk.run(whoami)
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: not psutil.pid_exists(first), 20, "it is gone")
        return first, await bulk.run(whoami)

    first, second = asyncio.run(after_a_death_at_work_and_one_at_rest())

    assert first != second


def test_bodies_on_their_way_to_a_process_that_dies_are_closed(bulk: BulkProcesses) -> None:
    async def several_and_a_death() -> Sequence[object]:
        bodies = [given(bulk, a_body()) for _ in range(4)]
        _, *answers = await asyncio.gather(bulk.run(die), *bodies, return_exceptions=True)
        return answers

    before = num_unnamed_files()
    answers = [answer for _ in range(2) for answer in asyncio.run(several_and_a_death())]

    assert any(isinstance(answer, UnavailableError) for answer in answers)
    wait_until(lambda: num_unnamed_files() <= before, 20, "all of them are closed")


def test_a_process_that_cannot_be_started_is_told_as_a_failure_that_passes(
    bulk: BulkProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise BlockingIOError

    monkeypatch.setattr(ProcessPoolExecutor, "submit", refuse)
    bulk.warm_up()  # whoever only prepares is told nothing

    with pytest.raises(UnavailableError, match="Send the request again"):
        asyncio.run(bulk.run(whoami))
