"""kill -9 of a worker, of its engine or of Redis, in the middle of a job: every item is done exactly once."""

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from db.queries.keys import create_key, create_tenant
from db.session import Database
from domain.attempts import ClaimedItem
from domain.preferences import EffectivePreference, Method
from tests.builders import SAMPLING, preference
from tests.servers import copy_of
from tests.system.processes import KEY, Process, Stack, a_forking_stack, engine_of, wait_until
from tests.tiny_model import write_tiny_model, write_tiny_policy
from worker.settings import WorkerSettings
from worker.texts.decoder import load_decoder

NUM_ITEMS = 96
"""About twice as many as have ended when the last of three is killed: the job is in its middle then."""
NUM_ITEMS_LATER = 24
MAX_TOKENS = 80
PREFERENCES = [preference(text, method=Method.PAD) for text in ("formal", "playful", "brief")]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("models")
    write_tiny_model(folder / "tiny")
    write_tiny_policy(folder / "policy", folder / "tiny")
    return folder / "tiny", folder / "policy"


@pytest.fixture(scope="module")
def expected_texts(models: tuple[Path, Path]) -> list[str | None]:
    """What the items give when nothing is killed and no process is involved at all."""
    model, policy = models
    decoder = load_decoder(
        WorkerSettings(
            database_url="-", redis_url="-", model=str(model), policy=str(policy), device="cpu", num_slots=16
        )
    )
    for position in range(NUM_ITEMS):
        decoder.add(_claimed(position, PREFERENCES[position % len(PREFERENCES)]))
    texts: dict[int, str | None] = {}
    while decoder.has_work:
        texts.update((outcome.item_id, outcome.text) for outcome in decoder.step())
    return [texts[position] for position in range(NUM_ITEMS)]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "postgresql":
        with copy_of(request.getfixturevalue("migrated_postgresql")) as url:
            yield url
    else:
        file = tmp_path_factory.mktemp("sqlite") / "padserve.db"
        shutil.copy(request.getfixturevalue("migrated_sqlite_file"), file)
        yield f"sqlite:///{file}"


@pytest.fixture(scope="module")
def shared_stack(
    database_url: str, models: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    database = Database(database_url)
    with database.transaction() as session:
        create_key(session, create_tenant(session, "default").id, "test", ["admin"], secret=KEY)
    database.dispose()
    model, policy = models
    folder, settings = tmp_path_factory.mktemp("stack"), {"num_slots": 8, "lease_seconds": 3, "reconcile_seconds": 0.5}
    with a_forking_stack(folder, database_url, model=model, policy=policy, device="cpu", **settings) as stack:
        yield stack


@pytest.fixture
def stack(shared_stack: Stack) -> Stack:
    """Everything runs in it, also after a test that has killed something."""
    shared_stack.start_what_is_missing()
    return shared_stack


def items(num_items: int) -> list[dict[str, object]]:
    return [
        {
            "custom_id": f"item-{position}",
            "user_id": f"user-{position % len(PREFERENCES)}",
            "prompt": f"write about thing {position}",
            "max_tokens": MAX_TOKENS,
            "temperature": 0.8,
            "seed": position,
        }
        for position in range(num_items)
    ]


def submit(client: httpx.Client, num_items: int = NUM_ITEMS) -> str:
    for number, given in enumerate(PREFERENCES):
        body = {"principles": [given.principles[0].text], "method": "pad", "strength": 1.0}
        client.put(f"/v1/profiles/user-{number}", json=body).raise_for_status()
    response = client.post("/v1/jobs", json={"items": items(num_items)})
    response.raise_for_status()
    return str(response.json()["id"])


def num_done(client: httpx.Client, job_id: str, num_items: int = NUM_ITEMS) -> int:
    counts = client.get(f"/v1/jobs/{job_id}").raise_for_status().json()["counts"]
    assert sum(counts[name] for name in ("queued", "running", "succeeded", "failed", "cancelled")) == num_items
    return int(counts["succeeded"] + counts["failed"])


def _claimed(position: int, given: EffectivePreference) -> ClaimedItem:
    sampling = {**SAMPLING, "max_tokens": MAX_TOKENS, "temperature": 0.8, "seed": position}
    messages: list[dict[str, object]] = [{"role": "user", "content": f"write about thing {position}"}]
    return ClaimedItem(position, uuid.UUID(int=0), 1, messages, given.body, sampling)


def engine_at_work(worker: Process) -> psutil.Process:
    engine = engine_of(worker)
    assert engine is not None
    return engine


def test_killing_everything_in_the_middle_of_a_job_loses_and_doubles_nothing(
    stack: Stack, expected_texts: list[str | None]
) -> None:
    redis, worker = stack.process("redis"), stack.process("worker")
    with stack.client as client:
        job_id = submit(client)

        wait_until(lambda: num_done(client, job_id) >= 10, 120, "the first worker has finished some items")
        engine = engine_at_work(worker)
        worker.kill()
        worker.wait()
        wait_until(lambda: not engine.is_running(), 10, "the engine has ended with its worker")
        worker = stack.start_worker()

        done = num_done(client, job_id)
        wait_until(lambda: num_done(client, job_id) >= done + 10, 120, "the second worker has gone on")
        redis.kill()
        redis.wait()
        stack.start_redis()

        done = num_done(client, job_id)
        wait_until(lambda: num_done(client, job_id) >= min(done + 10, NUM_ITEMS), 120, "Redis is not needed to go on")
        engine_at_work(worker).kill()

        wait_until(lambda: client.get(f"/v1/jobs/{job_id}").json()["state"] == "completed", 180, "the job is completed")
        page = client.get(f"/v1/jobs/{job_id}/results", params={"limit": 1000}).json()

    results = page["data"]
    assert [result["custom_id"] for result in results] == [f"item-{position}" for position in range(NUM_ITEMS)]
    assert [result["error"] for result in results] == [None] * NUM_ITEMS
    assert [result["text"] for result in results] == expected_texts


def test_a_job_submitted_while_redis_is_down_is_decoded_when_it_is_back(stack: Stack) -> None:
    redis = stack.process("redis")
    with stack.client as client:
        redis.kill()
        redis.wait()

        job_id = submit(client, NUM_ITEMS_LATER)
        stack.start_redis()

        wait_until(lambda: client.get(f"/v1/jobs/{job_id}").json()["state"] == "completed", 180, "the job is completed")
        assert num_done(client, job_id, NUM_ITEMS_LATER) == NUM_ITEMS_LATER
