"""Who may ask, and how failures are told: as the client's own exceptions, each of its kind."""

import socket
from typing import Any

import anthropic
import httpx
import pytest
from anthropic import Anthropic

from api.anthropic import batches
from api.http.errors import OverloadedError, TooManyRequestsError, UnavailableError
from tests.anthropic.conftest import Connect, a_key
from tests.anthropic.requests import a_batch
from tests.openai.conftest import Site


def get(site: Site, path: str = "/v1/messages/batches", **headers: str) -> httpx.Response:
    return httpx.get(f"{site.url}{path}", headers={name.replace("_", "-"): value for name, value in headers.items()})


def test_a_key_is_taken_from_either_header_everywhere(site: Site) -> None:
    key = a_key(site)

    for path in ("/v1/messages/batches", "/v1/jobs", "/v1/profiles", "/v1/models"):
        assert get(site, path, X_Api_Key=key).status_code == 200
        assert get(site, path, Authorization=f"Bearer {key}").status_code == 200
        assert get(site, path, X_Api_Key=key, Authorization=f"Bearer {key}").status_code == 200
        assert get(site, path, X_Api_Key="", Authorization=f"Bearer {key}").status_code == 200


def test_two_different_keys_are_refused_and_neither_is_taken(site: Site) -> None:
    one, other = a_key(site), a_key(site)

    for first, second in ((one, other), (one, "pad_wrong"), ("pad_wrong", one)):
        refused = get(site, X_Api_Key=first, Authorization=f"Bearer {second}")
        assert refused.status_code == 401
        assert refused.json()["error"]["type"] == "authentication_error"
        assert "send one of them" in refused.json()["error"]["message"]


@pytest.mark.parametrize("key", ["pad_wrong", "x" * 5000, "pad_0_0", "sk-ant-api03"])
def test_a_key_that_there_is_not_is_the_clients_authentication_error(connect: Connect, key: str) -> None:
    with pytest.raises(anthropic.AuthenticationError) as refused:
        connect(api_key=key).messages.batches.list()

    assert (refused.value.type, refused.value.error_code) == ("authentication_error", "invalid_api_key")
    assert key not in str(refused.value)


def test_a_bearer_token_is_a_key_as_well(site: Site, connect: Connect) -> None:
    client = connect(api_key=None, auth_token=a_key(site))

    assert client.messages.batches.list().data == []


def test_every_failure_has_anthropics_shape_and_the_id_that_its_header_says(client: Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as missing:
        client.messages.batches.retrieve("msgbatch_x")

    body: Any = missing.value.body
    assert body["type"] == "error"
    assert set(body) == {"type", "error", "request_id"}
    assert body["request_id"] == missing.value.request_id == missing.value.response.headers["x-request-id"]
    assert missing.value.response.headers["content-type"] == "application/json"


def test_an_answer_has_its_request_id_too(client: Anthropic) -> None:
    assert a_batch(client)._request_id  # noqa: SLF001 - documented under this name


def test_who_says_anthropics_version_is_told_so_everywhere_and_nobody_else_is(site: Site, client: Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as missing:
        client.models.retrieve("claude")
    key = client.api_key or ""

    assert missing.value.type == "not_found_error"
    assert get(site, "/v1/nothing", X_Api_Key=key).json()["code"] == "not_found"
    assert get(site, "/v1/nothing", X_Api_Key=key, anthropic_version="2023-06-01").json()["type"] == "error"
    assert get(site, "/v1/messagesx", X_Api_Key=key).json()["code"] == "not_found"


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/", "/v1/messages/x/y", "/v1/messages/batches/"])
def test_what_is_not_there_or_not_done_so_is_said_in_that_shape(site: Site, client: Anthropic, path: str) -> None:
    answer = get(site, path, X_Api_Key=client.api_key or "")

    assert answer.status_code in {404, 405}
    assert answer.json()["type"] == "error"


def test_a_body_that_is_too_large_is_refused_before_it_is_sent(site: Site, client: Anthropic) -> None:
    url = httpx.URL(site.url)
    head = [
        "POST /v1/messages/batches HTTP/1.1",
        f"Host: {url.host}",
        f"X-Api-Key: {client.api_key}",
        "Content-Type: application/json",
        f"Content-Length: {10**10}",
    ]
    with socket.create_connection((url.host, url.port or 80), timeout=30) as connection:
        connection.sendall("\r\n".join([*head, "", ""]).encode())
        answer = connection.recv(2**16).decode()

    assert answer.startswith("HTTP/1.1 413")
    assert '"type": "request_too_large"' in answer


@pytest.mark.parametrize(
    ("error", "kind", "wait"),
    [
        (TooManyRequestsError(headers={"Retry-After": "5"}), "RateLimitError", "5"),
        (OverloadedError(headers={"Retry-After": "5"}), "OverloadedError", "5"),
        (UnavailableError(), "ServiceUnavailableError", None),
        (RuntimeError("a secret"), "InternalServerError", None),
    ],
    ids=["too many", "overloaded", "unavailable", "unexpected"],
)
def test_a_failure_of_the_service_is_the_clients_error_of_that_name(
    client: Anthropic, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: str, wait: str | None
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(batches, "find_one", fail)

    with pytest.raises(anthropic.APIStatusError) as failed:
        client.messages.batches.retrieve("msgbatch_" + "0" * 32)

    expected = {"RateLimitError": "rate_limit_error", "OverloadedError": "overloaded_error"}
    assert (type(failed.value).__name__, failed.value.type) == (kind, expected.get(kind, "api_error"))
    assert failed.value.response.headers.get("retry-after") == wait
    assert "secret" not in str(failed.value)
