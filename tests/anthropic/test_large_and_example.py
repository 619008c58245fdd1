"""A large batch, and the example as it stands."""

import json
import threading
import time

import httpx
import pytest
from anthropic import Anthropic
from sqlalchemy import func, select

from db.models import Item
from examples import anthropic_batch
from tests.anthropic.requests import counts_of, job_of, params
from tests.openai.conftest import Site

NUM_REQUESTS = 6_001
"""More than one statement stores, and more than a page of results holds."""


def large_body(num_requests: int, content: str) -> bytes:
    request = json.dumps({"custom_id": "@", "params": params(content)})
    requests = ",".join(request.replace("@", str(number)) for number in range(num_requests))
    return f'{{"requests": [{requests}]}}'.encode()


def test_thousands_of_requests_are_one_batch(site: Site, client: Anthropic) -> None:
    body = large_body(NUM_REQUESTS, "write about tea")
    headers = {"X-Api-Key": client.api_key or "", "Content-Type": "application/json"}

    answer = httpx.post(f"{site.url}/v1/messages/batches", content=body, headers=headers, timeout=300)

    assert answer.status_code == 200, answer.text
    batch = client.messages.batches.retrieve(answer.json()["id"])
    assert counts_of(batch) == {"processing": NUM_REQUESTS}
    with site.database.reading() as session:
        assert session.scalars(select(func.count()).select_from(Item).where(Item.job_id == job_of(batch))).one() == (
            NUM_REQUESTS
        )
    client.messages.batches.cancel(batch.id)
    *_, last = results = list(client.messages.batches.results(batch.id))
    assert (len(results), last.custom_id, last.result.type) == (NUM_REQUESTS, str(NUM_REQUESTS - 1), "canceled")


def test_the_example_runs_as_it_stands(
    site: Site, client: Anthropic, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", client.api_key or "")
    codes: list[int] = []
    script = threading.Thread(target=lambda: codes.append(anthropic_batch.main(site.url, poll_seconds=0.05)))

    script.start()
    while not client.messages.batches.list().data:
        assert script.is_alive()
        time.sleep(0.02)
    site.decode(3)
    script.join()

    assert codes == [0]
    printed = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in printed] == ["letter-ada", "letter-bob", "letter-eve"]
