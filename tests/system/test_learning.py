"""A profile is learnt by real processes, also when the worker or its engine is killed in the middle of it."""

import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from db.queries.keys import create_key, create_tenant
from db.session import Database
from tests.system.processes import KEY, Stack, a_forking_stack, engine_of, wait_until
from tests.tiny_model import write_tiny_model, write_tiny_policy

NUM_PAIRS = 60


@pytest.fixture
def stack(sqlite_url: str, tmp_path: Path) -> Iterator[Stack]:
    database = Database(sqlite_url)
    with database.transaction() as session:
        create_key(session, create_tenant(session, "default").id, "test", ["admin"], secret=KEY)
    database.dispose()
    write_tiny_model(tmp_path / "tiny")
    write_tiny_policy(tmp_path / "policy", tmp_path / "tiny")
    settings = {"device": "cpu", "num_slots": 4, "lease_seconds": 2, "reconcile_seconds": 0.5}
    model, policy = tmp_path / "tiny", tmp_path / "policy"
    with a_forking_stack(tmp_path, sqlite_url, model=model, policy=policy, **settings) as stack:
        stack.start_what_is_missing()
        yield stack


def give_feedback(client: httpx.Client, user_id: str) -> None:
    profile = {"principles": ["formal", "playful", "brief"], "learn": True}
    client.put(f"/v1/profiles/{user_id}", json=profile).raise_for_status()
    pairs = [
        {"prompt": f"write about thing {number}", "chosen": "other " * (20 + number % 9), "rejected": "good " * 30}
        for number in range(NUM_PAIRS)
    ]
    client.post(f"/v1/profiles/{user_id}/feedback", json={"pairs": pairs}).raise_for_status()


def fit_of(client: httpx.Client, user_id: str) -> dict[str, Any]:
    fit: dict[str, Any] = client.get(f"/v1/profiles/{user_id}/feedback").raise_for_status().json()["fit"]
    return fit


def weights_of(client: httpx.Client, user_id: str) -> list[float]:
    profile = client.get(f"/v1/profiles/{user_id}").raise_for_status().json()
    return [principle["weight"] for principle in profile["principles"]]


def is_running(client: httpx.Client, user_id: str) -> bool:
    return bool(fit_of(client, user_id)["state"] == "running")


def has_ended(client: httpx.Client, user_id: str) -> bool:
    return fit_of(client, user_id)["state"] in {"succeeded", "failed"}


@pytest.mark.timeout(600)
def test_what_is_killed_while_it_learns_learns_it_after_all(stack: Stack) -> None:
    with stack.client as client:
        for victim in ("worker", "engine"):
            give_feedback(client, victim)
            wait_until(partial(is_running, client, victim), 240, "the fit is running")
            kill(stack, victim)
            wait_until(partial(has_ended, client, victim), 240, f"the fit has ended without its {victim}")
        give_feedback(client, "undisturbed")
        wait_until(partial(has_ended, client, "undisturbed"), 240, "the other has ended")

        for user in ("worker", "engine"):
            fit = fit_of(client, user)
            versions = client.get(f"/v1/profiles/{user}/versions").json()["data"]
            assert (fit["state"], fit["version"], fit["num_pairs"]) == ("succeeded", 2, NUM_PAIRS)
            assert [version["version"] for version in versions] == [2, 1]
            assert versions[0]["learned"]["base_version"] == 1
            assert weights_of(client, user) == pytest.approx(weights_of(client, "undisturbed"), abs=1e-3)
            assert weights_of(client, user) != [1.0, 1.0, 1.0]


def kill(stack: Stack, victim: str) -> None:
    """The worker, which somebody starts again, or its engine, which it starts again itself."""
    worker = stack.process("worker")
    if victim == "worker":
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        stack.start_worker()
        return
    engine = engine_of(worker)
    assert engine is not None
    engine.kill()
