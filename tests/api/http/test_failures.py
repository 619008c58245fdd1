"""Every failure is a problem (RFC 9457) that openai clients read too, and none of them tells more than it should."""

import time
from collections.abc import Iterator

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

from api.app import create_app
from api.settings import Settings
from db.session import Database
from tests.api.conftest import Api

TEXT = "she dreams of whales"


def test_a_problem_has_every_member_in_both_dialects(client: TestClient) -> None:
    answer = client.get("/v1/profiles/nobody")

    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "urn:padserve:problem:not_found",
        "title": "Not found",
        "status": 404,
        "detail": "There is no profile of this user.",
        "instance": "/v1/profiles/nobody",
        "code": "not_found",
        "error": {
            "message": "There is no profile of this user.",
            "type": "not_found_error",
            "param": None,
            "code": "not_found",
        },
    }


def test_an_invalid_body_tells_clients_not_to_try_again_and_which_field_it_was(client: TestClient) -> None:
    answer = client.put("/v1/profiles/ada", json={"strength": 99})

    assert answer.headers["x-should-retry"] == "false"
    error = answer.json()["error"]
    assert (error["param"], error["type"]) == ("strength", "invalid_request_error")
    assert "/strength" in error["message"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/v1/nothing", 404, "not_found"), ("POST", "/v1/profiles/ada", 405, "method_not_allowed")],
)
def test_unknown_paths_and_methods_are_problems_too(
    client: TestClient, method: str, path: str, status: int, code: str
) -> None:
    answer = client.request(method, path)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


def test_every_answer_has_a_request_id_and_a_given_one_is_kept(client: TestClient) -> None:
    ids = [
        client.get("/v1/nothing").headers["x-request-id"],
        client.get("/healthz").headers["x-request-id"],
        client.get("/healthz", headers={"X-Request-ID": "from-the-proxy.1"}).headers["x-request-id"],
        client.get("/healthz", headers={"X-Request-ID": "two\twords" * 30}).headers["x-request-id"],
    ]

    assert len(set(ids)) == 4
    assert ids[2] == "from-the-proxy.1"
    assert "words" not in ids[3]


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_past_the_limit_is_refused_whether_its_length_is_declared_or_not(api: Api, *, declared: bool) -> None:
    api.settings = api.settings.model_copy(update={"max_json_bytes": 1000})
    body = b'{"tags": ["' + b"x" * 1000 + b'"]}'

    def in_parts() -> Iterator[bytes]:
        yield body[:500]
        yield body[500:]

    answer = api.client().put(
        "/v1/profiles/ada", content=body if declared else in_parts(), headers={"Content-Type": "application/json"}
    )

    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


def test_a_compressed_body_is_refused(client: TestClient) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}

    assert client.put("/v1/profiles/ada", content=b"\x1f\x8b", headers=headers).status_code == 415


def test_a_commit_that_fails_is_not_answered_with_success(api: Api, client: TestClient) -> None:
    def fail(_connection: object) -> None:
        raise OperationalError("COMMIT", {}, Exception(TEXT))

    event.listen(api.database.engine, "commit", fail)
    written = client.put("/v1/profiles/ada", json={"principles": [TEXT]})
    event.remove(api.database.engine, "commit", fail)

    assert (written.status_code, written.json()["code"]) == (503, "unavailable")
    assert written.headers["retry-after"] == "5"
    assert TEXT not in written.text
    assert client.get("/v1/profiles/ada").status_code == 404


def test_what_nobody_expected_is_a_500_that_tells_nothing(
    api: Api, client: TestClient, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(TEXT)

    event.listen(api.database.engine, "before_cursor_execute", fail)
    answer = client.get("/v1/profiles/ada")

    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert answer.json()["error"]["type"] == "server_error"
    assert answer.headers["x-request-id"]
    captured = capsys.readouterr()
    assert TEXT not in answer.text + captured.out + captured.err
    assert "RuntimeError" in captured.out


def test_an_unreachable_database_is_a_503_to_try_again_and_soon_said(settings: Settings) -> None:
    database = Database("postgresql://nobody:secret@127.0.0.1:1/nothing")
    client = TestClient(create_app(settings, database=database), raise_server_exceptions=False)

    started = time.monotonic()
    answer = client.get("/v1/profiles", headers={"Authorization": "Bearer pad_a_b"})

    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer.headers["retry-after"] == "5"
    assert "secret" not in answer.text
    assert time.monotonic() - started < 10
