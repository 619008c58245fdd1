"""What is wrong with a profile is said with its place, and never with its text."""

import json

import pytest
from starlette.testclient import TestClient

TEXT = "she dreams of whales"


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({"principles": [""]}, "/principles/0/text", "empty_principle"),
        ({"principles": [" \n "]}, "/principles/0/text", "empty_principle"),
        ({"principles": ["x" * 2001]}, "/principles/0/text", "string_too_long"),
        ({"principles": ["a\x07b"]}, "/principles/0/text", "control_character"),
        ({"principles": ["a", "b", " a "]}, "/principles", "duplicate_principle"),
        ({"principles": [str(number) for number in range(33)]}, "/principles", "too_long"),
        ({"principles": TEXT}, "/principles", "list_type"),
        ({"principles": [7]}, "/principles/0", "model_type"),
        ({"principles": [{"text": TEXT, "weight": -1}]}, "/principles/0/weight", "greater_than_equal"),
        ({"principles": [{"text": TEXT, "weight": 11}]}, "/principles/0/weight", "less_than_equal"),
        ({"principles": [{"text": TEXT, "weight": "1"}]}, "/principles/0/weight", "float_type"),
        ({"principles": [{"text": TEXT, "size": 1}]}, "/principles/0/size", "extra_forbidden"),
        ({"principles": [{"weight": 1}]}, "/principles/0/text", "missing"),
        ({"strength": 10.1}, "/strength", "less_than_equal"),
        ({"strength": -0.1}, "/strength", "greater_than_equal"),
        ({"strength": True}, "/strength", "float_type"),
        ({"method": TEXT}, "/method", "enum"),
        ({"attributes": {"first name": "Ada"}}, "/attributes/first name", "string_pattern_mismatch"),
        ({"attributes": {"a/b~c": "Ada"}}, "/attributes/a~1b~0c", "string_pattern_mismatch"),
        ({"attributes": {"name": 1}}, "/attributes/name", "string_type"),
        ({"attributes": {"name": "x" * 1001}}, "/attributes/name", "string_too_long"),
        ({"tags": [""]}, "/tags/0", "string_too_short"),
        ({"tags": ["x" * 65]}, "/tags/0", "string_too_long"),
        ({"tags": ["a\tb"]}, "/tags/0", "tag"),
        ({"metadata": {"k": "v" * 513}}, "/metadata/k", "string_too_long"),
        ({"principals": [TEXT]}, "/principals", "extra_forbidden"),
        ([], "", "model_type"),
        ("null", "", "model_type"),
    ],
)
def test_a_wrong_body_is_refused_with_its_place(client: TestClient, body: object, pointer: str, code: str) -> None:
    answer = client.put("/v1/profiles/ada", json=body)

    assert answer.status_code == 422
    problem = answer.json()
    assert [(error["pointer"], error["code"]) for error in problem["errors"]] == [(pointer, code)]
    assert problem["errors"][0]["message"].endswith(".")
    assert TEXT not in answer.text
    assert client.get("/v1/profiles/ada").status_code == 404


def test_everything_that_is_wrong_is_said_at_once(client: TestClient) -> None:
    answer = client.put("/v1/profiles/ada", json={"principles": [""], "strength": 99, "colour": "red"}).json()

    assert {error["pointer"] for error in answer["errors"]} == {"/principles/0/text", "/strength", "/colour"}
    assert answer["num_errors"] == 3


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"strength": 1,}',
        b'{"strength": NaN}',
        b'{"strength": -Infinity}',
        b'{"strength": 1e999}',
        b'{"strength": 1, "strength": 2}',
        b'{"tags": ["\xff"]}',
        b'{"tags": ["\\ud800"]}',
        b'{"strength": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        json.dumps({"tags": ["ä"]}, ensure_ascii=False).encode("utf-16"),
    ],
)
def test_what_is_not_json_in_utf_8_is_refused(client: TestClient, body: bytes) -> None:
    answer = client.put("/v1/profiles/ada", content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == 400
    assert answer.json()["code"] == "malformed_body"


def test_a_syntax_error_says_where(client: TestClient) -> None:
    body = b'{"tags": [],\n "strength": NaN}'

    answer = client.put("/v1/profiles/ada", content=body, headers={"Content-Type": "application/json"})

    assert "line 2 column" in answer.json()["detail"]


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-ndjson", "application/xml", ""])
def test_another_content_type_is_refused_with_the_one_to_send(client: TestClient, content_type: str) -> None:
    answer = client.put("/v1/profiles/ada", content=b"{}", headers={"Content-Type": content_type})

    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    assert "application/json" in answer.json()["detail"]


@pytest.mark.parametrize("user_id", ["a%0Ab", "x" * 129, "a%00b", "%E2%80%A8"])
def test_a_user_id_that_cannot_be_shown_is_refused(client: TestClient, user_id: str) -> None:
    answer = client.put(f"/v1/profiles/{user_id}", json={})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "user_id"


def test_a_slash_in_a_user_id_is_not_found(client: TestClient) -> None:
    assert client.put("/v1/profiles/a%2Fb", json={}).status_code == 404


@pytest.mark.parametrize(("name", "value"), [("limit", "0"), ("limit", "1001"), ("limit", "many"), ("tag", "")])
def test_a_wrong_query_parameter_is_named(client: TestClient, name: str, value: str) -> None:
    answer = client.get("/v1/profiles", params={name: value})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"].startswith(name)
