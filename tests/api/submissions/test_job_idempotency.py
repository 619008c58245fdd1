"""A request with an Idempotency-Key makes one job, however often and however many at a time it is sent."""

import threading

import pytest
from httpx2 import Response
from sqlalchemy import update
from starlette.testclient import TestClient

from api.settings import Settings
from db.idempotency_models import IdempotencyRecord
from db.queries import idempotency
from db.session import Database, now
from tests.api.conftest import Api, an_api
from tests.api.job_requests import accepted, an_item, errors_of, give_profile, num_stored, submit, submit_lines

KEY = {"Idempotency-Key": "order 66"}


@pytest.fixture
def api(settings: Settings, database: Database) -> Api:
    """On both databases: what decides between parallel requests differs."""
    return an_api(settings, database)


def let_records_expire(database: Database) -> None:
    with database.transaction() as session:
        session.execute(update(IdempotencyRecord).values(expires_at=now(session)))


def test_a_repeat_gets_the_first_answer_and_makes_no_second_job(api: Api, client: TestClient) -> None:
    give_profile(client)
    first = submit(client, an_item(), headers=KEY)

    repeat = submit(client, an_item(), headers=KEY)

    assert (repeat.status_code, repeat.json()) == (first.status_code, first.json())
    assert repeat.headers["location"] == first.headers["location"]
    assert (first.headers.get("idempotency-replayed"), repeat.headers["idempotency-replayed"]) == (None, "true")
    assert num_stored(api.database)["jobs"] == 1
    assert len(api.queue.published) == 1


def test_a_repeat_is_answered_although_the_request_would_be_refused_by_now(client: TestClient) -> None:
    give_profile(client)
    first = submit(client, an_item(), headers=KEY)
    client.delete("/v1/profiles/ada")

    repeat = submit(client, an_item(), headers=KEY)

    assert accepted(repeat) == accepted(first)


def test_another_request_under_the_same_key_is_refused(api: Api, client: TestClient) -> None:
    give_profile(client)
    accepted(submit(client, an_item(), headers=KEY))

    other_body = submit(client, an_item(k=3), headers=KEY)
    other_form = submit_lines(client, an_item(), headers=KEY)

    assert (other_body.status_code, other_body.json()["code"]) == (422, "idempotency_key_reused")
    assert other_body.headers["x-should-retry"] == "false"
    assert other_form.json()["code"] == "idempotency_key_reused"
    assert num_stored(api.database)["jobs"] == 1


def test_the_same_bytes_as_another_type_are_another_request(client: TestClient) -> None:
    give_profile(client)
    body = b'{"custom_id": "a", "user_id": "ada", "prompt": "Tea"}'
    first = client.post("/v1/jobs", content=body, headers={**KEY, "Content-Type": "application/x-ndjson"})

    second = client.post("/v1/jobs", content=body, headers={**KEY, "Content-Type": "application/json"})

    accepted(first)
    assert second.status_code == 422


def test_a_refused_job_does_not_use_up_its_key(api: Api, client: TestClient) -> None:
    give_profile(client)
    refused = submit(client, an_item(k=0), headers=KEY)

    corrected = submit(client, an_item(k=1), headers=KEY)

    assert errors_of(refused)
    accepted(corrected)
    assert "idempotency-replayed" not in corrected.headers


def test_without_a_key_every_request_makes_a_job(client: TestClient) -> None:
    give_profile(client)

    assert accepted(submit(client, an_item())) != accepted(submit(client, an_item()))


def test_a_key_is_the_tenants_own(api: Api, client: TestClient) -> None:
    rival = api.client(tenant="rival")
    give_profile(client)
    give_profile(rival)

    assert accepted(submit(client, an_item(), headers=KEY)) != accepted(submit(rival, an_item(), headers=KEY))


def test_a_key_may_be_used_again_once_its_answer_has_expired(api: Api, client: TestClient) -> None:
    give_profile(client)
    first = submit(client, an_item(), headers=KEY)
    let_records_expire(api.database)

    second = submit(client, an_item(k=3), headers=KEY)

    assert accepted(first) != accepted(second)
    assert num_stored(api.database)["idempotency_records"] == 1


def test_expired_answers_are_forgotten_and_others_are_not(api: Api, client: TestClient) -> None:
    give_profile(client)
    submit(client, an_item(), headers={"Idempotency-Key": "old"})
    let_records_expire(api.database)
    submit(client, an_item(), headers={"Idempotency-Key": "new"})

    with api.database.transaction() as session:
        idempotency.forget_expired(session)

    assert num_stored(api.database)["idempotency_records"] == 1
    assert "idempotency-replayed" in submit(client, an_item(), headers={"Idempotency-Key": "new"}).headers


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there", "caf\xe9"])
def test_a_key_that_is_none_is_refused(client: TestClient, key: str) -> None:
    give_profile(client)

    answer = submit(client, an_item(), headers={b"Idempotency-Key": key.encode("latin-1")})  # type: ignore[dict-item]

    assert [pointer for _, pointer in errors_of(answer)] == ["idempotency-key"]


def test_of_parallel_requests_one_makes_the_job_and_all_are_told_of_it(api: Api, client: TestClient) -> None:
    give_profile(client)
    num_requests = 8
    barrier = threading.Barrier(num_requests)
    answers: list[Response] = []

    def send(sender: TestClient) -> None:
        barrier.wait()
        answers.append(submit_lines(sender, *[an_item(f"item-{number}") for number in range(50)], headers=KEY))

    threads = [threading.Thread(target=send, args=(api.client(),)) for _ in range(num_requests)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len({accepted(answer) for answer in answers}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
    assert (num_stored(api.database)["jobs"], num_stored(api.database)["items"]) == (1, 50)
    assert len(api.queue.published) == 1
