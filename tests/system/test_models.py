"""Several workers with different models on one Redis and one database: each job is decoded by its own model alone."""

import shutil
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest

from db.queries.keys import create_key, create_tenant
from db.session import Database
from domain.attempts import ClaimedItem
from tests.builders import SAMPLING, preference
from tests.system.processes import KEY, Stack, a_forking_stack, wait_until
from tests.tiny_model import write_tiny_model, write_tiny_policy
from worker.settings import WorkerSettings
from worker.texts.decoder import load_decoder

NUM_ITEMS = 8
NAME = "checkpoint-500"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two models in folders of one name, and a policy on the first."""
    for number, parent in enumerate(("a", "b")):
        write_tiny_model(tmp_path / parent / NAME, seed=number)
    write_tiny_policy(tmp_path / "policy", tmp_path / "a" / NAME)
    return tmp_path


@pytest.fixture
def stack(sqlite_url: str, folder: Path) -> Iterator[Stack]:
    database = Database(sqlite_url)
    with database.transaction() as session:
        create_key(session, create_tenant(session, "default").id, "test", ["admin"], secret=KEY)
    database.dispose()
    with a_forking_stack(
        folder, sqlite_url, device="cpu", num_slots=4, lease_seconds=3, reconcile_seconds=0.5
    ) as stack:
        stack.start_redis()
        stack.start_api()
        yield stack


def ready(client: httpx.Client) -> list[str]:
    """The digests of the models that are served."""
    models = client.get("/v1/models").raise_for_status().json()["data"]
    return [model["digest"] for model in models if model["state"] == "ready"]


def submit(client: httpx.Client, **options: object) -> httpx.Response:
    items = [
        {"custom_id": str(number), "user_id": "ada", "prompt": f"thing {number}", "max_tokens": 16}
        for number in range(NUM_ITEMS)
    ]
    return client.post("/v1/jobs", json={"items": items, **options})


def texts_of(client: httpx.Client, job: str) -> list[str]:
    wait_until(lambda: client.get(f"/v1/jobs/{job}").json()["state"] == "completed", 300, "the job is completed")
    return [result["text"] for result in client.get(f"/v1/jobs/{job}/results").json()["data"]]


def expected(model: Path) -> Sequence[str | None]:
    """What the model writes where no process is involved."""
    settings = WorkerSettings(database_url="-", redis_url="-", model=str(model), device="cpu", num_slots=4)
    decoder = load_decoder(settings)
    for number in range(NUM_ITEMS):
        messages: list[dict[str, object]] = [{"role": "user", "content": f"thing {number}"}]
        sampling = {**SAMPLING, "seed": number}
        decoder.add(ClaimedItem(number, uuid.UUID(int=0), 1, messages, preference().body, sampling))
    texts: dict[int, str | None] = {}
    while decoder.has_work:
        texts.update((outcome.item_id, outcome.text) for outcome in decoder.step())
    return [texts[number] for number in range(NUM_ITEMS)]


@pytest.mark.timeout(900)
def test_two_models_under_one_name_are_never_mixed_and_a_renamed_one_goes_on(stack: Stack, folder: Path) -> None:
    first, second = folder / "a" / NAME, folder / "b" / NAME
    assert expected(first) != expected(second)
    with stack.client as client:
        client.put("/v1/profiles/ada", json={"principles": [], "method": "none"}).raise_for_status()
        worker = stack.start_worker(model=first, policy=folder / "policy")
        wait_until(lambda: len(ready(client)) == 1, 240, "the first worker is ready")
        (digest,) = ready(client)
        worker.terminate()
        worker.wait()
        wait_until(lambda: ready(client) == [], 60, "nobody is taken for ready: it may have left without a word")
        waiting = submit(client, defaults={"method": "none"}).json()["id"]

        other = stack.start_worker(model=second)
        wait_until(lambda: ready(client) not in ([], [digest]), 240, "the other worker is ready")
        of_the_other = submit(client, model=NAME).json()["id"]
        assert texts_of(client, of_the_other) == expected(second)
        stuck = client.get(f"/v1/jobs/{waiting}").json()
        assert stuck["counts"]["queued"] == NUM_ITEMS
        assert stuck["waiting_reason"].endswith("a worker serves another model under that name.")

        shutil.move(first, folder / "renamed")
        stack.start_worker(model=folder / "renamed", policy=folder / "policy")
        assert texts_of(client, waiting) == expected(folder / "renamed")
        item = {"custom_id": "1", "user_id": "ada", "prompt": "hi", "method": "pad", "principles": ["formal"]}
        guided = client.post("/v1/jobs", json={"items": [item], "model": "renamed"})
        texts_of(client, guided.json()["id"])
        result = client.get(f"/v1/jobs/{guided.json()['id']}/results").json()["data"][0]
        assert (result["state"], result["attempts"]) == ("succeeded", 1)
        assert submit(client).json()["errors"][0]["code"] == "model_required"
        assert other.poll() is None
