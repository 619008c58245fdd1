"""A plain status poll is answered past the framework, and is told what every other form of it is told."""

import uuid
from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from api.http.crowds import CROWD, Crowds
from api.http.dependencies import Scope
from api.jobs.polling import PATH, plain_poll, plain_polls_in
from tests.api.conftest import Api
from tests.api.job_requests import a_job_of, give_profile

SECOND = 1.0
TOLD_EACH_TIME = {"x-request-id"}


@pytest.fixture
def job_id(client: TestClient) -> uuid.UUID:
    give_profile(client)
    return a_job_of(client, 2)


def a_scope(path: str, *headers: tuple[bytes, bytes], query: bytes = b"") -> dict[str, object]:
    return {"type": "http", "method": "GET", "path": path, "query_string": query, "headers": list(headers)}


def key_of(client: TestClient) -> str:
    return client.headers["authorization"].removeprefix("Bearer ")


@pytest.mark.parametrize("tags", [{}, {"If-None-Match": '"other"'}, {"If-None-Match": "*"}])
def test_a_plain_poll_is_told_what_every_other_form_of_it_is_told(
    api: Api, client: TestClient, job_id: uuid.UUID, tags: dict[str, str]
) -> None:
    keys = ({"Authorization": f"Bearer {key_of(client)}"}, {"X-Api-Key": key_of(client)})

    answers = [api.anonymous_client(headers=key).get(f"/v1/jobs/{job_id}", headers=tags) for key in keys]

    plain, other = (
        {name: value for name, value in each.headers.items() if name not in TOLD_EACH_TIME} for each in answers
    )
    assert plain == other
    assert answers[0].content == answers[1].content
    assert answers[0].status_code == answers[1].status_code == (304 if "*" in tags.values() else 200)


@pytest.mark.parametrize(
    ("path", "scopes", "status"),
    [
        (f"/v1/jobs/{uuid.UUID(int=7)}", (Scope.JOBS_READ,), 404),
        (f"/v1/jobs/{uuid.UUID(int=7)}", (Scope.PROFILES_READ,), 403),
    ],
)
def test_who_is_refused_is_told_why(api: Api, path: str, scopes: tuple[Scope, ...], status: int) -> None:
    answer = api.client(*scopes).get(path)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_another_tenants_job_is_not_there(api: Api, job_id: uuid.UUID) -> None:
    assert api.client(tenant="other").get(f"/v1/jobs/{job_id}").status_code == 404


def test_whatever_has_to_be_looked_at_more_closely_is_the_frameworks() -> None:
    path, key = PATH.format(job_id=uuid.UUID(int=7)), (b"authorization", b"Bearer pad_x")

    assert plain_poll(a_scope(path, key)) is not None
    closer = [
        a_scope(path),
        a_scope(path, key, key),
        a_scope(path, key, (b"x-api-key", b"pad_x")),
        a_scope(path, key, (b"if-match", b"*")),
        a_scope(path, key, (b"if-none-match", b"x" * 5000)),
        a_scope(path, key, query=b"after=1"),
        a_scope(path, (b"authorization", b"Basic YTpi")),
        a_scope(f"{path}/results", key),
        a_scope(path.upper(), key),
        {**a_scope(path, key), "method": "DELETE"},
        {**a_scope(path, key), "type": "websocket"},
    ]
    assert [plain_poll(scope) for scope in closer] == [None] * len(closer)


def test_a_crowd_is_told_at_once_of_what_was_done_through_this_process(client: TestClient, job_id: uuid.UUID) -> None:
    clock = [100.0]
    services = client.app.state.services  # type: ignore[attr-defined] # of the application, which the client calls an ASGI callable
    polled = Crowds(plain_polls_in(services.database, services.publisher), clock=lambda: clock[0])
    client.app.state.services = replace(services, plain_polls=polled)  # type: ignore[attr-defined] # as above
    for seconds in (0, SECOND):
        clock[0] += seconds
        states = {client.get(f"/v1/jobs/{job_id}").json()["state"] for _ in range(CROWD)}
    assert states == {"queued"}

    client.post(f"/v1/jobs/{job_id}/cancel").raise_for_status()

    assert client.get(f"/v1/jobs/{job_id}").json()["state"] == "cancelled"
