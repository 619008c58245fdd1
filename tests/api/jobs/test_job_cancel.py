"""Cancelling ends a job at once and keeps what was finished."""

import uuid

import pytest
from starlette.testclient import TestClient

from api.settings import Settings
from db.queries import cancelling, claims
from db.session import Database
from domain.attempts import Outcome
from domain.states import ItemState
from tests.api.conftest import Api, an_api
from tests.api.job_requests import a_job_of, end_item, give_profile, items_of_job
from tests.builders import DIGEST

WORKER = uuid.uuid4()


@pytest.fixture
def api(settings: Settings, database: Database) -> Api:
    return an_api(settings, database)


@pytest.fixture
def client(api: Api) -> TestClient:
    client = api.client()
    give_profile(client)
    return client


def test_what_is_finished_is_kept_and_the_rest_is_cancelled(api: Api, client: TestClient) -> None:
    job_id = a_job_of(client, 4)
    end_item(api.database, job_id, 0)
    end_item(api.database, job_id, 1, ItemState.FAILED)
    with api.database.transaction() as session:
        claims.claim(session, owner=WORKER, model_digest=DIGEST, limit=1, lease_seconds=60)

    answer = client.post(f"/v1/jobs/{job_id}/cancel")

    job = answer.json()
    assert (answer.status_code, job["state"], job["finished_at"] is not None) == (200, "cancelled", True)
    assert job["counts"] == {"queued": 0, "running": 0, "succeeded": 1, "failed": 1, "cancelled": 2, "total": 4}
    page = client.get(f"/v1/jobs/{job_id}/results").json()
    assert [result["state"] for result in page["data"]] == ["succeeded", "failed", "cancelled", "cancelled"]
    assert [(result["error"] or {}).get("code") for result in page["data"]] == [
        None,
        "poison",
        "cancelled",
        "cancelled",
    ]
    assert page["complete"]
    assert {(item.lease_owner, item.lease_until) for item in items_of_job(api.database, job_id)} == {(None, None)}


def test_a_result_that_arrives_late_changes_nothing(api: Api, client: TestClient) -> None:
    job_id = a_job_of(client, 1)
    with api.database.transaction() as session:
        (item,) = claims.claim(session, owner=WORKER, model_digest=DIGEST, limit=1, lease_seconds=60)
    cancelled = client.post(f"/v1/jobs/{job_id}/cancel").json()

    with api.database.transaction() as session:
        moved = claims.save(session, owner=WORKER, outcomes=[Outcome(item.item_id, item.attempt, text="late")])

    assert moved == set()
    assert client.get(f"/v1/jobs/{job_id}").json() == cancelled
    assert client.get(f"/v1/jobs/{job_id}/results").json()["data"][0]["text"] is None


def test_cancelling_twice_is_as_good_as_once(client: TestClient) -> None:
    job_id = a_job_of(client, 2)

    first = client.post(f"/v1/jobs/{job_id}/cancel")
    second = client.post(f"/v1/jobs/{job_id}/cancel")

    assert (second.status_code, second.json()) == (200, first.json())


def test_a_completed_job_cannot_be_cancelled(api: Api, client: TestClient) -> None:
    job_id = a_job_of(client, 1)
    end_item(api.database, job_id, 0)

    answer = client.post(f"/v1/jobs/{job_id}/cancel")

    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert answer.headers["x-should-retry"] == "false"


def test_a_large_job_is_cancelled_at_once_and_its_results_say_so_before_all_its_items_have_followed(
    api: Api, client: TestClient
) -> None:
    num_items = cancelling.ITEMS_PER_BATCH + 10
    job_id = a_job_of(client, num_items)
    end_item(api.database, job_id, 3)

    job = client.post(f"/v1/jobs/{job_id}/cancel").json()
    page = client.get(f"/v1/jobs/{job_id}/results", params={"limit": 1000, "after": num_items - 1001}).json()

    assert (job["state"], job["counts"]["cancelled"], job["counts"]["queued"]) == ("cancelled", num_items - 1, 0)
    assert {result["state"] for result in page["data"]} == {"cancelled"}
    assert {result["error"]["code"] for result in page["data"]} == {"cancelled"}
    assert (len(page["data"]), page["complete"], page["has_more"]) == (1000, True, False)
    states = [item.state for item in items_of_job(api.database, job_id)]
    assert states.count(ItemState.QUEUED) == 9


def test_a_cancelled_job_is_not_claimed(api: Api, client: TestClient) -> None:
    job_id = a_job_of(client, 3)
    client.post(f"/v1/jobs/{job_id}/cancel")

    with api.database.transaction() as session:
        claimed = claims.claim(session, owner=WORKER, model_digest=DIGEST, limit=9, lease_seconds=60)

    assert claimed == []
