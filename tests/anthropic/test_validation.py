"""What is wrong with a batch: everything at once, each with its place, and nothing is stored."""

import json
from typing import Any

import anthropic
import httpx
import pytest
from anthropic import Anthropic
from sqlalchemy import func, select

from api.http.errors import MAX_ERRORS_SHOWN
from db.models import Job
from tests.anthropic.requests import a_batch, a_request, items_of, params
from tests.openai.conftest import ALIAS, MODEL, Site

BATCHES = "/v1/messages/batches"


def num_jobs(site: Site) -> int:
    with site.database.reading() as session:
        return session.scalars(select(func.count()).select_from(Job)).one()


def errors_of(client: Anthropic, *requests: object, **options: Any) -> list[tuple[str, str | None]]:  # noqa: ANN401 - the client's
    """The (code, place) of everything that is wrong."""
    with pytest.raises(anthropic.BadRequestError) as refused:
        a_batch(client, *requests, **options)
    assert refused.value.type == "invalid_request_error"
    return [(error["code"], error["param"]) for error in details_of(refused.value)["errors"]]


def details_of(error: anthropic.APIStatusError) -> dict[str, Any]:
    body: Any = error.body
    return dict(body["error"]["details"])


def sent(site: Site, client: Anthropic, content: bytes, **headers: str) -> httpx.Response:
    given = {"X-Api-Key": client.api_key or "", "Content-Type": "application/json", **headers}
    return httpx.post(f"{site.url}{BATCHES}", content=content, headers=given)


def test_all_that_is_wrong_is_said_at_once_and_nothing_is_stored(site: Site, client: Anthropic) -> None:
    before = num_jobs(site)

    found = errors_of(
        client,
        a_request("a", max_tokens=None, temperature=2),
        a_request("a"),
        {"custom_id": "c"},
        {"custom_id": "", "params": params(), "extra": 1},
        [],
        a_request("f", model="another"),
        a_request("g", answers=3),
        extra_body={"priority": "yes", "urgent": True},
    )

    assert found == [
        ("enum", "priority"),
        ("extra_forbidden", "urgent"),
        ("less_than_equal", "requests.0.params.temperature"),
        ("missing", "requests.0.params.max_tokens"),
        ("duplicate_custom_id", "requests.1.custom_id"),
        ("missing", "requests.2.params"),
        ("string_too_short", "requests.3.custom_id"),
        ("extra_forbidden", "requests.3.extra"),
        ("not_an_object", "requests.4"),
        ("model_mismatch", "requests.5.params.model"),
        ("extra_forbidden", "requests.6.params.answers"),
    ]
    assert num_jobs(site) == before
    assert client.messages.batches.list().data == []


def test_the_sentence_that_clients_show_names_the_places(client: Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError) as refused:
        a_batch(client, a_request("a", max_tokens=None), a_request("b", messages=[]))

    assert refused.value.api_message == (
        "requests.0.params.max_tokens: This field is required. requests.1.params.messages: At least 1 are needed."
    )


def test_of_very_many_errors_the_first_are_said_and_how_many_there_are(client: Anthropic) -> None:
    wrong = [a_request(str(number), max_tokens=0) for number in range(MAX_ERRORS_SHOWN + 50)]

    with pytest.raises(anthropic.BadRequestError) as refused:
        a_batch(client, *wrong)

    details = details_of(refused.value)
    assert (len(details["errors"]), details["num_errors"]) == (MAX_ERRORS_SHOWN, MAX_ERRORS_SHOWN + 50)
    assert (refused.value.api_message or "").endswith(f"There are {MAX_ERRORS_SHOWN + 50} errors altogether.")


def test_an_unknown_model_is_said_beside_the_rest(client: Anthropic) -> None:
    found = errors_of(client, a_request("a", model="claude"), a_request("b", model="claude", max_tokens=0))

    assert found == [
        ("unknown_model", "requests.0.params.model"),
        ("greater_than_equal", "requests.1.params.max_tokens"),
    ]


def test_an_alias_is_a_name_of_the_model(client: Anthropic) -> None:
    assert (a_batch(client, a_request(model=ALIAS)).model_extra or {})["model"] == MODEL


BLOCKS = [{"type": "text", "text": "tea"}]
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a tool": ({"tools": [{"name": "x", "input_schema": {}}]}, "Tools cannot be called here."),
    "a choice of tools": ({"tool_choice": {"type": "any"}}, "Tools cannot be called here."),
    "a stream": ({"stream": True}, "not streamed"),
    "thinking": ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "reasons"),
    "a format": ({"output_config": {"format": {"type": "json_schema", "schema": {}}}}, "plain text"),
    "a container": ({"container": "x"}, "kept between requests"),
    "a place": ({"inference_geo": "eu"}, "runs"),
    "another name for a user": ({"safety_identifier": "ada"}, "`metadata.user_id`"),
    "several answers": ({"n": 2}, "one answer"),
    "an image": ({"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]}, "`image`"),
    "a result of a tool": ({"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]}, "`tool_result`"),
    "a block of nothing": ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "each with its `text`"),
    "a block with more": ({"messages": [{"role": "user", "content": [{**BLOCKS[0], "more": 1}]}]}, "nothing else"),
    "a strange block": ({"messages": [{"role": "user", "content": [{"type": "<b>"}]}]}, "of the type `text`"),
    "a number as content": ({"messages": [{"role": "user", "content": 5}]}, "valid string"),
    "a number as system": ({"system": 5}, "valid string"),
    "another role": ({"messages": [{"role": "tool", "content": "x"}]}, "'system', 'user' or 'assistant'"),
    "a prefilled answer": (
        {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "Dear"}]},
        "cannot be continued here",
    ),
    "a blank message": ({"messages": [{"role": "user", "content": " \n"}]}, "must not be blank"),
    "no message": ({"messages": []}, "At least 1"),
    "messages as text": ({"messages": "tea"}, "Must be a list"),
    "too many tokens": ({"max_tokens": 5000}, "less than or equal to 4096"),
    "more tokens than the model has": ({"max_tokens": 4096}, "does not fit"),
    "a huge number": ({"max_tokens": 10**400}, "less than or equal"),
    "a text for a number": ({"max_tokens": "5"}, "valid integer"),
    "too hot": ({"temperature": 1.01}, "less than or equal to 1"),
    "five stops": ({"stop_sequences": ["a"] * 5}, "At most 4"),
    "an empty stop": ({"stop_sequences": [""]}, "At least 1"),
    "a path as user": ({"metadata": {"user_id": "a/b"}}, "without '/'"),
    "a NUL in a user": ({"metadata": {"user_id": "a\0"}}, "Control"),
    "a number as user": ({"metadata": {"user_id": 5}}, "valid string"),
    "a list as metadata": ({"metadata": []}, "JSON object"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_done_is_refused_with_a_sentence(client: Anthropic, case: str) -> None:
    said, sentence = REFUSED[case]
    request = a_request()
    request["params"].update(said)

    with pytest.raises(anthropic.BadRequestError) as refused:
        a_batch(client, request)

    (error,) = details_of(refused.value)["errors"]
    assert sentence in error["message"]
    assert error["param"].startswith(f"requests.0.params.{next(iter(said))}")


BROKEN: dict[str, bytes] = {
    "nothing": b"",
    "no object": b"[]",
    "half": b'{"requests": [{"custom_id": "a"',
    "a half text": b'{"requests": ["a',
    "something behind": b'{"requests": []} {}',
    "a comma too many": b'{"requests": [{},]}',
    "a comma too few": b'{"requests": [{} {}]}',
    "no key": b"{: []}",
    "a key twice": b'{"requests": [], "requests": []}',
    "a key twice inside": b'{"requests": [{"a": 1, "a": 2}]}',
    "not UTF-8": b'{"requests": [{"custom_id": "\xff"}]}',
    "UTF-16": '{"requests": []}'.encode("utf-16"),
    "NaN": b'{"requests": [{"custom_id": NaN}]}',
    "brackets crossed": b'{"requests": [{"a": [}]}]}',
    "nested deeply": b'{"requests": [' + b"[" * 100_000 + b"]" * 100_000 + b"]}",
    "a bare word": b'{"requests": [nonsense]}',
    "a zip": b"PK\x03\x04" + bytes(range(256)),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_body_that_is_no_json_is_refused(site: Site, client: Anthropic, case: str) -> None:
    answer = sent(site, client, BROKEN[case])

    assert answer.status_code == 400
    assert answer.json()["error"]["details"]["error_code"] == "malformed_body"


EMPTY: dict[str, tuple[bytes, str]] = {
    "nothing said": (b"{}", "no_requests"),
    "none": (b'{"requests": []}', "no_requests"),
    "no list": (b'{"requests": {"a": 1}}', "list_type"),
    "null": (b'{"requests": null}', "list_type"),
}


@pytest.mark.parametrize("case", EMPTY)
def test_a_batch_has_requests(site: Site, client: Anthropic, case: str) -> None:
    content, code = EMPTY[case]

    answer = sent(site, client, content)

    errors = answer.json()["error"]["details"]["errors"]
    assert [(error["code"], error["param"]) for error in errors] == [(code, "requests")]


def test_a_body_is_read_however_it_is_laid_out(site: Site, client: Anthropic) -> None:
    first, second = (json.dumps(a_request(name, '}]{["\\" \u00e9'), indent=3) for name in "ab")
    laid_out = f'\ufeff \n{{ "priority" : "bulk",\r\n "re\\u0071uests":[ {first}\t,{second} ] , "metadata": {{}} }}\n '

    answer = sent(site, client, laid_out.encode())

    assert answer.status_code == 200, answer.text
    batch = client.messages.batches.retrieve(answer.json()["id"])
    assert [item.messages[0]["content"] for item in items_of(site, batch)] == ['}]{["\\" \u00e9'] * 2


def test_a_request_that_is_too_long_is_named_and_the_next_is_read(site: Site, client: Anthropic) -> None:
    found = errors_of(client, a_request("a", "x" * 2**20), a_request("b", max_tokens=0))

    assert found == [("request_too_long", "requests.0"), ("greater_than_equal", "requests.1.params.max_tokens")]


@pytest.mark.parametrize("name", ["not_before", "metadata", "requests"])
def test_a_field_that_is_too_long_is_never_taken_for_unsaid(site: Site, client: Anthropic, name: str) -> None:
    body, before = {"requests": [a_request("a")], name: "x" * 2**20}, num_jobs(site)

    answer = sent(site, client, json.dumps(body).encode())

    errors = answer.json()["error"]["details"]["errors"]
    assert [(error["code"], error["param"]) for error in errors] == [("field_too_long", name)]
    assert num_jobs(site) == before


def test_another_content_type_is_refused(site: Site, client: Anthropic) -> None:
    answer = sent(site, client, b"{}", **{"Content-Type": "text/plain"})

    assert (answer.status_code, answer.json()["error"]["type"]) == (415, "invalid_request_error")
