"""A request for a batch that is sent again makes no second one."""

import datetime as dt
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from openai import OpenAI, UnprocessableEntityError
from sqlalchemy import update

from db.openai_models import Batch as BatchRow
from tests.openai.conftest import Site
from tests.openai.requests import CHAT, a_batch, a_line, create, upload_lines


def bearer(client: OpenAI) -> dict[str, str]:
    return {"Authorization": f"Bearer {client.api_key}"}


def sent(client: OpenAI, file_id: str, *, retry: str | None = None, key: str | None = None, **options: Any) -> Any:  # noqa: ANN401 - the client's
    """The raw answer to a request whose headers say what is given; without `retry`, nothing of retries."""
    headers = bearer(client)
    if retry is not None:
        headers["x-stainless-retry-count"] = retry
    if key is not None:
        headers["Idempotency-Key"] = key
    body = {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h", **options}
    return client._client.post("batches", json=body, headers=headers)  # noqa: SLF001 - as others' clients send it


def age(site: Site, batch_id: str, minutes: int) -> None:
    named = BatchRow.id == uuid.UUID(batch_id.removeprefix("batch_"))
    with site.database.transaction() as session:
        created_at = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=minutes)
        session.execute(update(BatchRow).where(named).values(created_at=created_at))


def test_a_retry_gets_the_first_batch(site: Site, client: OpenAI) -> None:
    file_id = upload_lines(client, a_line())
    first = create(client, file_id, metadata={"a": "b"})
    site.decode(1)

    again = sent(client, file_id, retry="1", metadata={"a": "b"})

    assert again.headers["idempotency-replayed"] == "true"
    assert (again.json()["id"], again.json()["status"]) == (first.id, "completed")
    assert len(client.batches.list().data) == 1


@pytest.mark.parametrize(
    "other", [{"metadata": {"a": "c"}}, {"completion_window": "1h"}, {"endpoint": "/v1/completions"}]
)
def test_a_retry_of_something_else_is_something_else(client: OpenAI, other: dict[str, Any]) -> None:
    file_id = upload_lines(client, a_line())
    first = create(client, file_id)

    assert sent(client, file_id, retry="1", **other).json()["id"] != first.id


def test_a_key_names_one_request_of_each_kind(client: OpenAI) -> None:
    file_id = upload_lines(client, a_line())
    job = {"items": [{"custom_id": "a", "user_id": "ada", "prompt": "Tea?"}]}
    ours = client._client  # noqa: SLF001 - what their client has no words for
    ours.put("profiles/ada", json={"principles": [{"text": "formal"}]}, headers=bearer(client)).raise_for_status()

    batch = sent(client, file_id, key="once")
    other = ours.post("jobs", json=job, headers={**bearer(client), "Idempotency-Key": "once"})

    assert (batch.status_code, other.status_code) == (200, 202)


def test_a_first_try_is_a_batch_of_its_own(client: OpenAI) -> None:
    file_id = upload_lines(client, a_line())

    first, second = create(client, file_id), create(client, file_id)  # their client says that it is the first try

    assert first.id != second.id
    assert sent(client, file_id, retry="2").json()["id"] == second.id


def test_a_client_that_counts_nothing_repeats_itself_for_ten_minutes(site: Site, client: OpenAI) -> None:
    file_id = upload_lines(client, a_line())

    first, again = sent(client, file_id), sent(client, file_id)
    assert "idempotency-replayed" not in first.headers
    assert again.json()["id"] == first.json()["id"]

    age(site, first.json()["id"], minutes=11)
    assert sent(client, file_id).json()["id"] != first.json()["id"]


def test_a_retry_of_long_ago_is_a_batch_of_its_own(site: Site, client: OpenAI) -> None:
    file_id = upload_lines(client, a_line())
    first = create(client, file_id)

    age(site, first.id, minutes=31)

    assert sent(client, file_id, retry="1").json()["id"] != first.id


def test_a_batch_that_failed_is_repeated_as_well(client: OpenAI) -> None:
    batch = a_batch(client, b"nonsense")

    again = sent(client, batch.input_file_id, retry="1")

    assert (again.json()["id"], again.json()["status"]) == (batch.id, "failed")


def test_a_key_names_one_request(client: OpenAI) -> None:
    file_id = upload_lines(client, a_line())

    first = create(client, file_id, extra_headers={"Idempotency-Key": "k"})
    again = sent(client, file_id, retry="0", key="k")

    assert (again.json()["id"], again.headers["idempotency-replayed"]) == (first.id, "true")
    with pytest.raises(UnprocessableEntityError) as refused:
        create(client, file_id, extra_headers={"Idempotency-Key": "k"}, metadata={"a": "b"})
    assert refused.value.code == "idempotency_key_reused"
    assert create(client, file_id, extra_headers={"Idempotency-Key": "other"}).id != first.id


def test_what_comes_to_nothing_may_be_sent_again_under_its_key(site: Site, client: OpenAI) -> None:
    file_id = upload_lines(client, a_line())
    site.forget_models()

    refused = sent(client, file_id, key="k")
    assert refused.status_code == 503
    assert "retry-after" in refused.headers
    assert client.batches.list().data == []

    site.serve()
    made = sent(client, file_id, key="k")
    assert (made.status_code, made.json()["status"]) == (200, "in_progress")
    assert "idempotency-replayed" not in made.headers


def test_of_many_at_once_one_makes_the_batch(site: Site, client: OpenAI) -> None:
    file_id = upload_lines(client, a_line())

    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda _: sent(client, file_id), range(6)))

    assert [answer.status_code for answer in answers] == [200] * 6
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(client.batches.list().data) == 1
    site.decode(1)


def test_the_key_of_a_batch_that_was_interrupted_makes_another(site: Site, client: OpenAI) -> None:
    file_id = upload_lines(client, a_line())
    first = sent(client, file_id, key="once").json()["id"]
    long_ago = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
    with site.database.transaction() as session:
        named = BatchRow.id == uuid.UUID(first.removeprefix("batch_"))
        session.execute(update(BatchRow).where(named).values(job_id=None, read_by=long_ago))

    second, again = (sent(client, file_id, key="once").json() for _ in range(2))

    assert (second["status"], second["id"] != first) == ("in_progress", True)
    assert again["id"] == second["id"]
