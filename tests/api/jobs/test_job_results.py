"""Results are in input order under the right names, at any moment, and say what is still missing."""

import json
import uuid

import pytest
from httpx2 import Response
from sqlalchemy import delete, insert, select, update
from starlette.testclient import TestClient

from api.http.errors import NoSuchJobError
from api.jobs import results
from api.jobs.deadlines import reading_job
from api.settings import Settings
from db.models import Item, Result
from db.session import Database, now
from domain.states import TERMINAL_ITEM_STATES, ItemState
from tests.api.conftest import Api, an_api
from tests.api.job_requests import Json, a_job_of, end_item, give_profile, set_running

NDJSON = {"Accept": "application/x-ndjson"}


@pytest.fixture
def api(settings: Settings, database: Database) -> Api:
    return an_api(settings, database)


@pytest.fixture
def client(api: Api) -> TestClient:
    client = api.client()
    give_profile(client)
    return client


def page_of(client: TestClient, job_id: uuid.UUID, **params: str | int) -> Json:
    answer = client.get(f"/v1/jobs/{job_id}/results", params=params)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def lines_of(answer: Response) -> list[Json]:
    return [json.loads(line) for line in answer.text.splitlines()]


def positions(page: Json) -> list[int]:
    return [result["position"] for result in page["data"]]


def test_a_result_says_what_was_written_for_whom_and_how(api: Api, client: TestClient) -> None:
    job_id = a_job_of(client, 1)
    end_item(api.database, job_id, 0, text="Tee für 茶")
    with api.database.transaction() as session:
        session.execute(update(Result).values(rewards=[0.25, 0.25], kl=0.125))

    (result,) = page_of(client, job_id)["data"]

    assert len(result.pop("preference_hash")) == 64
    assert result.pop("finished_at").endswith("Z")
    assert result == {
        "custom_id": "item-1",
        "position": 0,
        "user_id": "ada",
        "profile_version": 1,
        "state": "succeeded",
        "text": "Tee für 茶",
        "finish_reason": "stop",
        "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12},
        "reward": 0.5,
        "rewards": [0.25, 0.25],
        "kl": 0.125,
        "holdout": None,
        "choices": None,
        "error": None,
        "attempts": 1,
    }


def test_a_failed_item_says_why_instead(api: Api, client: TestClient) -> None:
    job_id = a_job_of(client, 1)
    end_item(api.database, job_id, 0, ItemState.FAILED)

    (result,) = page_of(client, job_id)["data"]

    assert result["error"] == {"code": "poison", "message": "It cannot be decoded."}
    assert (result["state"], result["text"], result["usage"], result["reward"]) == ("failed", None, None, None)


def test_results_are_in_input_order_whatever_order_they_were_finished_in(api: Api, client: TestClient) -> None:
    job_id = a_job_of(client, 6)
    set_running(api.database, job_id, 0, 3)
    for position in (5, 1, 4, 2):
        end_item(api.database, job_id, position, text=f"text {position}")

    running = page_of(client, job_id)
    for position in (3, 0):
        end_item(api.database, job_id, position, text=f"text {position}")
    complete = page_of(client, job_id)

    assert positions(running) == [1, 2, 4, 5]
    assert (running["complete"], running["num_unfinished"]) == (False, 2)
    assert [(result["custom_id"], result["text"]) for result in complete["data"]] == [
        (f"item-{6 - position}", f"text {position}") for position in range(6)
    ]
    assert (complete["complete"], complete["num_unfinished"]) == (True, 0)


def test_pages_follow_one_another_without_gap_or_repeat(api: Api, client: TestClient) -> None:
    job_id = a_job_of(client, 9)
    ended = [0, 1, 4, 5, 7, 8]
    for position in ended:
        end_item(api.database, job_id, position)

    pages = [page_of(client, job_id, limit=2)]
    while pages[-1]["has_more"]:
        pages.append(page_of(client, job_id, limit=2, after=pages[-1]["next_after"]))

    assert [positions(page) for page in pages] == [[0, 1], [4, 5], [7, 8]]
    assert pages[-1]["next_after"] is None


def test_a_page_finds_results_behind_many_unfinished_items(
    api: Api, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "ROWS_PER_READ", 4)
    job_id = a_job_of(client, 50)
    end_item(api.database, job_id, 48)

    assert positions(page_of(client, job_id, limit=1)) == [48]


def test_ndjson_holds_every_result_one_per_line(api: Api, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "ROWS_PER_READ", 4)
    job_id = a_job_of(client, 10)
    for position in range(10):
        end_item(api.database, job_id, position)

    by_header = client.get(f"/v1/jobs/{job_id}/results", headers=NDJSON)
    by_parameter = client.get(f"/v1/jobs/{job_id}/results", params={"format": "ndjson", "after": 2, "limit": 5})

    assert by_header.headers["content-type"].startswith("application/x-ndjson")
    assert lines_of(by_header) == page_of(client, job_id)["data"]
    assert [line["position"] for line in lines_of(by_parameter)] == [3, 4, 5, 6, 7]


def test_ndjson_says_whether_anything_is_missing(api: Api, client: TestClient) -> None:
    job_id = a_job_of(client, 2)
    end_item(api.database, job_id, 1)

    running = client.get(f"/v1/jobs/{job_id}/results", headers=NDJSON)
    end_item(api.database, job_id, 0)
    complete = client.get(f"/v1/jobs/{job_id}/results", headers=NDJSON)

    assert (running.headers["x-incomplete"], len(lines_of(running))) == ("true", 1)
    assert (complete.headers["x-incomplete"], len(lines_of(complete))) == ("false", 2)


def test_results_can_be_chosen_by_state(api: Api, client: TestClient) -> None:
    job_id = a_job_of(client, 4)
    for position, state in enumerate([ItemState.SUCCEEDED, ItemState.FAILED, ItemState.SUCCEEDED]):
        end_item(api.database, job_id, position, state)

    assert positions(page_of(client, job_id, state="failed")) == [1]
    assert positions(page_of(client, job_id, state="succeeded")) == [0, 2]
    assert positions(page_of(client, job_id, state="cancelled")) == []


def test_an_item_that_ended_without_a_result_is_still_listed(api: Api, client: TestClient) -> None:
    job_id = a_job_of(client, 1)
    end_item(api.database, job_id, 0)
    with api.database.transaction() as session:
        session.execute(delete(Result))

    assert positions(page_of(client, job_id)) == [0]


def test_a_job_without_results_has_an_empty_page_and_an_empty_stream(client: TestClient) -> None:
    job_id = a_job_of(client, 2)

    page = page_of(client, job_id)
    stream = client.get(f"/v1/jobs/{job_id}/results", headers=NDJSON)

    assert (page["data"], page["has_more"], page["num_unfinished"]) == ([], False, 2)
    assert (stream.status_code, stream.content) == (200, b"")


@pytest.mark.parametrize(
    "params", [{"limit": "0"}, {"limit": "1001"}, {"after": "-1"}, {"state": "queued"}, {"format": "xml"}], ids=str
)
def test_a_wrong_parameter_is_refused(client: TestClient, params: dict[str, str]) -> None:
    assert client.get(f"/v1/jobs/{uuid.uuid4()}/results", params=params).status_code == 422


def test_every_row_of_a_large_job_is_its_own(api: Api, client: TestClient) -> None:
    num_items = 2500
    job_id = a_job_of(client, num_items)
    with api.database.transaction() as session:
        rows = session.execute(select(Item.id, Item.position)).all()
        texts = [{"item_id": row.id, "text": f"text {row.position}"} for row in rows]
        session.execute(insert(Result), texts)
        session.execute(update(Item).values(state=ItemState.SUCCEEDED, finished_at=now(session)))

    lines = lines_of(client.get(f"/v1/jobs/{job_id}/results", headers=NDJSON))

    assert [(line["custom_id"], line["text"]) for line in lines] == [
        (f"item-{num_items - position}", f"text {position}") for position in range(num_items)
    ]


def test_results_of_a_job_that_is_deleted_while_they_are_read_do_not_end_as_if_they_were_all(
    api: Api, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "ROWS_PER_READ", 1)
    job_id = a_job_of(client, 3)
    for position in range(3):
        end_item(api.database, job_id, position)
    with reading_job(api.database, api.tenant_id(), job_id) as (_, job):
        pass
    read = results.ended_items(api.database, job, 0, 3, TERMINAL_ITEM_STATES)

    assert next(read).position == 0
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 204

    with pytest.raises(NoSuchJobError):
        list(read)
