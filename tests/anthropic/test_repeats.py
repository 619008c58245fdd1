"""A request for a batch that is sent again makes no second one."""

import datetime as dt
import json
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import httpx2
import pytest
from anthropic import Anthropic
from sqlalchemy import update

from api.anthropic import acceptance
from api.submissions.submission import store_job
from db.anthropic_models import MessageBatch as BatchRow
from tests.anthropic.conftest import Connect
from tests.anthropic.requests import a_batch, a_request
from tests.openai.conftest import Site

REQUESTS = [a_request("a"), a_request("b")]


def sent(client: Anthropic, requests: object = None, **headers: str) -> httpx.Response:
    """The raw answer to a request with these headers; without them, it says nothing of retries."""
    given = {"X-Api-Key": client.api_key or "", **{name.replace("_", "-"): value for name, value in headers.items()}}
    content = json.dumps({"requests": requests or REQUESTS}, ensure_ascii=False, separators=(",", ":"))
    url = f"{str(client.base_url).rstrip('/')}/v1/messages/batches"
    return httpx.post(url, content=content, headers={"Content-Type": "application/json", **given})


def age(site: Site, batch_id: str, minutes: int) -> None:
    named = BatchRow.id == uuid.UUID(batch_id.removeprefix("msgbatch_"))
    with site.database.transaction() as session:
        created_at = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=minutes)
        session.execute(update(BatchRow).where(named).values(created_at=created_at))


def test_a_retry_of_the_clients_gets_the_first_batch(site: Site, client: Anthropic) -> None:
    first = a_batch(client, *REQUESTS)
    site.decode(2)

    again = client.messages.batches.create(requests=REQUESTS, extra_headers={"x-stainless-retry-count": "1"})

    assert (again.id, again.processing_status) == (first.id, "ended")
    assert len(client.messages.batches.list().data) == 1


def test_a_client_whose_answer_is_lost_makes_one_batch(
    site: Site, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = iter([True])

    client = connect(max_retries=2)
    send = client._client.send  # noqa: SLF001 - the network between the two
    monkeypatch.setattr(client, "_sleep_for_retry", lambda **_: None)

    def sending(request: object, **options: object) -> object:
        answer = send(request, **options)  # type: ignore[arg-type]  # as it was called
        if next(lost, False):
            raise httpx2.ReadTimeout("the answer was lost")
        return answer

    monkeypatch.setattr(client._client, "send", sending)  # noqa: SLF001 - as above

    batch = a_batch(client, *REQUESTS)

    assert [each.id for each in client.messages.batches.list().data] == [batch.id]


@pytest.mark.parametrize("other", [[a_request("a")], [a_request("b"), a_request("a")]], ids=["fewer", "turned"])
def test_a_retry_of_something_else_is_something_else(client: Anthropic, other: list[object]) -> None:
    first = sent(client)

    assert sent(client, other, x_stainless_retry_count="1").json()["id"] != first.json()["id"]
    for_another_user = sent(client, x_stainless_retry_count="1", anthropic_user_profile_id="eve")
    assert for_another_user.json()["id"] != first.json()["id"]


def test_a_first_try_is_a_batch_of_its_own(client: Anthropic) -> None:
    first, second = a_batch(client, *REQUESTS), a_batch(client, *REQUESTS)  # their client says that it is the first try

    assert first.id != second.id
    assert sent(client, x_stainless_retry_count="2").json()["id"] == second.id


def test_a_client_that_counts_nothing_repeats_itself_for_ten_minutes(site: Site, client: Anthropic) -> None:
    first, again = sent(client), sent(client)
    assert "idempotency-replayed" not in first.headers
    assert (again.json()["id"], again.headers["idempotency-replayed"]) == (first.json()["id"], "true")

    age(site, first.json()["id"], minutes=11)
    assert sent(client).json()["id"] != first.json()["id"]


def test_a_retry_of_long_ago_is_a_batch_of_its_own(site: Site, client: Anthropic) -> None:
    first = a_batch(client, *REQUESTS)

    age(site, first.id, minutes=31)

    assert sent(client, x_stainless_retry_count="1").json()["id"] != first.id


def test_a_batch_that_was_deleted_is_repeated_by_none(site: Site, client: Anthropic) -> None:
    first = a_batch(client, *REQUESTS)
    site.decode(2)
    client.messages.batches.delete(first.id)

    assert sent(client, x_stainless_retry_count="1").json()["id"] != first.id


def test_a_key_names_one_request(client: Anthropic) -> None:
    first, again = sent(client, Idempotency_Key="k"), sent(client, Idempotency_Key="k", x_stainless_retry_count="0")

    assert (again.json()["id"], again.headers["idempotency-replayed"]) == (first.json()["id"], "true")
    refused = sent(client, [a_request("c")], Idempotency_Key="k")
    assert (refused.status_code, refused.headers["x-should-retry"]) == (422, "false")
    assert refused.json()["error"]["details"]["error_code"] == "idempotency_key_reused"
    assert sent(client, Idempotency_Key="other").json()["id"] != first.json()["id"]


def test_what_comes_to_nothing_may_be_sent_again(site: Site, client: Anthropic) -> None:
    site.forget_models()

    refused = sent(client, Idempotency_Key="k")
    assert (refused.status_code, refused.json()["error"]["type"]) == (503, "api_error")
    assert "retry-after" in refused.headers
    assert client.messages.batches.list().data == []

    site.serve()
    made = sent(client, Idempotency_Key="k")
    assert made.status_code == 200
    assert "idempotency-replayed" not in made.headers


@pytest.mark.parametrize("key", [None, "k"])
def test_of_many_at_once_one_makes_the_batch(site: Site, client: Anthropic, key: str | None) -> None:
    headers = {} if key is None else {"Idempotency_Key": key}

    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda _: sent(client, **headers), range(6)))

    assert [answer.status_code for answer in answers] == [200] * 6
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(client.messages.batches.list().data) == 1


def test_two_tenants_who_send_the_same_have_a_batch_each(client: Anthropic, connect: Connect) -> None:
    assert sent(client).json()["id"] != sent(connect()).json()["id"]


def test_of_two_that_are_read_at_once_one_makes_the_batch(client: Anthropic, monkeypatch: pytest.MonkeyPatch) -> None:
    both = threading.Barrier(2, timeout=30)
    read = acceptance._for_its_model  # noqa: SLF001 - between the two looks

    def read_together(*given: Any) -> Any:  # noqa: ANN401 - as it was called
        both.wait()
        return read(*given)

    def store_slowly(*given: Any, **named: Any) -> Any:  # noqa: ANN401 - as it was called
        time.sleep(0.3)  # the other looks meanwhile, unless it waits its turn
        return store_job(*given, **named)

    monkeypatch.setattr(acceptance, "_for_its_model", read_together)
    monkeypatch.setattr(acceptance, "store_job", store_slowly)

    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(lambda _: sent(client), range(2)))

    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sorted("idempotency-replayed" in answer.headers for answer in answers) == [False, True]
    assert len(client.messages.batches.list().data) == 1
