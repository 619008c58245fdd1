"""A job with anything wrong in it is refused whole, and everything that is wrong is named at once."""

import json
from collections.abc import Sequence

import pytest
from starlette.testclient import TestClient

from tests.api.conftest import Api
from tests.api.job_requests import (
    NDJSON_HEADERS,
    NOTHING,
    Json,
    accepted,
    an_item,
    errors_of,
    give_profile,
    line_errors_of,
    num_stored,
    submit,
    submit_lines,
)

USER_TURN = {"role": "user", "content": "Tea?"}
BAD_FIELDS: list[tuple[Json, str, str]] = [
    ({"custom_id": None}, "missing", "/custom_id"),
    ({"custom_id": ""}, "string_too_short", "/custom_id"),
    ({"custom_id": "c" * 129}, "string_too_long", "/custom_id"),
    ({"custom_id": "a\nb"}, "string_pattern_mismatch", "/custom_id"),
    ({"custom_id": 7}, "string_type", "/custom_id"),
    ({"user_id": None}, "missing", "/user_id"),
    ({"user_id": "a/b"}, "user_id", "/user_id"),
    ({"user_id": "nobody"}, "unknown_user", "/user_id"),
    ({"prompt": None}, "prompt_or_messages", ""),
    ({"messages": [USER_TURN]}, "prompt_or_messages", ""),
    ({"prompt": " \n "}, "blank_prompt", "/prompt"),
    ({"prompt": "x" * 1001}, "prompt_too_long", "/prompt"),
    ({"prompt": None, "messages": []}, "too_short", "/messages"),
    ({"prompt": None, "messages": [{**USER_TURN, "content": "x" * 1001}]}, "prompt_too_long", "/messages"),
    ({"prompt": None, "messages": [{**USER_TURN, "content": " "}]}, "blank_prompt", "/messages"),
    ({"prompt": None, "messages": [{**USER_TURN, "role": "tool"}]}, "literal_error", "/messages/0/role"),
    ({"prompt": None, "messages": [{**USER_TURN, "name": "x"}]}, "extra_forbidden", "/messages/0/name"),
    (
        {"prompt": None, "messages": [USER_TURN, {"role": "assistant", "content": "Yes."}]},
        "last_turn_not_user",
        "/messages",
    ),
    ({"promt": "Tea."}, "extra_forbidden", "/promt"),
    ({"method": "magic"}, "enum", "/method"),
    ({"strength": -0.1}, "greater_than_equal", "/strength"),
    ({"strength": 10.1}, "less_than_equal", "/strength"),
    ({"strength": "1"}, "float_type", "/strength"),
    ({"k": 0}, "greater_than_equal", "/k"),
    ({"k": 1001}, "less_than_equal", "/k"),
    ({"k": 1.5}, "int_type", "/k"),
    ({"k": True}, "int_type", "/k"),
    ({"temperature": 2.1}, "less_than_equal", "/temperature"),
    ({"top_p": 0}, "greater_than", "/top_p"),
    ({"top_p": 1.01}, "less_than_equal", "/top_p"),
    ({"seed": -1}, "greater_than_equal", "/seed"),
    ({"seed": 2**63}, "less_than_equal", "/seed"),
    ({"max_tokens": 0}, "greater_than_equal", "/max_tokens"),
    ({"max_tokens": 4097}, "less_than_equal", "/max_tokens"),
    ({"stop": ""}, "string_too_short", "/stop/0"),
    ({"stop": ["a", ""]}, "string_too_short", "/stop/1"),
    ({"stop": ["a", "b", "c", "d", "e"]}, "too_long", "/stop"),
    ({"rewards": 1}, "bool_type", "/rewards"),
    ({"principles": ["humor", "humor"]}, "duplicate_principle", "/principles"),
    ({"principles": [{"text": "humor", "weight": -1}]}, "greater_than_equal", "/principles/0/weight"),
    ({"principles": "humor"}, "list_type", "/principles"),
]


@pytest.fixture
def api(api: Api) -> Api:
    api.settings = api.settings.model_copy(update={"max_prompt_characters": 1000, "max_items": 6000})
    return api


@pytest.mark.parametrize(("wrong", "code", "pointer"), BAD_FIELDS, ids=lambda value: json.dumps(value)[:40])
def test_a_wrong_item_is_refused_with_its_place(
    api: Api, client: TestClient, wrong: Json, code: str, pointer: str
) -> None:
    give_profile(client)
    item = an_item("b", **wrong) if "custom_id" not in wrong else {**an_item(), **wrong}
    item = {name: value for name, value in item.items() if value is not None}

    as_json = submit(client, an_item("a"), item)
    as_ndjson = submit_lines(client, an_item("a"), item)

    assert errors_of(as_json) == [(code, f"/items/1{pointer}")]
    assert line_errors_of(as_ndjson) == [(2, code, pointer)]
    assert num_stored(api.database) == NOTHING


@pytest.mark.parametrize(
    "line", ["{", '{"a": 1,}', "nonsense", '{"prompt": NaN}', '{"a": 1, "a": 2}', '{"a": "\\ud800"}', '"text" 1']
)
def test_a_malformed_line_is_named_and_the_others_are_still_checked(api: Api, client: TestClient, line: str) -> None:
    give_profile(client)

    answer = submit_lines(client, an_item("a"), line, an_item("b", k=0))

    assert line_errors_of(answer) == [(2, "invalid_json", ""), (3, "greater_than_equal", "/k")]
    assert num_stored(api.database) == NOTHING


def test_a_line_that_is_not_utf_8_is_malformed(client: TestClient) -> None:
    give_profile(client)
    body = json.dumps(an_item()).encode() + b'\n{"custom_id": "\xff"}\n'

    answer = client.post("/v1/jobs", content=body, headers=NDJSON_HEADERS)

    assert line_errors_of(answer) == [(2, "invalid_json", "")]


@pytest.mark.parametrize("line", ["[]", "null", "7", '"text"', "{}"])
def test_a_line_that_is_no_item_is_refused(client: TestClient, line: str) -> None:
    give_profile(client)

    answer = submit_lines(client, an_item(), line)

    errors = line_errors_of(answer)
    assert {line for line, _, _ in errors} == {2}
    assert {code for _, code, _ in errors} <= {"not_an_object", "missing", "prompt_or_messages"}


def test_errors_of_every_kind_are_found_together(api: Api, client: TestClient) -> None:
    give_profile(client)
    api.serve_without_policy()

    answer = submit_lines(
        api.client(),
        {"defaults": {"top_p": 7}, "model": "another"},
        an_item("a"),
        an_item("a"),
        an_item("b", "nobody"),
        "{",
        an_item("c", k=0, max_tokens=0, prompt=None),
        an_item("d", method="pad"),
    )

    assert line_errors_of(answer) == [
        (1, "less_than_equal", "/defaults/top_p"),
        (3, "duplicate_custom_id", "/custom_id"),
        (4, "unknown_user", "/user_id"),
        (5, "invalid_json", ""),
        (6, "greater_than_equal", "/k"),
        (6, "greater_than_equal", "/max_tokens"),
        (6, "prompt_or_messages", ""),
        (7, "policy_required", "/method"),
    ]
    assert num_stored(api.database) == NOTHING


def test_a_duplicate_names_the_first_even_where_one_of_them_is_wrong_otherwise(client: TestClient) -> None:
    give_profile(client)

    as_lines = submit_lines(client, an_item("a", k=0), an_item("b"), an_item("a"), an_item("a", k=0))
    as_json = submit(client, an_item("a"), an_item("a"))

    duplicates = [error for error in as_lines.json()["errors"] if error["code"] == "duplicate_custom_id"]
    assert [(error["line"], error["message"]) for error in duplicates] == [
        (3, "Line 1 has the same custom_id."),
        (4, "Line 1 has the same custom_id."),
    ]
    assert as_json.json()["errors"][0]["message"] == "`/items/0` has the same custom_id."


def test_a_wrong_item_still_tells_that_its_user_is_unknown(client: TestClient) -> None:
    answer = submit(client, an_item("a", "nobody", k=0))

    assert errors_of(answer) == [("greater_than_equal", "/items/0/k"), ("unknown_user", "/items/0/user_id")]


def test_among_thousands_of_lines_every_wrong_one_is_counted_and_the_first_hundred_are_named(
    api: Api, client: TestClient
) -> None:
    give_profile(client)
    lines: list[object] = [an_item(f"item-{number}") for number in range(1, 5001)]
    wrong_lines = [3, 499, 500, 501, *range(1000, 1150), 4999]
    for number in wrong_lines:
        lines[number - 1] = an_item(f"item-{number}", k=0)
    lines[5000 - 1] = an_item("item-1")

    answer = submit_lines(client, *lines)

    body = answer.json()
    assert body["num_errors"] == len(wrong_lines) + 1
    assert [error["line"] for error in body["errors"]] == wrong_lines[:100]
    assert num_stored(api.database) == NOTHING


@pytest.mark.parametrize("items", [[], None])
def test_a_job_without_items_is_refused(client: TestClient, items: Sequence[object] | None) -> None:
    body = {"metadata": {"a": "b"}} if items is None else {"items": items}

    assert errors_of(client.post("/v1/jobs", json=body)) == [("no_items", "")]


@pytest.mark.parametrize("lines", [[], [""], [{"metadata": {"a": "b"}}]])
def test_ndjson_without_items_is_refused(client: TestClient, lines: list[object]) -> None:
    assert errors_of(submit_lines(client, *lines)) == [("no_items", "")]


def test_a_job_with_too_many_items_is_refused(api: Api, client: TestClient) -> None:
    give_profile(client)
    api.settings = api.settings.model_copy(update={"max_items": 2})
    few = api.client()

    accepted(submit(few, an_item("a"), an_item("b")))
    assert errors_of(submit(few, *[an_item(name) for name in "abc"])) == [("too_many_items", "")]
    assert errors_of(submit_lines(few, *[an_item(name) for name in "abc"])) == [("too_many_items", "")]


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        ({"items": {}}, "list_type", "/items"),
        ({"items": [1]}, "not_an_object", "/items/0"),
        ({"items": [], "defaults": {"prompt": "x"}}, "extra_forbidden", "/defaults/prompt"),
        ({"items": [], "metadata": {"a": 1}}, "string_type", "/metadata/a"),
        ({"items": [], "itmes": []}, "extra_forbidden", "/itmes"),
        ([], "not_an_object", ""),
    ],
)
def test_a_wrong_job_object_is_refused(client: TestClient, body: object, code: str, pointer: str) -> None:
    assert (code, pointer) in errors_of(client.post("/v1/jobs", json=body))


def test_a_body_that_is_no_json_is_malformed(client: TestClient) -> None:
    answer = client.post("/v1/jobs", content=b"{", headers={"Content-Type": "application/json"})

    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_body")


def test_options_are_read_from_the_first_line_only(client: TestClient) -> None:
    give_profile(client)

    answer = submit_lines(client, an_item("a"), {"defaults": {"k": 3}})

    assert ("extra_forbidden", "/defaults") in errors_of(answer)


@pytest.mark.parametrize("said_by", ["item", "defaults", "profile"])
def test_a_method_that_needs_a_policy_is_refused_without_one(api: Api, said_by: str) -> None:
    with_policy = api.client()
    give_profile(with_policy, method="pad" if said_by == "profile" else None)
    own = {"method": "pad"} if said_by == "item" else {}
    defaults = {"method": "pad"} if said_by == "defaults" else {}
    api.serve_without_policy()

    refused = submit(api.client(), an_item(**own), defaults=defaults)
    steered_by_nothing = submit(api.client(), an_item(**own, principles=[]), defaults=defaults)

    assert errors_of(refused) == [("policy_required", "/items/0/method" if own else "/items/0")]
    assert "PADSERVE_POLICY" in refused.json()["errors"][0]["message"]
    accepted(steered_by_nothing)
    api.serve()
    accepted(submit(with_policy, an_item(**own), defaults=defaults))


def test_a_mixture_is_weighed_by_the_base_itself_where_there_is_no_policy(api: Api) -> None:
    give_profile(api.client())
    api.serve_without_policy()

    accepted(submit(api.client(), an_item(method="mixture")))
