"""A message batch from its creation to its deletion, in the words of Anthropic's own client."""

import datetime as dt
import json
from typing import Any

import anthropic
import httpx
import pytest
from anthropic import Anthropic
from fastapi import Request
from sqlalchemy import func, select, update

from api.anthropic.batches import found_at
from api.http.dependencies import Scope
from db.anthropic_models import MessageBatch as BatchRow
from db.models import Job
from db.queries import cancelling, deleting, retrying
from tests.anthropic.conftest import Connect
from tests.anthropic.requests import a_batch, a_request, counts_of, job_of, results_of
from tests.openai.conftest import MODEL, Site

PAST = dt.timedelta(hours=1)


def test_a_batch_is_created_followed_and_read_to_its_end(site: Site, client: Anthropic) -> None:
    batch = a_batch(client, a_request("a"), a_request("b", "and coffee"))

    assert (batch.type, batch.processing_status, counts_of(batch)) == (
        "message_batch",
        "in_progress",
        {"processing": 2},
    )
    assert (batch.results_url, batch.ended_at, batch.cancel_initiated_at, batch.archived_at) == (None,) * 4
    assert batch.expires_at - batch.created_at == pytest.approx(dt.timedelta(hours=24), abs=dt.timedelta(seconds=1))
    site.decode(1)
    assert counts_of(client.messages.batches.retrieve(batch.id)) == {"processing": 1, "succeeded": 1}
    site.decode(1)

    ended = client.messages.batches.retrieve(batch.id)

    assert (ended.processing_status, counts_of(ended)) == ("ended", {"succeeded": 2})
    assert ended.ended_at is not None
    assert ended.ended_at >= ended.created_at
    assert ended.results_url == f"{site.url}/v1/messages/batches/{batch.id}/results"
    first, second = results_of(client, ended)
    assert (first.custom_id, second.custom_id) == ("a", "b")
    assert first.result.type == "succeeded"
    message = first.result.message
    assert message.content[0].type == "text"
    assert (message.content[0].text, message.role, message.type, message.model) == (
        *("WRITE ABOUT TEA", "assistant", "message"),
        MODEL,
    )
    assert (message.usage.input_tokens, message.usage.output_tokens, message.usage.service_tier) == (3, 4, "batch")
    assert second.result.type == "succeeded"
    assert second.result.message.id != message.id


def test_every_kind_of_result_is_what_the_client_knows(site: Site, client: Anthropic) -> None:
    batch = a_batch(client, *(a_request(name) for name in "abcde"))
    site.decode(1)
    site.decode(1, error_code="worker_lost")
    site.decode(1, error_code="prompt_too_long")
    client.messages.batches.cancel(batch.id)

    ended = client.messages.batches.retrieve(batch.id)

    assert counts_of(ended) == {"succeeded": 1, "errored": 2, "canceled": 2}
    results = [each.result for each in results_of(client, ended)]
    assert [result.type for result in results] == ["succeeded", "errored", "errored", "canceled", "canceled"]
    errors = [result.error.error for result in results if result.type == "errored"]
    assert [(error.type, error.message) for error in errors] == [("api_error", "No."), ("invalid_request_error", "No.")]


def test_what_the_completion_window_overtakes_has_expired_beside_what_failed(site: Site, client: Anthropic) -> None:
    batch = a_batch(client, *(a_request(name) for name in "abcd"), extra_body={"completion_window": "1h"})
    assert batch.expires_at - batch.created_at == pytest.approx(PAST, abs=dt.timedelta(seconds=1))
    site.decode(1)
    site.decode(1, error_code="worker_lost")
    with site.database.transaction() as session:
        past = dt.datetime.now(dt.UTC) - PAST
        session.execute(update(Job).where(Job.id == job_of(batch)).values(expires_at=past))

    ended = client.messages.batches.retrieve(batch.id)

    assert (ended.processing_status, counts_of(ended)) == ("ended", {"succeeded": 1, "errored": 1, "expired": 2})
    with site.database.transaction() as session:  # as the workers' sweeps do
        assert not cancelling.follow(session, job_of(batch))
    assert client.messages.batches.retrieve(batch.id) == ended
    assert [each.result.type for each in results_of(client, ended)] == ["succeeded", "errored", "expired", "expired"]
    (listed,) = client.messages.batches.list().data
    assert listed == ended


def test_a_cancelled_batch_has_ended_at_once_and_may_be_cancelled_again(site: Site, client: Anthropic) -> None:
    batch = a_batch(client, a_request("a"), a_request("b"))

    cancelled = client.messages.batches.cancel(batch.id)

    assert (cancelled.processing_status, counts_of(cancelled)) == ("ended", {"canceled": 2})
    assert cancelled.cancel_initiated_at is not None
    assert cancelled.cancel_initiated_at == pytest.approx(cancelled.ended_at, abs=dt.timedelta(seconds=1))
    assert client.messages.batches.cancel(batch.id) == cancelled


def test_an_ended_batch_cannot_be_cancelled(site: Site, client: Anthropic) -> None:
    batch = a_batch(client)
    site.decode(1)

    with pytest.raises(anthropic.BadRequestError) as refused:
        client.messages.batches.cancel(batch.id)

    assert (refused.value.type, refused.value.api_message) == (
        "invalid_request_error",
        "The batch has ended: there is nothing left to cancel.",
    )
    assert client.messages.batches.retrieve(batch.id).cancel_initiated_at is None


def test_an_ended_batch_is_deleted_with_its_job(site: Site, client: Anthropic) -> None:
    batch = a_batch(client)
    with pytest.raises(anthropic.BadRequestError, match="cancel it first"):
        client.messages.batches.delete(batch.id)
    site.decode(1)

    deleted = client.messages.batches.delete(batch.id)

    assert (deleted.id, deleted.type) == (batch.id, "message_batch_deleted")
    for ask in (client.messages.batches.retrieve, client.messages.batches.delete, client.messages.batches.cancel):
        with pytest.raises(anthropic.NotFoundError):
            ask(batch.id)
    assert client.messages.batches.list().data == []
    with site.database.reading() as session:
        assert session.scalars(select(func.count()).select_from(Job).where(Job.id == job_of(batch))).one() == 0
        assert (
            session.scalars(select(func.count()).select_from(BatchRow).where(BatchRow.job_id == job_of(batch))).one()
            == 0
        )


def test_a_deleted_batch_is_gone_before_the_rows_of_its_job_are(site: Site, client: Anthropic) -> None:
    batch = a_batch(client)
    site.decode(1)
    with site.database.transaction() as session:
        assert deleting.delete_job(session, job_of(batch))

    with pytest.raises(anthropic.NotFoundError):
        client.messages.batches.retrieve(batch.id)
    assert client.messages.batches.list().data == []
    again = {"x-stainless-retry-count": "1"}
    assert a_batch(client, extra_headers=again).id != batch.id


def test_results_are_there_once_the_batch_has_ended(site: Site, client: Anthropic) -> None:
    batch = a_batch(client, a_request("a"), a_request("b"))
    site.decode(1)

    with pytest.raises(anthropic.AnthropicError, match="No `results_url`"):
        client.messages.batches.results(batch.id)
    early = httpx.get(f"{site.url}/v1/messages/batches/{batch.id}/results", headers={"X-Api-Key": client.api_key or ""})

    assert early.status_code == 400
    assert str(job_of(batch)) in early.json()["error"]["message"]


def test_results_are_lines_of_json_for_who_reads_them_without_the_client(site: Site, client: Anthropic) -> None:
    batch = a_batch(client, a_request("a", "tea\u2028and\nmore"))
    site.decode(1)
    url = client.messages.batches.retrieve(batch.id).results_url or ""

    answer = httpx.get(url, headers={"X-Api-Key": client.api_key or "", "anthropic-version": "2023-06-01"})

    assert answer.headers["content-type"].startswith("application/x-jsonl")
    (line,) = answer.content.splitlines()
    result: dict[str, Any] = json.loads(line)
    assert result["result"]["message"]["content"] == [{"type": "text", "text": "TEA\u2028AND\nMORE", "citations": None}]


def test_links_lead_back_to_where_the_client_found_the_server(site: Site, client: Anthropic) -> None:
    batch = a_batch(client)
    site.decode(1)
    headers = {"X-Api-Key": client.api_key or "", "Host": "llm.example:444", "X-Forwarded-Proto": "https"}

    seen = httpx.get(f"{site.url}/v1/messages/batches/{batch.id}", headers=headers).json()

    assert seen["results_url"] == f"https://llm.example:444/v1/messages/batches/{batch.id}/results"


@pytest.mark.parametrize(
    ("said", "scheme"), [("https", "https"), ("HTTPS, http", "https"), ("http", "http"), ("ftp", "http")]
)
def test_a_proxy_that_ends_tls_says_so_wherever_it_is(said: str, scheme: str) -> None:
    headers = [(b"host", b"llm.example"), (b"x-forwarded-proto", said.encode())]
    scope = {"type": "http", "scheme": "http", "path": "/v1", "query_string": b"", "headers": headers}

    assert found_at(Request(scope)) == f"{scheme}://llm.example"


def test_the_clients_own_iterator_walks_all_batches_both_ways(client: Anthropic) -> None:
    ids = [a_batch(client, a_request(str(number))).id for number in range(5)]
    newest_first = ids[::-1]

    assert [batch.id for batch in client.messages.batches.list(limit=2)] == newest_first
    assert [batch.id for batch in client.messages.batches.list(limit=2, after_id=ids[2])] == [ids[1], ids[0]]
    page = client.messages.batches.list(limit=2, before_id=ids[0])
    assert ([batch.id for batch in page.data], page.has_more) == ([ids[2], ids[1]], True)
    assert (page.first_id, page.last_id) == (ids[2], ids[1])
    assert sorted(batch.id for batch in client.messages.batches.list(limit=2, before_id=ids[0])) == ids[1:]
    assert client.messages.batches.list(before_id=ids[4]).has_more is False


@pytest.mark.parametrize("wrong", [{"limit": 0}, {"limit": 1001}, {"limit": "x"}, {"after_id": "a", "before_id": "b"}])
def test_a_page_that_cannot_be_is_refused(client: Anthropic, wrong: dict[str, Any]) -> None:
    with pytest.raises(anthropic.BadRequestError) as refused:
        client.messages.batches.list(**wrong)

    assert refused.value.type == "invalid_request_error"


def test_a_retried_job_is_a_batch_that_goes_on(site: Site, client: Anthropic) -> None:
    batch = a_batch(client, a_request("a"), a_request("b"))
    site.decode(1, error_code="worker_lost")
    site.decode(1)
    assert client.messages.batches.retrieve(batch.id).processing_status == "ended"

    with site.database.transaction() as session:
        retrying.retry(session, job_of(batch), after=-1)

    again = client.messages.batches.retrieve(batch.id)
    assert (again.processing_status, counts_of(again)) == ("in_progress", {"processing": 1, "succeeded": 1})
    assert again.results_url is None
    site.decode(1)
    assert counts_of(client.messages.batches.retrieve(batch.id)) == {"succeeded": 2}


@pytest.mark.parametrize("name", ["x", "msgbatch_", "msgbatch_" + "0" * 32, "%00", "batch_" + "0" * 32])
def test_what_names_no_batch_is_not_found(client: Anthropic, name: str) -> None:
    for ask in (client.messages.batches.retrieve, client.messages.batches.cancel, client.messages.batches.delete):
        with pytest.raises(anthropic.NotFoundError) as missing:
            ask(name)
        assert (missing.value.type, missing.value.error_code) == ("not_found_error", "message_batch_not_found")


def test_another_tenants_batches_are_not_there(site: Site, client: Anthropic, connect: Connect) -> None:
    batch = a_batch(client)
    site.decode(1)
    rival = connect()

    for ask in (rival.messages.batches.retrieve, rival.messages.batches.cancel, rival.messages.batches.delete):
        with pytest.raises(anthropic.NotFoundError):
            ask(batch.id)
    with pytest.raises(anthropic.NotFoundError):
        rival.get(f"/v1/messages/batches/{batch.id}/results", cast_to=object)
    assert rival.messages.batches.list().data == []
    assert rival.messages.batches.list(before_id=batch.id).data == []
    assert rival.messages.batches.list(after_id=batch.id).data == []
    assert client.messages.batches.retrieve(batch.id).id == batch.id


def test_reading_and_writing_need_their_scopes(site: Site, connect: Connect, tenant: str) -> None:
    reader, writer = connect(tenant, Scope.JOBS_READ), connect(tenant, Scope.JOBS_WRITE)
    batch = a_batch(writer)

    with pytest.raises(anthropic.PermissionDeniedError) as refused:
        a_batch(reader)
    for ask in (reader.messages.batches.cancel, reader.messages.batches.delete, writer.messages.batches.retrieve):
        with pytest.raises(anthropic.PermissionDeniedError):
            ask(batch.id)

    assert refused.value.type == "permission_error"
    assert reader.messages.batches.retrieve(batch.id).id == batch.id


def test_neither_vendors_client_sees_the_others_batches(site: Site, client: Anthropic) -> None:
    batch = a_batch(client)
    headers = {"X-Api-Key": client.api_key or ""}

    theirs = httpx.get(f"{site.url}/v1/batches", headers=headers).json()
    jobs = httpx.get(f"{site.url}/v1/jobs", headers=headers).json()

    assert theirs["data"] == []
    assert [job["id"] for job in jobs["data"]] == [str(job_of(batch))]
