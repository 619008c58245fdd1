"""A profile is learnt by real processes, also when the worker or its engine is killed in the middle of it."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from db.queries.keys import create_key, create_tenant
from db.session import Database
from tests.system.processes import KEY, Stack, a_stack, wait_until
from tests.tiny_model import write_tiny_model, write_tiny_policy

PATH = "/v1/profiles/ada/feedback"
NUM_PAIRS = 150


@pytest.fixture
def stack(sqlite_url: str, tmp_path: Path) -> Iterator[Stack]:
    database = Database(sqlite_url)
    with database.transaction() as session:
        create_key(session, create_tenant(session, "default").id, "test", ["admin"], secret=KEY)
    database.dispose()
    write_tiny_model(tmp_path / "tiny")
    write_tiny_policy(tmp_path / "policy", tmp_path / "tiny")
    settings = {"device": "cpu", "num_slots": 4, "lease_seconds": 2, "reconcile_seconds": 0.5}
    with a_stack(tmp_path, sqlite_url, model=tmp_path / "tiny", policy=tmp_path / "policy", **settings) as stack:
        yield stack


def register_the_model(stack: Stack, client: httpx.Client) -> None:
    """A worker comes and goes: from then on the API knows what fits are for."""
    worker = stack.start_worker()
    wait_until(lambda: client.get("/readyz").status_code == httpx.codes.OK, 120, "the worker has registered")
    worker.terminate()
    worker.wait()


def give_feedback(client: httpx.Client, user_id: str = "ada") -> None:
    profile = {"principles": ["formal", "playful", "brief"], "learn": True}
    client.put(f"/v1/profiles/{user_id}", json=profile).raise_for_status()
    pairs = [
        {"prompt": f"write about thing {number}", "chosen": "good " * 30, "rejected": "other " * (20 + number % 9)}
        for number in range(NUM_PAIRS)
    ]
    client.post(f"/v1/profiles/{user_id}/feedback", json={"pairs": pairs}).raise_for_status()


def fit_of(client: httpx.Client, user_id: str = "ada") -> dict[str, Any]:
    fit: dict[str, Any] = client.get(f"/v1/profiles/{user_id}/feedback").raise_for_status().json()["fit"]
    return fit


def weights_of(client: httpx.Client, user_id: str) -> list[float]:
    profile = client.get(f"/v1/profiles/{user_id}").raise_for_status().json()
    return [principle["weight"] for principle in profile["principles"]]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("victim", ["worker", "engine"])
def test_what_is_killed_while_it_learns_learns_it_after_all(stack: Stack, victim: str) -> None:
    stack.start_redis()
    stack.start_api()
    with stack.client as client:
        register_the_model(stack, client)
        give_feedback(client)
        worker = stack.start_worker()
        wait_until(lambda: fit_of(client)["state"] == "running", 120, "the fit is running")

        if victim == "engine":
            (engine,) = (
                child for child in psutil.Process(worker.pid).children() if "spawn" in " ".join(child.cmdline())
            )
            engine.kill()
        else:
            worker.send_signal(signal.SIGKILL)
            worker.wait()
            stack.start_worker()
        wait_until(lambda: fit_of(client)["state"] in {"succeeded", "failed"}, 120, "the fit has ended")
        give_feedback(client, "bob")
        wait_until(lambda: fit_of(client, "bob")["state"] in {"succeeded", "failed"}, 120, "the other fit has ended")

        fit = fit_of(client)
        versions = client.get("/v1/profiles/ada/versions").json()["data"]
        assert (fit["state"], fit["version"], fit["num_pairs"]) == ("succeeded", 2, NUM_PAIRS)
        assert [version["version"] for version in versions] == [2, 1]
        assert versions[0]["learned"]["base_version"] == 1
        assert weights_of(client, "ada") == pytest.approx(weights_of(client, "bob"), abs=1e-3)
        assert weights_of(client, "ada") != [1.0, 1.0, 1.0]
