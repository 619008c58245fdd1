"""Bodies are read strictly and in bounded memory."""

import asyncio
import hashlib
import io
import json
import os
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import Request

from api.http.admission import Lane
from api.http.bodies import (
    CHUNK_BYTES,
    SPOOL_IN_MEMORY_BYTES,
    JsonSyntaxError,
    SpooledBody,
    ndjson_response,
    parse_json,
    spool,
)
from api.http.errors import BodyTooLargeError, MalformedBodyError, TooManyRequestsError


def spooled(data: bytes) -> SpooledBody:
    return SpooledBody(io.BytesIO(data), len(data), hashlib.sha256(data).hexdigest())


def test_lines_are_numbered_as_an_editor_does_and_can_be_read_again() -> None:
    body = spooled(b"\xef\xbb\xbfone\r\n\n \nfour\n")

    assert list(body.lines()) == [(1, b"one"), (4, b"four")]
    assert list(body.lines()) == [(1, b"one"), (4, b"four")]


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n"])
def test_a_line_may_be_as_long_as_the_limit_and_no_longer(ending: bytes) -> None:
    assert list(spooled(b"x" * 10 + ending).lines(max_line_bytes=10)) == [(1, b"x" * 10)]
    with pytest.raises(BodyTooLargeError, match="Line 2 "):
        list(spooled(b"\n" + b"x" * 11 + ending).lines(max_line_bytes=10))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{"a": NaN}', "line 1 column 7"),
        (b"[\n1,\n]", "line 3 column 1"),
        (b'{"a": 1e999}', "a number is too large"),
        (b'{"a": {"b": 1, "b": 2}}', "an object has the same key twice"),
        (b'{"a": "x", "b": 1, "a": "x"}', "an object has the same key twice"),
        (b'{"a": 1, "b": "\\"", "a": 1}', "an object has the same key twice"),
        (b'"\\ud800"', "line 1"),
        (b"\xff", "line 1"),
    ],
)
def test_what_is_not_strict_json_is_refused_with_a_place_or_a_reason(data: bytes, said: str) -> None:
    with pytest.raises(JsonSyntaxError, match=said):
        parse_json(data)
    with pytest.raises(MalformedBodyError):
        spooled(data).json()


@pytest.mark.parametrize(
    "data",
    [b'{"a": "x", "b": 1}', b'{"a": "\\u0022:", "b": [1.5, null], "c": {"a": true}}', b'{"": ""}', b"{}", b'"a"'],
)
def test_what_is_strict_json_is_read_as_python_reads_it(data: bytes) -> None:
    assert parse_json(data) == json.loads(data)


def test_a_syntax_error_never_repeats_the_text() -> None:
    with pytest.raises(JsonSyntaxError) as raised:
        parse_json(b'{"a": swordfish}')

    assert "swordfish" not in str(raised.value)


def test_rows_that_cannot_be_made_fail_before_the_answer_begins() -> None:
    def rows() -> Iterator[object]:
        raise LookupError
        yield

    with pytest.raises(LookupError):
        ndjson_response(rows(), Lane(most_of_tenant=1, most=1), uuid.uuid4())


def test_every_chunk_after_the_first_waits_for_its_turn() -> None:
    lane, tenant_id = Lane(most_of_tenant=1, most=1, patience_seconds=0), uuid.uuid4()
    answer = ndjson_response(("x" * CHUNK_BYTES for _ in range(2)), lane, tenant_id)

    async def read() -> None:
        chunks = aiter(answer.body_iterator)
        await anext(chunks)
        async with lane.slot(tenant_id):
            with pytest.raises(TooManyRequestsError):
                await anext(chunks)

    asyncio.run(read())


def test_a_long_body_is_whole_for_a_process_that_is_handed_its_file() -> None:
    chunks = [b"x" * CHUNK_BYTES] * (SPOOL_IN_MEMORY_BYTES // CHUNK_BYTES + 1) + [b"the end"]
    messages = iter([{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks])

    async def receive() -> Any:  # noqa: ANN401 - a message
        return next(messages, {"type": "http.request", "body": b"", "more_body": False})

    body = asyncio.run(spool(Request({"type": "http", "headers": []}, receive), max_bytes=2 * SPOOL_IN_MEMORY_BYTES))

    with body.file, os.fdopen(os.dup(body.file.fileno()), "rb") as handed_over:
        handed_over.seek(0)
        assert handed_over.read() == b"".join(chunks)
