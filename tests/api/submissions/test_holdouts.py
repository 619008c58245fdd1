"""A hold-out is a share of a job's users, drawn by a stored seed, who get the unguided text and are told apart."""

import json
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from domain.holdouts import Holdout
from tests.api.conftest import Api
from tests.api.job_requests import (
    NDJSON_HEADERS,
    Json,
    accepted,
    an_item,
    end_item,
    errors_of,
    items_of_job,
    preference_of,
    submit,
    submit_lines,
)

USERS = [f"user-{number}" for number in range(40)]
SEED = 7


@pytest.fixture
def client(client: TestClient) -> TestClient:
    lines = [json.dumps({"user_id": user_id, "principles": ["humor"]}) for user_id in USERS]
    assert client.post("/v1/profiles:import", content="\n".join(lines), headers=NDJSON_HEADERS).is_success
    return client


def a_campaign(client: TestClient, **fields: object) -> Json:
    answer = client.post("/v1/jobs", json={"prompt": "Write.", "audience": {"all": True}, **fields})
    accepted(answer)
    return dict(answer.json())


def test_who_is_held_out_gets_the_unguided_text_and_everybody_else_the_guided(api: Api, client: TestClient) -> None:
    job = a_campaign(client, holdout=0.25, holdout_seed=SEED, defaults={"method": "contrast"})

    items = items_of_job(api.database, uuid.UUID(job["id"]))
    unguided = {item.user_id for item in items if preference_of(api.database, item)["method"] == "none"}
    assert unguided == {user_id for user_id in USERS if Holdout(0.25, SEED).holds_out(user_id)}
    assert 0 < len(unguided) < len(USERS)
    assert job["holdout"] == {
        "share": 0.25,
        "seed": SEED,
        "num_holdout": len(unguided),
        "num_guided": len(USERS) - len(unguided),
    }


def test_a_status_tells_the_two_counts_and_each_result_its_side(api: Api, client: TestClient) -> None:
    job = a_campaign(client, holdout=0.5)
    job_id = uuid.UUID(job["id"])
    for position in range(len(USERS)):
        end_item(api.database, job_id, position)

    told = client.get(f"/v1/jobs/{job_id}").json()["holdout"]
    results = client.get(f"/v1/jobs/{job_id}/results").json()["data"]

    assert told == job["holdout"]
    assert sum(result["holdout"] for result in results) == told["num_holdout"]
    drawn = Holdout(0.5, told["seed"])
    assert all(result["holdout"] is drawn.holds_out(result["user_id"]) for result in results)


def test_a_seed_that_is_not_stated_is_drawn_for_each_job(client: TestClient) -> None:
    seeds = {a_campaign(client, holdout=0.5)["holdout"]["seed"] for _ in range(3)}

    assert len(seeds) == 3


def test_items_and_lines_can_be_held_out_as_well_whatever_they_state(api: Api, client: TestClient) -> None:
    items = [an_item(str(n), user_id, method="contrast") for n, user_id in enumerate(USERS)]
    options: Json = {"holdout": 0.5, "holdout_seed": SEED}

    jobs = [submit(client, *items, **options), submit_lines(client, options, *items)]

    for job_id in map(accepted, jobs):
        stored = items_of_job(api.database, job_id)
        held_out = [preference_of(api.database, item)["method"] == "none" for item in stored]
        assert held_out == [Holdout(0.5, SEED).holds_out(user_id) for user_id in USERS]


def test_without_a_hold_out_nobody_is_told_of_one(api: Api, client: TestClient) -> None:
    job = a_campaign(client)
    end_item(api.database, uuid.UUID(job["id"]), 0)

    assert job["holdout"] is None
    assert client.get(f"/v1/jobs/{job['id']}/results").json()["data"][0]["holdout"] is None


@pytest.mark.parametrize(
    ("options", "pointer"),
    [
        ({"holdout": 0}, "/holdout"),
        ({"holdout": 1}, "/holdout"),
        ({"holdout": "a tenth"}, "/holdout"),
        ({"holdout": 0.1, "holdout_seed": -1}, "/holdout_seed"),
        ({"holdout": 0.1, "holdout_seed": 2**31}, "/holdout_seed"),
    ],
)
def test_what_is_no_share_or_no_seed_is_refused(client: TestClient, options: Json, pointer: str) -> None:
    answer = submit(client, an_item(user_id=USERS[0]), **options)

    assert [place for _, place in errors_of(answer)] == [pointer]


@given(seed=st.integers(0, 2**31 - 1), share=st.floats(0.05, 0.95))
def test_the_share_is_what_is_asked_for_and_a_larger_one_holds_the_same_users(seed: int, share: float) -> None:
    users = [f"u{number}" for number in range(2000)]

    held_out = {user_id for user_id in users if Holdout(share, seed).holds_out(user_id)}

    assert abs(len(held_out) / len(users) - share) < 0.08
    assert held_out <= {user_id for user_id in users if Holdout(min(share + 0.04, 1), seed).holds_out(user_id)}
