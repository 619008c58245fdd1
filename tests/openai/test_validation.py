"""What is wrong with a batch's file: everything at once, each with its line, and no job."""

import json
from typing import Any

import pytest
from openai import BadRequestError, NotFoundError, OpenAI
from sqlalchemy import func, select

from api.http.errors import MAX_ERRORS_SHOWN
from db.models import Job
from tests.openai.conftest import ALIAS, MODEL, Site
from tests.openai.requests import CHAT, a_batch, a_line, create, errors_of, upload_lines

COMPLETIONS, RESPONSES = "/v1/completions", "/v1/responses"


def num_jobs(site: Site) -> int:
    with site.database.reading() as session:
        return session.scalars(select(func.count()).select_from(Job)).one()


def test_all_that_is_wrong_is_said_at_once_and_nothing_is_stored(site: Site, client: OpenAI) -> None:
    before = num_jobs(site)
    wrong_url = {**a_line("c"), "url": "/v1/embeddings"}

    batch = a_batch(
        client,
        a_line("a", frequency_penalty=3, seed="x"),
        b"{nonsense",
        b"",
        a_line("a"),
        wrong_url,
        {**a_line("d"), "method": "GET", "extra": 1},
        b"[]",
        b'{"custom_id": "e\xff"}',
        a_line("f", model="another"),
        a_line("g", answers=3),
    )

    assert errors_of(batch) == [
        ("less_than_equal", "body.frequency_penalty", 1),
        ("int_type", "body.seed", 1),
        ("invalid_json_line", None, 2),
        ("duplicate_custom_id", "custom_id", 4),
        ("url_mismatch", "url", 5),
        ("literal_error", "method", 6),
        ("unknown_parameter", "extra", 6),
        ("invalid_json_line", None, 7),
        ("invalid_json_line", None, 8),
        ("model_mismatch", "body.model", 9),
        ("unknown_parameter", "body.answers", 10),
    ]
    assert num_jobs(site) == before
    assert batch.failed_at is not None
    assert (batch.request_counts.total if batch.request_counts else None) == 0
    assert (batch.in_progress_at, batch.output_file_id, batch.error_file_id) == (None, None, None)
    assert client.batches.retrieve(batch.id) == batch


def test_an_unknown_model_is_said_beside_the_rest(client: OpenAI) -> None:
    batch = a_batch(client, a_line("a", model="gpt-4o"), a_line("b", model="gpt-4o", n=0))

    assert errors_of(batch) == [("model_not_found", "body.model", 1), ("greater_than_equal", "body.n", 2)]
    assert batch.errors is not None
    assert MODEL in ((batch.errors.data or [])[0].message or "")


def test_a_model_has_to_be_named(client: OpenAI) -> None:
    assert errors_of(a_batch(client, a_line(model=None))) == [("missing", "body.model", 1)]


def test_an_alias_is_a_name_of_the_model(client: OpenAI) -> None:
    batch = a_batch(client, a_line(model=ALIAS))

    assert (batch.status, batch.model) == ("in_progress", MODEL)


def test_of_very_many_errors_the_first_are_said_and_how_many_there_are(client: OpenAI) -> None:
    batch = a_batch(client, *(a_line(f"{number}", n=0) for number in range(MAX_ERRORS_SHOWN + 50)))

    errors = errors_of(batch)
    assert len(errors) == MAX_ERRORS_SHOWN + 1
    assert errors[-1] == ("too_many_errors", None, None)
    assert batch.errors is not None
    assert str(MAX_ERRORS_SHOWN + 50) in ((batch.errors.data or [])[-1].message or "")


@pytest.mark.parametrize("lines", [[b""], [b"\n\n  \r\n"], [b"\xef\xbb\xbf"]])
def test_an_empty_file_fails(client: OpenAI, lines: list[bytes]) -> None:
    assert errors_of(a_batch(client, *lines)) == [("empty_file", None, None)]


def test_byte_order_mark_carriage_returns_and_blank_lines_are_passed_over(site: Site, client: OpenAI) -> None:
    lines = [json.dumps(a_line(name)).encode() for name in ("a", "b")]
    content = b"\xef\xbb\xbf" + lines[0] + b"\r\n\r\n   \n" + lines[1] + b"\r\n\n"

    batch = create(client, client.files.create(file=("in", content), purpose="batch").id)

    assert (batch.status, batch.request_counts and batch.request_counts.total) == ("in_progress", 2)
    site.decode(2)


HOSTILE = {
    "not UTF-8": (b'{"custom_id": "\xff\xfe"}', "invalid_json_line"),
    "UTF-16": ('{"custom_id": "a"}'.encode("utf-16"), "invalid_json_line"),
    "zip": (b"PK\x03\x04" + bytes(range(256)), "invalid_json_line"),
    "a CSV": (b"custom_id,prompt", "invalid_json_line"),
    "a key twice": (b'{"custom_id": "a", "custom_id": "b"}', "invalid_json_line"),
    "NaN": (b'{"custom_id": NaN}', "invalid_json_line"),
    "nested deeply": (b"[" * 10_000, "invalid_json_line"),
    "a long line": (b'"' + b"a" * (2**20 + 1) + b'"', "line_too_long"),
    "an infinite number": (b'{"custom_id": "a", "body": {"temperature": 1e999}}', "invalid_json_line"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_line_that_is_no_json_is_named_and_the_next_is_read(client: OpenAI, case: str) -> None:
    line, code = HOSTILE[case]

    errors = errors_of(a_batch(client, line, a_line("a", n=0)))

    assert (code, None, 1) in errors
    assert errors[-1][1:] == ("body.n", 1 + line.count(b"\n") + 1)


HUGE = 10**400
WRONG_VALUES: dict[str, dict[str, Any]] = {
    "a huge number": {"max_tokens": HUGE},
    "a huge seed": {"seed": 2**63},
    "a huge temperature": {"temperature": HUGE},
    "a NUL in a user": {"user": "a\0"},
    "a path as user": {"user": "../x"},
    "no user": {"user": ""},
    "a long user": {"user": "x" * 129},
    "a wrong user in metadata": {"metadata": {"user_id": "a/b"}},
    "a text for a number": {"max_tokens": "5"},
    "a fraction of a token": {"max_tokens": 1.5},
    "too hot": {"temperature": 2.1},
    "five stops": {"stop": ["a"] * 5},
    "no stop": {"stop": [""]},
    "a bias without a token": {"logit_bias": {"a": 1}},
    "a token that there is not": {"logit_bias": {"99999999": 1}},
    "two maxima": {"max_tokens": 5, "max_completion_tokens": 6},
    "no messages": {"messages": []},
    "messages as text": {"messages": "hi"},
    "the assistant last": {"messages": [{"role": "assistant", "content": "hi"}]},
    "a blank prompt": {"messages": [{"role": "user", "content": " "}]},
    "an image": {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
    "a tool's answer": {"messages": [{"role": "tool", "content": "1"}, {"role": "user", "content": "x"}]},
    "a named speaker": {"messages": [{"role": "user", "name": "ada", "content": "x"}]},
    "an unknown method": {"method": "magic"},
    "a negative strength": {"strength": -1},
    "stream": {"stream": True},
    "stream options": {"stream_options": {"include_usage": True}},
    "tools": {"tools": [{"type": "function"}]},
    "a tool's choice": {"tool_choice": "required"},
    "JSON": {"response_format": {"type": "json_object"}},
    "logprobs": {"logprobs": True},
    "top logprobs": {"top_logprobs": 2},
    "audio": {"modalities": ["text", "audio"]},
    "reasoning": {"reasoning_effort": "high"},
    "verbosity": {"verbosity": "low"},
    "an unknown parameter": {"tempreature": 1},
    "a long prompt": {"messages": [{"role": "user", "content": "x" * 32_001}]},
}


@pytest.mark.parametrize("case", WRONG_VALUES)
def test_a_parameter_that_cannot_be_done_is_refused_by_name_with_a_sentence(client: OpenAI, case: str) -> None:
    batch = a_batch(client, a_line(**WRONG_VALUES[case]))

    assert batch.status == "failed"
    assert batch.errors is not None
    errors = batch.errors.data or []
    assert errors
    for error in errors:
        assert (error.line, (error.param or "").split(".")[0]) == (1, "body")
        assert (error.message or "").endswith(".")
        if error.code != "duplicate":
            assert str(HUGE) not in (error.message or "")


@pytest.mark.parametrize(
    ("url", "body"),
    [
        (COMPLETIONS, {"prompt": ["a", "b"]}),
        (COMPLETIONS, {"prompt": [1, 2]}),
        (COMPLETIONS, {"prompt": "a", "echo": True}),
        (COMPLETIONS, {"prompt": "a", "logprobs": 0}),
        (COMPLETIONS, {"prompt": "a", "suffix": "b"}),
        (COMPLETIONS, {"prompt": "a", "best_of": 2}),
        (COMPLETIONS, {}),
        (RESPONSES, {"input": "a", "previous_response_id": "resp_1"}),
        (RESPONSES, {"input": "a", "background": True}),
        (RESPONSES, {"input": "a", "text": {"format": {"type": "json_schema"}}}),
        (RESPONSES, {"input": "a", "max_tokens": 5}),
        (RESPONSES, {"input": "a", "n": 2}),
        (RESPONSES, {"input": "a", "truncation": "auto"}),
        (RESPONSES, {"input": [{"type": "item_reference", "id": "msg_1"}]}),
        (RESPONSES, {"input": []}),
    ],
)
def test_the_other_endpoints_refuse_what_they_cannot_do(client: OpenAI, url: str, body: dict[str, Any]) -> None:
    batch = a_batch(client, a_line(url=url, messages=None, **body), endpoint=url)

    assert [line for _, _, line in errors_of(batch)] == [1]


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"endpoint": "/v1/embeddings"}, "endpoint"),
        ({"completion_window": "soon"}, "completion_window"),
        ({"completion_window": "999999999d"}, "completion_window"),
        ({"metadata": {f"{number}": "x" for number in range(17)}}, "metadata"),
        ({"metadata": {"a" * 65: "x"}}, f"metadata/{'a' * 65}"),
        ({"metadata": {"a": "x" * 513}}, "metadata/a"),
        ({"metadata": {"a": 1}}, "metadata/a"),
        ({"metadata": {"a": "\0"}}, "metadata/a"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 1}}, "output_expires_after/seconds"),
        ({"extra_body": {"colour": "red"}}, "colour"),
        ({"extra_body": {"priority": "asap"}}, "priority"),
    ],
)
def test_a_wrong_request_for_a_batch_is_a_bad_request(client: OpenAI, options: dict[str, Any], param: str) -> None:
    file_id = upload_lines(client, a_line())

    with pytest.raises(BadRequestError) as refused:
        create(client, file_id, **options)

    assert refused.value.param == param
    assert refused.value.type == "invalid_request_error"
    assert client.batches.list().data == []


@pytest.mark.parametrize("file_id", ["file-" + "0" * 32, "x", "\0"])
def test_a_batch_needs_a_file_that_is_there(client: OpenAI, file_id: str) -> None:
    with pytest.raises(NotFoundError) as missing:
        create(client, file_id)

    assert (missing.value.code, missing.value.param) == ("file_not_found", "input_file_id")


def test_another_tenants_file_cannot_be_used(site: Site, client: OpenAI) -> None:
    file_id = upload_lines(client, a_line())

    with pytest.raises(NotFoundError):
        create(site.client(), file_id)


def test_results_cannot_be_the_input_of_a_batch(site: Site, client: OpenAI) -> None:
    batch = a_batch(client)
    site.decode(1)

    with pytest.raises(BadRequestError) as refused:
        create(client, client.batches.retrieve(batch.id).output_file_id or "")

    assert refused.value.param == "input_file_id"


def test_the_urls_of_a_batch_are_its_endpoint(client: OpenAI) -> None:
    batch = a_batch(client, a_line(), endpoint=COMPLETIONS)

    assert ("url_mismatch", "url", 1) in errors_of(batch)
    assert CHAT == "/v1/chat/completions"
