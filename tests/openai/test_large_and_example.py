"""A batch as large as OpenAI allows, and the example as it stands."""

import json
import threading

import pytest
from openai import OpenAI
from sqlalchemy import func, select

from db.models import Item
from examples import openai_batch
from tests.openai.conftest import Site
from tests.openai.requests import a_line, create

NUM_LINES = {"sqlite": 50_000, "postgresql": 6_001}
"""On one database as many as OpenAI allows; on the other more than one statement stores."""


def test_very_many_lines_are_one_batch(site: Site, client: OpenAI) -> None:
    num_lines = NUM_LINES[site.database.url.get_backend_name()]
    line = json.dumps(a_line("@", max_tokens=5))
    content = "\n".join(line.replace("@", str(number)) for number in range(num_lines)).encode()

    batch = create(client, client.files.create(file=("in", content), purpose="batch").id)

    assert batch.request_counts is not None
    assert (batch.status, batch.request_counts.total) == ("in_progress", num_lines)
    with site.database.reading() as session:
        assert session.scalars(select(func.count()).select_from(Item)).one() >= num_lines
    cancelled = client.batches.cancel(batch.id)
    errors = client.files.content(cancelled.error_file_id or "").text.splitlines()
    assert len(errors) == num_lines
    assert json.loads(errors[-1])["custom_id"] == str(num_lines - 1)


def test_the_example_runs_as_it_stands(
    site: Site, client: OpenAI, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", client.api_key)
    codes: list[int] = []
    script = threading.Thread(target=lambda: codes.append(openai_batch.main(f"{site.url}/v1", poll_seconds=0.05)))

    script.start()
    while not client.batches.list().data:
        assert script.is_alive()
    while client.batches.list().data[0].status == "validating":
        assert script.is_alive()
    site.decode(3)
    script.join()

    assert codes == [0]
    printed = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in printed] == ["letter-ada", "letter-bob", "letter-eve"]
