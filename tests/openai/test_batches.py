"""A batch from its file to its output, with OpenAI's own client."""

import time

import pytest
from openai import OpenAI

from tests.openai.conftest import MODEL, Site
from tests.openai.requests import CHAT, a_batch, a_line, create, lines_of, upload_lines


def test_a_batch_is_created_followed_and_read(site: Site, tenant: str) -> None:
    client = site.client(tenant)
    site.give_profile(tenant, "ada", "humor")
    file_id = upload_lines(client, a_line("one", user="ada"), a_line("two", "write about cake"))

    batch = create(client, file_id, metadata={"campaign": "tea"})

    assert (batch.object, batch.endpoint, batch.input_file_id, batch.status) == ("batch", CHAT, file_id, "in_progress")
    assert (batch.completion_window, batch.metadata, batch.model) == ("24h", {"campaign": "tea"}, MODEL)
    assert abs(batch.created_at - time.time()) < 60
    assert batch.in_progress_at is not None
    assert batch.expires_at == pytest.approx(batch.in_progress_at + 86_400, abs=1)
    counts = batch.request_counts
    assert counts is not None
    assert (counts.total, counts.completed, counts.failed) == (2, 0, 0)
    assert (batch.output_file_id, batch.error_file_id, batch.errors, batch.usage) == (None, None, None, None)

    site.decode(1)
    running = client.batches.retrieve(batch.id)
    assert running.status == "in_progress"
    partial = client.files.content(running.output_file_id or "")
    assert (partial.response.headers["x-incomplete"], partial.response.headers["x-last-line"]) == ("true", "1")
    assert len(partial.text.splitlines()) == 1

    site.decode(1)
    ended = client.batches.retrieve(batch.id)
    assert ended.status == "completed"
    assert ended.completed_at is not None
    assert ended.usage is not None
    assert (ended.usage.input_tokens, ended.usage.output_tokens, ended.usage.total_tokens) == (6, 8, 14)
    assert ended.error_file_id is None
    whole = client.files.content(ended.output_file_id or "")
    assert (whole.response.headers["x-incomplete"], whole.response.headers["x-last-line"]) == ("false", "2")
    first, second = lines_of(client, ended.output_file_id)
    assert (first["custom_id"], second["custom_id"]) == ("one", "two")
    assert first["error"] is None
    assert (first["response"]["status_code"], first["response"]["request_id"]) == (200, first["id"])
    body = first["response"]["body"]
    assert body["object"] == "chat.completion"
    assert body["model"] == MODEL
    assert body["choices"][0]["message"] == {"role": "assistant", "content": "WRITE ABOUT TEA", "refusal": None}
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["usage"] == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    assert (body["padserve"]["user_id"], body["padserve"]["profile_version"]) == ("ada", 1)
    assert second["response"]["body"]["padserve"]["user_id"] is None


def test_a_job_of_a_batch_is_a_job(site: Site, client: OpenAI) -> None:
    batch = a_batch(client, a_line("one"))
    site.decode(1)

    results = client.get(f"/jobs/{batch.model_dump()['job_id']}/results", cast_to=object)

    (result,) = results["data"]  # type: ignore[index] # as JSON
    assert (result["custom_id"], result["user_id"], result["profile_version"]) == ("one", None, None)
    assert result["text"] == "WRITE ABOUT TEA"
