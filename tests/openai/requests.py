"""Lines of batches as clients write them, and batches made of them."""

import json
from typing import Any

from openai import OpenAI
from openai.types import Batch

from tests.openai.conftest import MODEL

CHAT = "/v1/chat/completions"
Json = dict[str, Any]


def a_line(custom_id: str = "a", content: object = "write about tea", *, url: str = CHAT, **body: object) -> Json:
    """One valid line; what is None is left out of its body."""
    asked = {"model": MODEL, "messages": [{"role": "user", "content": content}], **body}
    stated = {name: value for name, value in asked.items() if value is not None}
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": stated}


def upload_lines(client: OpenAI, *lines: object) -> str:
    """The id of a file of these lines; those that are bytes go out as they are, others as JSON."""
    content = b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
    return client.files.create(file=("in.jsonl", content), purpose="batch").id


def create(client: OpenAI, file_id: str, **options: Any) -> Batch:  # noqa: ANN401 - the client's
    """A batch of an uploaded file."""
    given = {"endpoint": CHAT, "completion_window": "24h", **options}
    return client.batches.create(input_file_id=file_id, **given)


def a_batch(client: OpenAI, *lines: object, **options: object) -> Batch:
    return create(client, upload_lines(client, *(lines or (a_line(),))), **options)


def lines_of(client: OpenAI, file_id: str | None) -> list[Json]:
    assert file_id is not None
    return [json.loads(line) for line in client.files.content(file_id).text.splitlines()]


def errors_of(batch: Batch) -> list[tuple[str, str | None, int | None]]:
    """The (code, param, line) of everything that was wrong; the batch must have failed."""
    assert batch.status == "failed", batch
    assert batch.errors is not None
    return [(error.code or "", error.param, error.line) for error in batch.errors.data or []]
