"""How batches end: cancelled, expired, failed in part; and their files, while they may be seen."""

import datetime as dt
import uuid
from types import NoneType
from typing import Any

import pytest
from openai import ConflictError, NotFoundError, OpenAI
from sqlalchemy import update

from db.models import Job
from db.openai_models import Batch as BatchRow
from db.queries import retrying
from tests.openai.conftest import Site
from tests.openai.requests import a_batch, a_line, lines_of, upload_lines

PAST = dt.timedelta(hours=1)


def change(site: Site, batch_id: str, **columns: Any) -> None:  # noqa: ANN401 - values of columns
    named = BatchRow.id == uuid.UUID(batch_id.removeprefix("batch_"))
    with site.database.transaction() as session:
        session.execute(update(BatchRow).where(named).values(**columns))


def job_of(batch: Any) -> uuid.UUID:  # noqa: ANN401 - the client's, with a field of ours
    return uuid.UUID(batch.job_id)


def test_a_cancelled_batch_keeps_what_is_finished_and_names_the_rest(site: Site, client: OpenAI) -> None:
    batch = a_batch(client, a_line("a"), a_line("b"), a_line("c"))
    site.decode(1)

    cancelled = client.batches.cancel(batch.id)

    assert cancelled.status == "cancelled"
    assert cancelled.cancelling_at is not None
    assert cancelled.cancelled_at is not None
    assert (cancelled.completed_at, cancelled.expired_at, cancelled.failed_at) == (None, None, None)
    assert cancelled.request_counts is not None
    assert cancelled.request_counts.model_dump() == {"total": 3, "completed": 1, "failed": 0, "cancelled": 2}
    assert [line["custom_id"] for line in lines_of(client, cancelled.output_file_id)] == ["a"]
    second, third = lines_of(client, cancelled.error_file_id)
    assert (second["custom_id"], third["custom_id"]) == ("b", "c")
    assert second["response"] is None
    assert second["error"] == {
        "code": "batch_cancelled",
        "message": "This request was not executed because the batch was cancelled.",
    }
    assert client.batches.cancel(batch.id) == cancelled
    assert cancelled.usage is not None
    assert cancelled.usage.total_tokens == 7


def test_an_ended_batch_cannot_be_cancelled_and_the_client_does_not_try_again(site: Site) -> None:
    client = site.client(max_retries=2)
    batch = a_batch(client)
    site.decode(1)

    with pytest.raises(ConflictError) as refused:
        client.batches.cancel(batch.id)

    assert refused.value.response.headers["x-should-retry"] == "false"
    assert "completed" in refused.value.message
    failed = a_batch(client, b"nonsense")
    with pytest.raises(ConflictError):
        client.batches.cancel(failed.id)


def test_an_expired_batch_keeps_what_is_finished_and_names_the_rest(site: Site, client: OpenAI) -> None:
    batch = a_batch(client, a_line("a"), a_line("b"), completion_window="1h")
    assert batch.expires_at == pytest.approx((batch.in_progress_at or 0) + 3600, abs=1)
    site.decode(1)
    with site.database.transaction() as session:
        past = dt.datetime.now(dt.UTC) - PAST
        session.execute(update(Job).where(Job.id == job_of(batch)).values(expires_at=past))

    expired = client.batches.retrieve(batch.id)

    assert (expired.status, expired.completion_window) == ("expired", "1h")
    assert expired.expired_at is not None
    assert (expired.completed_at, expired.cancelled_at, expired.cancelling_at) == (None, None, None)
    assert expired.request_counts is not None
    assert (expired.request_counts.completed, expired.request_counts.failed) == (1, 1)
    assert [line["custom_id"] for line in lines_of(client, expired.output_file_id)] == ["a"]
    (rest,) = lines_of(client, expired.error_file_id)
    assert (rest["custom_id"], rest["response"], rest["error"]["code"]) == ("b", None, "batch_expired")


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [("worker_lost", 500, "server_error"), ("prompt_too_long", 400, "invalid_request_error")],
)
def test_a_request_that_failed_is_in_the_error_file_as_an_http_error(
    site: Site, client: OpenAI, code: str, status: int, kind: str
) -> None:
    batch = a_batch(client, a_line("a"), a_line("b"))
    site.decode(1, error_code=code)
    site.decode(1)

    ended = client.batches.retrieve(batch.id)

    assert ended.status == "completed"
    (line,) = lines_of(client, ended.error_file_id)
    assert (line["custom_id"], line["error"]) == ("a", None)
    assert line["response"]["status_code"] == status
    assert line["response"]["body"] == {"error": {"message": "No.", "type": kind, "param": None, "code": code}}
    assert [line["custom_id"] for line in lines_of(client, ended.output_file_id)] == ["b"]


def test_a_retried_batch_goes_on_and_ends_again(site: Site, client: OpenAI) -> None:
    batch = a_batch(client, a_line("a"), a_line("b"))
    site.decode(1, error_code="worker_lost")
    site.decode(1)
    first = client.batches.retrieve(batch.id)
    assert first.usage is not None
    assert first.usage.total_tokens == 7

    with site.database.transaction() as session:
        retrying.retry(session, job_of(batch), after=-1)
    assert client.batches.retrieve(batch.id).status == "in_progress"
    site.decode(1)

    again = client.batches.retrieve(batch.id)
    assert (again.status, again.error_file_id) == ("completed", None)
    assert again.usage is not None
    assert again.usage.total_tokens == 14


def test_a_batch_whose_file_is_being_read_is_validating_and_may_be_cancelled(site: Site, client: OpenAI) -> None:
    batch = a_batch(client)
    soon = dt.datetime.now(dt.UTC) + PAST
    change(site, batch.id, job_id=None, read_by=soon)

    validating = client.batches.retrieve(batch.id)
    assert (validating.status, validating.in_progress_at, validating.errors) == ("validating", None, None)

    cancelled = client.batches.cancel(batch.id)
    assert cancelled.status == "cancelled"
    assert cancelled.cancelled_at is not None
    assert cancelled.request_counts is not None
    assert cancelled.request_counts.total == 0


def test_a_batch_whose_reader_died_has_failed(site: Site, client: OpenAI) -> None:
    batch = a_batch(client)
    past = dt.datetime.now(dt.UTC) - PAST
    change(site, batch.id, job_id=None, read_by=past)

    failed = client.batches.retrieve(batch.id)

    assert failed.status == "failed"
    assert failed.failed_at == int(past.timestamp())
    assert failed.errors is not None
    assert [error.code for error in failed.errors.data or []] == ["interrupted"]


def test_a_batch_goes_with_its_job(site: Site, client: OpenAI) -> None:
    batch = a_batch(client)
    site.decode(1)
    output = client.batches.retrieve(batch.id).output_file_id or ""

    client.delete(f"/jobs/{job_of(batch)}", cast_to=NoneType)

    with pytest.raises(NotFoundError) as missing:
        client.batches.retrieve(batch.id)
    assert missing.value.code == "batch_not_found"
    with pytest.raises(NotFoundError):
        client.files.content(output)
    assert client.batches.list().data == []


def test_the_clients_own_iterator_walks_all_batches(client: OpenAI) -> None:
    ids = [a_batch(client, metadata={"number": str(number)}).id for number in range(5)]

    assert [batch.id for batch in client.batches.list(limit=2)] == ids[::-1]
    page = client.batches.list(limit=2)
    assert page.has_more
    assert [batch.id for batch in client.batches.list(after=ids[1])] == [ids[0]]


@pytest.mark.parametrize("name", ["x", "batch_", "batch_" + "0" * 32, "%00", "file-" + "0" * 32])
def test_what_names_no_batch_is_not_found(client: OpenAI, name: str) -> None:
    for ask in (client.batches.retrieve, client.batches.cancel):
        with pytest.raises(NotFoundError) as missing:
            ask(name)
        assert missing.value.code == "batch_not_found"


def test_another_tenants_batches_and_their_files_are_not_there(site: Site, client: OpenAI) -> None:
    batch = a_batch(client)
    site.decode(1)
    output = client.batches.retrieve(batch.id).output_file_id or ""
    rival = site.client()

    for ask in (rival.batches.retrieve, rival.batches.cancel):
        with pytest.raises(NotFoundError):
            ask(batch.id)
    for ask_file in (rival.files.retrieve, rival.files.content, rival.files.delete):
        with pytest.raises(NotFoundError):
            ask_file(output)
    assert rival.batches.list().data == []
    assert rival.files.list().data == []
    assert client.files.retrieve(output).id == output


def test_the_files_of_results_are_listed_once_there_is_something_in_them(site: Site, client: OpenAI) -> None:
    batch = a_batch(client, a_line("a"), a_line("b"))
    assert client.files.list(purpose="batch_output").data == []

    site.decode(1)
    (listed,) = client.files.list(purpose="batch_output").data
    assert (listed.purpose, listed.bytes) == ("batch_output", 0)
    site.decode(1, error_code="poisoned")
    ended = client.batches.retrieve(batch.id)

    names = [file.id for file in client.files.list(purpose="batch_output")]
    assert names == [ended.error_file_id, ended.output_file_id]
    assert [file.id for file in client.files.list(limit=1)] == [*names, ended.input_file_id]
    assert [file.id for file in client.files.list(limit=1, order="asc")] == [ended.input_file_id, *names[::-1]]
    for name in names:
        file, content = client.files.retrieve(name), client.files.content(name).content
        assert (file.bytes, file.created_at) == (len(content), ended.completed_at)
        assert client.files.retrieve(name) == file
    assert all(file.bytes for file in client.files.list(purpose="batch_output"))


def test_many_batches_and_uploads_are_listed_in_one_order(site: Site, client: OpenAI) -> None:
    expected = []
    for number in range(4):
        expected.append(upload_lines(client, a_line(str(number))))
        batch = a_batch(client, a_line(str(number)), metadata={"number": str(number)})
        site.decode(1)
        expected += [batch.input_file_id, client.batches.retrieve(batch.id).output_file_id or ""]

    for size in (1, 2, 3, 100):
        assert [file.id for file in client.files.list(limit=size, order="asc")] == expected
        assert [file.id for file in client.files.list(limit=size)] == expected[::-1]


def test_a_deleted_output_is_gone_and_the_batch_stays(site: Site, client: OpenAI) -> None:
    batch = a_batch(client, a_line("a"), a_line("b"))
    site.decode(1)
    site.decode(1, error_code="poisoned")
    ended = client.batches.retrieve(batch.id)
    output, error = ended.output_file_id or "", ended.error_file_id or ""

    assert client.files.delete(output).deleted

    for ask in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(NotFoundError):
            ask(output)
    assert [file.id for file in client.files.list(purpose="batch_output")] == [error]
    assert client.files.delete(error).deleted
    assert client.files.list(purpose="batch_output").data == []
    assert client.batches.retrieve(batch.id).status == "completed"


def test_output_is_kept_as_long_as_the_batch_says(site: Site, client: OpenAI) -> None:
    batch = a_batch(client, output_expires_after={"anchor": "created_at", "seconds": 3600})
    site.decode(1)
    ended = client.batches.retrieve(batch.id)
    output = ended.output_file_id or ""

    assert client.files.retrieve(output).expires_at == (ended.completed_at or 0) + 3600
    with site.database.transaction() as session:
        past = dt.datetime.now(dt.UTC) - 2 * PAST
        session.execute(update(Job).where(Job.id == job_of(batch)).values(finished_at=past))

    with pytest.raises(NotFoundError):
        client.files.content(output)
    assert client.files.list(purpose="batch_output").data == []


def test_an_input_file_may_go_once_it_was_read(site: Site, client: OpenAI) -> None:
    batch = a_batch(client)
    client.files.delete(batch.input_file_id)
    site.decode(1)

    ended = client.batches.retrieve(batch.id)

    assert (ended.status, ended.input_file_id) == ("completed", batch.input_file_id)
    assert lines_of(client, ended.output_file_id)
