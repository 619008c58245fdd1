"""Webhooks over HTTP: each tenant's own, their secret shown once, and never more than is needed."""

import pytest
from starlette.testclient import TestClient

from api.http.dependencies import Scope
from api.webhooks.routes import MAX_WEBHOOKS
from db.queries.events import EventType
from db.session import Database
from tests.api.conftest import Api
from tests.webhooks.conftest import a_completed_job, add_webhook, deliveries_of
from tests.webhooks.receiver import Receiver

NOBODYS = "0d0c4b6e-3c6f-4a52-9a3e-1f6f5f2f1b7a"
ROUTES = [
    *(("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/rotate-secret"), ("POST", "/test")),
    *(("GET", "/deliveries"), ("GET", "/deliveries/1"), ("POST", "/deliveries/1/replay")),
]


def test_a_webhook_is_for_every_event_unless_it_says_which(client: TestClient, receiver: Receiver) -> None:
    for_all, for_one = add_webhook(client, receiver), add_webhook(client, receiver, "batch.failed", description="Ours")

    assert for_all["event_types"] == sorted(EventType)
    assert (for_one["event_types"], for_one["description"], for_one["enabled"]) == (["batch.failed"], "Ours", True)
    assert [each["id"] for each in client.get("/v1/webhooks").json()["data"]] == [for_all["id"], for_one["id"]]


def test_the_secret_is_shown_once(client: TestClient, receiver: Receiver) -> None:
    added = add_webhook(client, receiver)
    path = f"/v1/webhooks/{added['id']}"

    rotated = client.post(f"{path}/rotate-secret").json()

    assert added["secret"].startswith("whsec_")
    assert rotated["secret"] not in {"", added["secret"]}
    for answer in (client.get("/v1/webhooks"), client.get(path), client.patch(path, json={"enabled": True})):
        assert "whsec_" not in answer.text


def test_what_is_not_said_is_not_changed(client: TestClient, receiver: Receiver) -> None:
    added = add_webhook(client, receiver, "job.expired", description="Ours")
    path = f"/v1/webhooks/{added['id']}"

    client.patch(path, json={"event_types": ["job.completed", "job.completed"]})
    changed = client.patch(path, json={"url": f"{receiver.url}/other", "enabled": False}).json()

    assert (changed["event_types"], changed["description"]) == (["job.completed"], "Ours")
    assert (changed["url"], changed["enabled"]) == (f"{receiver.url}/other", False)


def test_a_webhook_that_is_removed_leaves_nothing(database: Database, client: TestClient, receiver: Receiver) -> None:
    path = f"/v1/webhooks/{add_webhook(client, receiver)['id']}"
    a_completed_job(database)

    assert client.delete(path).status_code == 204

    assert client.get(path).status_code == 404
    assert deliveries_of(database) == []


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_another_tenants_webhook_is_not_found(
    api: Api, client: TestClient, receiver: Receiver, method: str, path: str
) -> None:
    added = add_webhook(client, receiver)
    rival = api.client(tenant="rival")
    body = {"json": {"url": "https://nobody.invalid/"}} if method == "PATCH" else {}

    for webhook_id in (added["id"], NOBODYS, "x", "%00"):
        answer = rival.request(method, f"/v1/webhooks/{webhook_id}{path}", **body)  # type: ignore[arg-type] # a body or none
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert client.get(f"/v1/webhooks/{added['id']}").json()["enabled"] is True


@pytest.mark.parametrize(("method", "path"), [("GET", None), ("POST", None), *ROUTES])
def test_every_route_needs_a_key_with_the_right_scope(api: Api, method: str, path: str | None) -> None:
    url = "/v1/webhooks" if path is None else f"/v1/webhooks/{NOBODYS}{path}"
    wrong_scope = Scope.JOBS_READ if method != "GET" else Scope.JOBS_WRITE

    assert api.anonymous_client().request(method, url).status_code == 401
    assert api.client(wrong_scope).request(method, url).status_code == 403


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/url"),
        ({"url": "https://8.8.8.8/", "event_types": []}, "/event_types"),
        ({"url": "https://8.8.8.8/", "event_types": ["job.exploded"]}, "/event_types/0"),
        ({"url": "https://8.8.8.8/", "description": "x" * 257}, "/description"),
        ({"url": "https://8.8.8.8/", "description": "\0"}, "/description"),
        ({"url": "https://8.8.8.8/", "secret": "whsec_mine"}, "/secret"),
        ({"url": "x" * 2049}, "/url"),
        ({"url": "gopher://8.8.8.8/"}, "/url"),
    ],
)
def test_a_body_that_is_wrong_is_refused_with_the_place(client: TestClient, body: object, pointer: str) -> None:
    answer = client.post("/v1/webhooks", json=body)

    assert (answer.status_code, [error["pointer"] for error in answer.json()["errors"]]) == (422, [pointer])


def test_there_is_an_end_to_the_number_of_webhooks(client: TestClient, receiver: Receiver) -> None:
    for _ in range(MAX_WEBHOOKS):
        add_webhook(client, receiver)

    assert client.post("/v1/webhooks", json={"url": receiver.url}).status_code == 409


def test_the_log_is_read_in_pages_the_newest_first(database: Database, client: TestClient, receiver: Receiver) -> None:
    path = f"/v1/webhooks/{add_webhook(client, receiver)['id']}/deliveries"
    for _ in range(3):
        a_completed_job(database)

    first = client.get(path, params={"limit": 2}).json()
    rest = client.get(path, params={"limit": 2, "after": first["last_id"]}).json()

    ids = [each["id"] for page in (first, rest) for each in page["data"]]
    assert (ids, first["has_more"], rest["has_more"]) == (sorted(ids, reverse=True), True, False)
    assert {each["event"]["type"] for each in first["data"]} == {"job.completed"}
    assert client.get(path, params={"state": "failed"}).json()["data"] == []


@pytest.mark.parametrize("delivery_id", ["x", "0", "99", "2147483648", str(10**30), "%00", "\u0661"])
def test_what_names_no_delivery_is_not_found(client: TestClient, receiver: Receiver, delivery_id: str) -> None:
    path = f"/v1/webhooks/{add_webhook(client, receiver)['id']}/deliveries/{delivery_id}"

    assert client.get(path).status_code == 404
    assert client.post(f"{path}/replay").status_code == 404


@pytest.mark.parametrize("act", ["test", "deliveries/{}/replay"])
def test_nothing_is_sent_to_a_webhook_that_is_disabled(
    database: Database, client: TestClient, receiver: Receiver, act: str
) -> None:
    path = f"/v1/webhooks/{add_webhook(client, receiver)['id']}"
    a_completed_job(database)
    client.patch(path, json={"enabled": False})

    answer = client.post(f"{path}/{act.format(deliveries_of(database)[0].id)}")

    assert (answer.status_code, answer.json()["code"]) == (409, "webhook_disabled")


def test_many_rotations_in_a_day_keep_a_bounded_number_of_secrets(client: TestClient, receiver: Receiver) -> None:
    path = f"/v1/webhooks/{add_webhook(client, receiver)['id']}/rotate-secret"

    assert [client.post(path).status_code for _ in range(7)] == [200] * 7
