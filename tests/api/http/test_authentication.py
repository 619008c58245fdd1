"""Who may do what: no route without a key, none without its scope, nothing across tenants."""

import datetime as dt
import json
import re

import pytest

from api.app import create_app
from api.http.dependencies import Scope
from db.queries import keys
from tests.api.conftest import Api

OPEN_PATHS = {"/healthz", "/readyz", "/docs", "/openapi.json"}
METRICS_PATH = "/metrics"  # across tenants: no key opens it, and test_metrics.py says who may read it
ANOTHER_ID = "01890000-0000-7000-8000-000000000000"


def operations(api: Api) -> list[tuple[str, str]]:
    """Every method and path of the application, with an id in place of each path parameter."""
    document = create_app(api.settings, database=api.database).openapi()
    return [
        (method.upper(), re.sub(r"\{[^}]+\}", ANOTHER_ID, path))
        for path, methods in document["paths"].items()
        for method in methods
        if path not in {*OPEN_PATHS, METRICS_PATH}
    ]


def test_every_route_needs_a_key(api: Api) -> None:
    client = api.anonymous_client()

    answers = {(method, path): client.request(method, path) for method, path in operations(api)}

    assert len(answers) > 8
    assert {place: answer.status_code for place, answer in answers.items() if answer.status_code != 401} == {}
    for answer in answers.values():
        assert answer.headers["www-authenticate"].startswith("Bearer")
        body = answer.json()
        assert (body.get("code") or body["error"]["details"]["error_code"]) == "invalid_api_key"


@pytest.mark.parametrize("header", ["Bearer nonsense", "Bearer ", "Basic YTpi", "Bearer pad_0_0", "pad_0_0"])
def test_a_wrong_authorization_is_refused(api: Api, header: str) -> None:
    client = api.anonymous_client(headers={"Authorization": header})

    assert client.get("/v1/profiles").status_code == 401


def test_expired_and_revoked_keys_are_refused(api: Api) -> None:
    with api.database.transaction() as session:
        tenant = keys.create_tenant(session, "acme")
        past = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=1)
        _, expired = keys.create_key(session, tenant.id, "old", ["admin"], expires_at=past)
        key, revoked = keys.create_key(session, tenant.id, "lost", ["admin"])
        keys.revoke_key(session, key.id)

    for text in (expired, revoked):
        answer = api.anonymous_client(headers={"Authorization": f"Bearer {text}"}).get("/v1/profiles")
        assert answer.status_code == 401
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]


def test_a_route_needs_its_scope_and_admin_has_them_all(api: Api) -> None:
    reader, writer, admin = api.client(Scope.PROFILES_READ), api.client(Scope.PROFILES_WRITE), api.client(Scope.ADMIN)

    assert reader.put("/v1/profiles/ada", json={}).status_code == 403
    assert writer.put("/v1/profiles/ada", json={}).status_code == 201
    assert writer.get("/v1/profiles/ada").status_code == 403
    assert reader.get("/v1/profiles/ada").status_code == 200
    assert admin.put("/v1/profiles/ada", json={}).status_code == 200
    refused = reader.delete("/v1/profiles/ada").json()
    assert (refused["code"], refused["error"]["type"]) == ("insufficient_scope", "permission_error")
    assert "profiles:write" in refused["detail"]


def test_a_body_is_not_read_before_its_sender_is_known(api: Api) -> None:
    answer = api.anonymous_client().put("/v1/profiles/ada", content=b"{", headers={"Content-Type": "text/plain"})

    assert answer.status_code == 401


def test_another_tenants_profiles_are_as_if_they_were_not_there(api: Api) -> None:
    acme, other = api.client(tenant="acme"), api.client(tenant="other")
    acme.put("/v1/profiles/ada", json={"tags": ["secret"]})
    merge = {"Content-Type": "application/json"}

    for method, path in (
        ("GET", "/v1/profiles/{}"),
        ("PATCH", "/v1/profiles/{}"),
        ("DELETE", "/v1/profiles/{}"),
        ("GET", "/v1/profiles/{}/versions"),
        ("GET", "/v1/profiles/{}/versions/1"),
    ):
        there, nowhere = (
            other.request(method, path.format(user), content=b"{}", headers=merge) for user in ("ada", "bob")
        )
        assert there.status_code == nowhere.status_code == 404
        assert without_place(there.json()) == without_place(nowhere.json())
    assert other.get("/v1/profiles").json()["data"] == []
    assert other.get("/v1/profiles", params={"tag": "secret"}).json()["data"] == []
    assert other.get("/v1/profiles:export").content == b""
    assert other.put("/v1/profiles/ada", json={}, headers={"If-None-Match": "*"}).status_code == 201
    assert acme.get("/v1/profiles/ada").json()["tags"] == ["secret"]


def without_place(problem: dict[str, object]) -> str:
    return json.dumps({name: value for name, value in problem.items() if name != "instance"})
