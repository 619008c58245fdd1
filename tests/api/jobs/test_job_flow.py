"""What a client does to its jobs: when they are wanted, pausing, retrying, deleting, and what they say meanwhile."""

import datetime as dt
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

from api.jobs.deadlines import reading_job
from db.models import Item, Job, Result
from db.queries import cancelling, claims, deadlines
from domain.states import ItemState
from tests.api.conftest import Api, an_api
from tests.api.job_requests import (
    Json,
    accepted,
    an_item,
    end_item,
    errors_of,
    give_profile,
    items_of_job,
    line_errors_of,
    set_running,
    submit,
    submit_lines,
)
from tests.builders import DIGEST

WORKER = uuid.UUID(int=1)
LONG_AGO = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
IN_2100 = "2100-01-01T12:00:00+02:00"


@pytest.fixture
def client(api: Api) -> TestClient:
    client = api.client()
    give_profile(client)
    return client


def a_job(client: TestClient, num_items: int = 1, **options: object) -> uuid.UUID:
    items = [an_item(f"item-{number}") for number in range(num_items)]
    return accepted(submit(client, *items, headers=None, **options))


def read(client: TestClient, job_id: uuid.UUID) -> Json:
    return dict(client.get(f"/v1/jobs/{job_id}").json())


def do(client: TestClient, job_id: uuid.UUID, verb: str) -> Json:
    answer = client.post(f"/v1/jobs/{job_id}/{verb}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def expire(api: Api, job_id: uuid.UUID) -> None:
    with api.database.transaction() as session:
        session.execute(update(Job).where(Job.id == job_id).values(expires_at=LONG_AGO))
        assert deadlines.enforce(session, job_id)


def num_claimed(api: Api) -> int:
    with api.database.transaction() as session:
        return len(claims.claim(session, owner=WORKER, model_digest=DIGEST, limit=99, lease_seconds=60))


def test_a_job_says_when_it_is_wanted(client: TestClient) -> None:
    job_id = a_job(client, priority="bulk", completion_window="1440m", not_before="2000-01-01T00:00:00Z")

    job = read(client, job_id)

    assert (job["priority"], job["completion_window"], job["paused_at"]) == ("bulk", "1d", None)
    assert job["not_before"] == "2000-01-01T00:00:00Z"
    window = dt.datetime.fromisoformat(job["expires_at"]) - dt.datetime.fromisoformat(job["created_at"])
    assert abs(window - dt.timedelta(days=1)) < dt.timedelta(seconds=1)


def test_a_job_that_says_nothing_of_it_is_normal_and_has_no_end(client: TestClient) -> None:
    job = read(client, a_job(client))

    assert [job[name] for name in ("priority", "completion_window", "expires_at", "not_before")] == [
        *("normal", None, None, None)
    ]


def test_the_first_line_and_a_campaign_say_it_too(client: TestClient) -> None:
    lines = submit_lines(client, {"priority": "interactive", "completion_window": "30s"}, an_item())
    campaign = {"prompt": "Tea.", "audience": {"user_ids": ["ada"]}, "not_before": IN_2100}

    scheduled = client.post("/v1/jobs", json=campaign)

    assert (lines.json()["priority"], lines.json()["completion_window"]) == ("interactive", "30s")
    assert scheduled.json()["not_before"] == "2100-01-01T10:00:00Z"


@pytest.mark.parametrize(
    ("options", "code", "pointer"),
    [
        ({"priority": "urgent"}, "enum", "/priority"),
        ({"completion_window": "24"}, "completion_window", "/completion_window"),
        ({"completion_window": "0h"}, "completion_window", "/completion_window"),
        ({"completion_window": "367d"}, "completion_window", "/completion_window"),
        ({"completion_window": 24}, "string_type", "/completion_window"),
        ({"not_before": "2100-01-01T00:00:00"}, "timezone_aware", "/not_before"),
        ({"not_before": 0}, "moment", "/not_before"),
        ({"not_before": "1795852041"}, "moment", "/not_before"),
        ({"not_before": "soon"}, "datetime_from_date_parsing", "/not_before"),
        ({"not_before": IN_2100, "completion_window": "24h"}, "not_before", "/not_before"),
    ],
)
def test_what_cannot_be_meant_is_refused(client: TestClient, options: Json, code: str, pointer: str) -> None:
    assert errors_of(submit(client, an_item(), **options)) == [(code, pointer)]
    assert line_errors_of(submit_lines(client, options, an_item())) == [(1, code, pointer)]


def test_a_job_that_is_paused_says_so_and_goes_on_when_it_is_resumed(api: Api, client: TestClient) -> None:
    job_id = a_job(client)
    api.queue.published.clear()

    paused = do(client, job_id, "pause")
    while_paused = num_claimed(api)
    again = do(client, job_id, "pause")
    resumed = do(client, job_id, "resume")

    assert (paused["state"], paused["waiting_reason"]) == ("queued", "Paused: resume the job to let it go on.")
    assert paused["paused_at"] is not None
    assert again["paused_at"] == paused["paused_at"]
    assert (resumed["paused_at"], resumed["waiting_reason"]) == (None, "Waiting for a worker to take its first items.")
    assert [arguments for _, arguments in api.queue.published] == [[str(job_id)]]
    assert (while_paused, num_claimed(api)) == (0, 1)


def test_a_scheduled_job_says_from_when_on_it_runs(client: TestClient) -> None:
    job = read(client, a_job(client, not_before=IN_2100))

    assert (job["state"], job["waiting_reason"]) == ("queued", "Not before 2100-01-01 10:00:00 UTC.")


def test_only_what_really_goes_first_is_counted_as_before_a_job(api: Api, client: TestClient) -> None:
    a_job(client, 2, priority="bulk")
    a_job(client, 4, not_before=IN_2100)
    do(client, a_job(client, 8), "pause")
    waiting = a_job(client)
    a_job(client, 16)
    a_job(client, 32, priority="interactive")

    assert read(client, waiting)["waiting_reason"] == "Behind 32 items of your jobs that go first."


def test_other_tenants_work_is_said_to_be_there_and_not_counted(api: Api, client: TestClient) -> None:
    job_id = a_job(client)
    rival = api.client(tenant="rival")
    give_profile(rival)
    a_job(rival, 7)

    assert read(client, job_id)["waiting_reason"] == (
        "Waiting for its turn: the workers have other tenants' items as well."
    )


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_a_job_that_has_ended_is_neither_paused_nor_resumed(api: Api, client: TestClient, verb: str) -> None:
    job_id = a_job(client)
    end_item(api.database, job_id, 0)

    answer = client.post(f"/v1/jobs/{job_id}/{verb}")

    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


def test_a_job_whose_window_has_ended_keeps_what_is_finished(api: Api, client: TestClient) -> None:
    job_id = a_job(client, 3, completion_window="1h")
    end_item(api.database, job_id, 0)
    set_running(api.database, job_id, 1)

    expire(api, job_id)

    job = read(client, job_id)
    assert (job["state"], job["finished_at"] is not None) == ("expired", True)
    assert job["counts"] == {"queued": 0, "running": 0, "succeeded": 1, "failed": 2, "cancelled": 0, "total": 3}
    page = client.get(f"/v1/jobs/{job_id}/results").json()
    assert [(result["error"] or {}).get("code") for result in page["data"]] == [None, "expired", "expired"]
    assert [result["state"] for result in page["data"]] == ["succeeded", "failed", "failed"]
    assert page["complete"]
    assert client.post(f"/v1/jobs/{job_id}/cancel").status_code == 409
    assert [job["id"] for job in client.get("/v1/jobs", params={"state": "expired"}).json()["data"]] == [str(job_id)]


def let_its_window_end(api: Api, job_id: uuid.UUID) -> None:
    """And no worker is there to notice."""
    with api.database.transaction() as session:
        session.execute(update(Job).where(Job.id == job_id).values(expires_at=LONG_AGO))


READS: dict[str, Callable[[TestClient, uuid.UUID], object]] = {
    "status": lambda client, job_id: read(client, job_id)["state"],
    "list": lambda client, _: client.get("/v1/jobs").json()["data"][0]["state"],
    "list of what expired": lambda client, _: client.get("/v1/jobs?state=expired").json()["data"][0]["state"],
    "results": lambda client, job_id: client.get(f"/v1/jobs/{job_id}/results").json()["data"][0]["error"]["code"],
}


@pytest.mark.parametrize("look", READS)
def test_a_job_whose_window_has_ended_is_expired_to_whoever_looks_although_no_worker_runs(
    api: Api, client: TestClient, look: str
) -> None:
    job_id = a_job(client, 2, completion_window="1h")
    let_its_window_end(api, job_id)

    assert READS[look](client, job_id) == "expired"
    assert read(client, job_id)["counts"]["failed"] == 2


def test_a_job_whose_window_has_ended_can_no_longer_be_acted_on_and_is_not_listed_as_open(
    api: Api, client: TestClient
) -> None:
    job_id = a_job(client, completion_window="1h")
    let_its_window_end(api, job_id)

    assert client.get("/v1/jobs", params={"state": "queued"}).json()["data"] == []
    for verb, body in (("cancel", None), ("pause", None), ("resume", None), ("priority", {"priority": "bulk"})):
        other = a_job(client, completion_window="1h")
        let_its_window_end(api, other)
        assert client.post(f"/v1/jobs/{other}/{verb}", json=body).status_code == 409
        assert read(client, other)["state"] == "expired"


def test_a_job_whose_window_has_ended_can_be_retried_at_once_and_deleted_at_once(api: Api, client: TestClient) -> None:
    job_id = a_job(client, 2, completion_window="1h")
    let_its_window_end(api, job_id)
    assert do(client, job_id, "retry")["counts"]["queued"] == 2

    let_its_window_end(api, job_id)
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 204


def test_a_job_whose_window_has_ended_is_read_although_the_database_takes_no_writes(
    api: Api, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = a_job(client, completion_window="1h")
    let_its_window_end(api, job_id)
    monkeypatch.setattr(deadlines, "enforce", refuse)

    assert read(client, job_id)["state"] == "queued"


def refuse(*_: object) -> bool:
    raise OperationalError("UPDATE", {}, sqlite3.OperationalError("attempt to write a readonly database"))


def test_a_retry_runs_what_failed_and_keeps_what_succeeded(api: Api, client: TestClient) -> None:
    job_id = a_job(client, 2)
    end_item(api.database, job_id, 0, text="kept")
    end_item(api.database, job_id, 1, ItemState.FAILED)
    api.queue.published.clear()

    job = do(client, job_id, "retry")

    assert (job["state"], job["finished_at"]) == ("running", None) or job["started_at"] is None
    assert (job["counts"]["queued"], job["counts"]["succeeded"], job["counts"]["failed"]) == (1, 1, 0)
    assert [arguments for _, arguments in api.queue.published] == [[str(job_id)]]
    assert [result["text"] for result in client.get(f"/v1/jobs/{job_id}/results").json()["data"]] == ["kept"]
    assert num_claimed(api) == 1


def test_a_retry_of_an_expired_job_runs_what_its_window_overtook(api: Api, client: TestClient) -> None:
    job_id = a_job(client, 3, completion_window="1h")
    end_item(api.database, job_id, 0)
    expire(api, job_id)

    job = do(client, job_id, "retry")

    assert (job["counts"]["queued"], job["counts"]["succeeded"], job["counts"]["failed"]) == (2, 1, 0)
    assert dt.datetime.fromisoformat(job["expires_at"]) > dt.datetime.now(dt.UTC)
    assert num_claimed(api) == 2


def test_a_retry_where_nothing_failed_changes_nothing(api: Api, client: TestClient) -> None:
    job_id = a_job(client)
    end_item(api.database, job_id, 0)
    before = read(client, job_id)

    assert do(client, job_id, "retry") == before


def test_a_cancelled_job_is_not_retried(api: Api, client: TestClient) -> None:
    job_id = a_job(client, 2)
    end_item(api.database, job_id, 0, ItemState.FAILED)
    cancelled = do(client, job_id, "cancel")

    answer = client.post(f"/v1/jobs/{job_id}/retry")

    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert read(client, job_id) == cancelled


def test_a_job_that_is_deleted_while_its_retry_begins_is_not_found(
    api: Api, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = a_job(client)
    end_item(api.database, job_id, 0, ItemState.FAILED)

    @contextmanager
    def read_and_lose_it(*named: Any) -> Iterator[object]:  # noqa: ANN401 - as the function it stands for
        with reading_job(*named) as read:
            yield read
        assert client.delete(f"/v1/jobs/{job_id}").status_code == 204

    monkeypatch.setattr("api.jobs.flow.reading_job", read_and_lose_it)
    answer = client.post(f"/v1/jobs/{job_id}/retry")

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_an_ended_job_is_deleted_with_its_items_and_texts(api: Api, client: TestClient) -> None:
    job_id, other = a_job(client, 2), a_job(client)
    for position in range(2):
        end_item(api.database, job_id, position)

    answer = client.delete(f"/v1/jobs/{job_id}")

    assert (answer.status_code, answer.content) == (204, b"")
    assert client.get(f"/v1/jobs/{job_id}").status_code == 404
    assert client.get(f"/v1/jobs/{job_id}/results").status_code == 404
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 404
    assert [job["id"] for job in client.get("/v1/jobs").json()["data"]] == [str(other)]
    with api.database.reading() as session:
        assert session.scalars(select(Job.id)).all() == [other]
        assert session.scalars(select(Item.job_id)).all() == [other]
        assert session.scalars(select(Result.item_id)).all() == []


def test_a_large_job_is_gone_at_once_and_its_rows_later(api: Api, client: TestClient) -> None:
    job_id = a_job(client, cancelling.ITEMS_PER_BATCH + 10)
    do(client, job_id, "cancel")

    assert client.delete(f"/v1/jobs/{job_id}").status_code == 204

    assert client.get(f"/v1/jobs/{job_id}").status_code == 404
    assert len(items_of_job(api.database, job_id)) == 10


def test_an_open_job_is_not_deleted(client: TestClient) -> None:
    job_id = a_job(client)

    answer = client.delete(f"/v1/jobs/{job_id}")

    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert read(client, job_id)["state"] == "queued"


def test_flow_is_the_same_on_postgresql(settings: object, postgresql_database: object) -> None:
    api = an_api(settings, postgresql_database)  # type: ignore[arg-type] # fixtures by name
    client = api.client()
    give_profile(client)
    job_id = a_job(client, 3, completion_window="1h", priority="bulk")
    assert do(client, job_id, "pause")["waiting_reason"] == "Paused: resume the job to let it go on."
    do(client, job_id, "resume")
    end_item(api.database, job_id, 0)
    expire(api, job_id)
    assert do(client, job_id, "retry")["counts"]["queued"] == 2
    do(client, job_id, "cancel")
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 204


def test_a_job_that_is_given_another_priority_is_claimed_before_older_ones(api: Api, client: TestClient) -> None:
    a_job(client)
    urgent = a_job(client)
    ended = a_job(client)
    do(client, ended, "cancel")

    answer = client.post(f"/v1/jobs/{urgent}/priority", json={"priority": "interactive"})
    refused = client.post(f"/v1/jobs/{ended}/priority", json={"priority": "bulk"})

    assert answer.json()["priority"] == "interactive"
    assert refused.status_code == 409
    with api.database.transaction() as session:
        (first,) = claims.claim(session, owner=WORKER, model_digest=DIGEST, limit=1, lease_seconds=60)
        assert session.scalars(select(Item.job_id).where(Item.id == first.item_id)).one() == urgent
