"""A profile is learnt by real processes, also when the worker or its engine is killed in the middle of it."""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from db.queries.keys import create_key, create_tenant
from db.session import Database
from tests.system.processes import KEY, Stack, a_forking_stack, engine_of, wait_until
from tests.tiny_model import write_tiny_model, write_tiny_policy

NUM_PAIRS = 150


@pytest.fixture(scope="module")
def shared_stack(migrated_sqlite_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    url = f"sqlite:///{shutil.copy(migrated_sqlite_file, folder / 'padserve.db')}"
    database = Database(url)
    with database.transaction() as session:
        create_key(session, create_tenant(session, "default").id, "test", ["admin"], secret=KEY)
    database.dispose()
    write_tiny_model(folder / "tiny")
    write_tiny_policy(folder / "policy", folder / "tiny")
    settings = {"device": "cpu", "num_slots": 4, "lease_seconds": 2, "reconcile_seconds": 0.5}
    with a_forking_stack(folder, url, model=folder / "tiny", policy=folder / "policy", **settings) as stack:
        yield stack


@pytest.fixture
def stack(shared_stack: Stack) -> Stack:
    """Everything runs in it, also after a test that has killed something."""
    shared_stack.start_what_is_missing()
    return shared_stack


def give_feedback(client: httpx.Client, user_id: str) -> None:
    profile = {"principles": ["formal", "playful", "brief"], "learn": True}
    client.put(f"/v1/profiles/{user_id}", json=profile).raise_for_status()
    pairs = [
        {"prompt": f"write about thing {number}", "chosen": "good " * 30, "rejected": "other " * (20 + number % 9)}
        for number in range(NUM_PAIRS)
    ]
    client.post(f"/v1/profiles/{user_id}/feedback", json={"pairs": pairs}).raise_for_status()


def fit_of(client: httpx.Client, user_id: str) -> dict[str, Any]:
    fit: dict[str, Any] = client.get(f"/v1/profiles/{user_id}/feedback").raise_for_status().json()["fit"]
    return fit


def weights_of(client: httpx.Client, user_id: str) -> list[float]:
    profile = client.get(f"/v1/profiles/{user_id}").raise_for_status().json()
    return [principle["weight"] for principle in profile["principles"]]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("victim", ["worker", "engine"])
def test_what_is_killed_while_it_learns_learns_it_after_all(stack: Stack, victim: str) -> None:
    user, undisturbed, worker = victim, f"beside-the-{victim}", stack.process("worker")
    with stack.client as client:
        give_feedback(client, user)
        wait_until(lambda: fit_of(client, user)["state"] == "running", 240, "the fit is running")

        if victim == "engine":
            engine = engine_of(worker)
            assert engine is not None
            engine.kill()
        else:
            worker.send_signal(signal.SIGKILL)
            worker.wait()
            stack.start_worker()
        wait_until(lambda: fit_of(client, user)["state"] in {"succeeded", "failed"}, 240, "the fit has ended")
        give_feedback(client, undisturbed)
        wait_until(lambda: fit_of(client, undisturbed)["state"] in {"succeeded", "failed"}, 240, "the other has ended")

        fit = fit_of(client, user)
        versions = client.get(f"/v1/profiles/{user}/versions").json()["data"]
        assert (fit["state"], fit["version"], fit["num_pairs"]) == ("succeeded", 2, NUM_PAIRS)
        assert [version["version"] for version in versions] == [2, 1]
        assert versions[0]["learned"]["base_version"] == 1
        assert weights_of(client, user) == pytest.approx(weights_of(client, undisturbed), abs=1e-3)
        assert weights_of(client, user) != [1.0, 1.0, 1.0]
