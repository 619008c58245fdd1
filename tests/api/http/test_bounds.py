"""Whatever is sent as a number or a text is answered, never by a 500: each has bounds, on both databases."""

from collections.abc import Iterator
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from api.settings import Settings
from db.session import Database
from tests.api.apps import create_app
from tests.api.conftest import Api, an_api
from tests.api.job_requests import accepted, an_item, give_profile, submit

BOUNDS = {"maximum", "exclusiveMaximum", "maxLength", "format", "enum", "const", "$ref"}
NUMBERS = [2**31 - 1, 2**31, 2**63 - 1, 2**63, 10**40, -(2**63), "1e3", "NaN"]
TEXTS = ["\0", "a\0b", "\ud7ff", "\U0010ffff", "\ufffe", "x" * 5000, "%ff", "' OR 1=1 --"]


@pytest.fixture
def api(settings: Settings, database: Database) -> Iterator[Api]:
    api = an_api(settings, database)
    yield api
    for publisher in api.queue.publishers:
        publisher.close(0)


FILES = (("/v1/files", "get"), ("/v1/files/{file_id}", "get"), ("/v1/files/{file_id}", "delete"))
BATCHES = (("/v1/batches", "get"), ("/v1/batches/{batch_id}", "get"), ("/v1/batches/{batch_id}/cancel", "post"))
CONTENT = ("/v1/files/{file_id}/content", "get")
MESSAGE_BATCHES = (
    ("/v1/messages/batches", "get"),
    *(("/v1/messages/batches/{batch_id}", method) for method in ("get", "delete")),
    ("/v1/messages/batches/{batch_id}/cancel", "post"),
    ("/v1/messages/batches/{batch_id}/results", "get"),
)
THEIR_IDS = {(*route, name) for route in (*FILES, *BATCHES, CONTENT) for name in ("after", "file_id", "batch_id")} | {
    (*route, name) for route in MESSAGE_BATCHES for name in ("after_id", "before_id", "batch_id")
}
"""Whatever is no id names nothing, and its form is read before any database is asked: 404, as at the vendors'."""


def unbounded(schema: dict[str, object]) -> bool:
    branches = schema.get("anyOf")
    if isinstance(branches, list):
        return any(unbounded(branch) for branch in branches)
    items = schema.get("items")
    if isinstance(items, dict):
        return unbounded(items)
    return schema.get("type") in {"integer", "number", "string"} and BOUNDS.isdisjoint(schema)


def test_every_parameter_of_every_route_has_bounds(settings: Settings) -> None:
    paths = create_app(settings).openapi()["paths"]
    parameters = {
        (path, method, parameter["name"]): parameter["schema"]
        for path, methods in paths.items()
        for method, operation in methods.items()
        for parameter in operation.get("parameters", [])
    }

    assert len(parameters) > 30
    found = {place for place, schema in parameters.items() if unbounded(schema)}
    assert found - THEIR_IDS == set()


@pytest.mark.parametrize("value", [*NUMBERS, *TEXTS])
def test_no_value_of_a_parameter_is_a_fault_of_the_server(client: TestClient, value: object) -> None:
    give_profile(client)
    job_id = accepted(submit(client, an_item()))
    sent = quote(str(value), safe="")

    answers = [
        client.get(f"{path}{sent}")
        for path in (
            "/v1/profiles?after=",
            "/v1/profiles?tag=",
            "/v1/profiles?limit=",
            "/v1/profiles:export?tag=",
            "/v1/profiles/ada/versions?after=",
            "/v1/profiles/ada/versions/",
            "/v1/profiles/",
            "/v1/profiles/ada/feedback?after=",
            "/v1/models/",
            "/v1/models?after_id=",
            "/v1/models?limit=",
            "/v1/messages/batches?limit=",
            "/v1/messages/batches?after_id=",
            "/v1/messages/batches/",
            "/v1/jobs?after=",
            "/v1/jobs?state=",
            "/v1/jobs/",
            f"/v1/jobs/{job_id}/results?after=",
            f"/v1/jobs/{job_id}/results?limit=",
        )
    ]
    answers.append(submit(client, an_item(), model=str(value)))
    answers.append(submit(client, an_item(custom_id=str(value), user_id=str(value))))
    answers.append(client.post("/v1/jobs", json={"prompt": str(value), "audience": {"user_ids": [str(value)]}}))

    assert [(answer.url, answer.status_code) for answer in answers if answer.status_code >= 500] == []


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00"])
def test_a_moment_that_utc_does_not_have_is_refused(client: TestClient, moment: str) -> None:
    give_profile(client)

    answer = submit(client, an_item(), not_before=moment)

    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/not_before")
