"""A tenant's jobs are its own: to everybody else they are not there."""

import pytest
from starlette.testclient import TestClient

from api.http.dependencies import Scope
from tests.api.conftest import Api
from tests.api.job_requests import accepted, an_item, errors_of, give_profile, submit

REQUESTS = [
    *(("GET", ""), ("GET", "/results"), ("GET", "/results?format=ndjson"), ("GET", "/events"), ("DELETE", "")),
    *(("POST", f"/{verb}") for verb in ("cancel", "pause", "resume", "retry")),
]
NOBODYS = "0d0c4b6e-3c6f-4a52-9a3e-1f6f5f2f1b7a"
NO_JOBS = ["x", "1", "None", NOBODYS, "01a20a83-436f-70f5-a7b6-4334bbef889", "%00", "a b"]


@pytest.mark.parametrize(("method", "path"), REQUESTS)
def test_another_tenants_job_is_not_found(api: Api, client: TestClient, method: str, path: str) -> None:
    give_profile(client)
    job_id = accepted(submit(client, an_item()))
    rival = api.client(tenant="rival")

    theirs = rival.request(method, f"/v1/jobs/{job_id}{path}")
    nobodys = rival.request(method, f"/v1/jobs/{NOBODYS}{path}")

    def what_is_said(body: dict[str, object]) -> dict[str, object]:
        return {name: value for name, value in body.items() if name != "instance"}

    assert (theirs.status_code, nobodys.status_code) == (404, 404)
    assert what_is_said(theirs.json()) == what_is_said(nobodys.json())
    assert client.get(f"/v1/jobs/{job_id}").json()["state"] == "queued"


@pytest.mark.parametrize("job_id", NO_JOBS)
@pytest.mark.parametrize(("method", "path"), REQUESTS)
def test_what_names_no_job_is_not_found(client: TestClient, method: str, path: str, job_id: str) -> None:
    assert client.request(method, f"/v1/jobs/{job_id}{path}").status_code == 404


def test_another_tenants_jobs_are_not_listed(api: Api, client: TestClient) -> None:
    give_profile(client)
    job_id = accepted(submit(client, an_item()))
    rival = api.client(tenant="rival")

    assert rival.get("/v1/jobs").json()["data"] == []
    assert rival.get("/v1/jobs", params={"after": str(job_id)}).json()["data"] == []


def test_another_tenants_users_are_unknown(api: Api, client: TestClient) -> None:
    give_profile(client)

    assert errors_of(submit(api.client(tenant="rival"), an_item())) == [("unknown_user", "/items/0/user_id")]


@pytest.mark.parametrize(("method", "path"), [*REQUESTS, ("POST", None), ("GET", None)])
def test_every_route_needs_a_key_with_the_right_scope(api: Api, method: str, path: str | None) -> None:
    url = "/v1/jobs" if path is None else f"/v1/jobs/{NOBODYS}{path}"
    wrong_scope = Scope.JOBS_READ if method != "GET" else Scope.JOBS_WRITE

    assert api.anonymous_client().request(method, url).status_code == 401
    assert api.client(wrong_scope).request(method, url).status_code == 403
