"""Work is bounded before it is done: a request that asks for too much is refused for little, and in nobody's way."""

import asyncio
import json
import threading
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from api.app import create_app
from api.campaigns.templates import Template
from api.http import bodies
from api.http.admission import LIGHT_BYTES
from api.http.dependencies import Services
from api.http.errors import MAX_ERRORS_BUILT
from db.queries import profiles
from tests.api.conftest import EVERY_SCOPE, Api
from tests.api.job_requests import NDJSON_HEADERS, an_item, errors_of, give_profile, submit, submit_lines

BLANK_LINES = b"\n" * 2**20


def unknown_keys(number: int) -> dict[str, int]:
    return {f"key-{index}": index for index in range(number)}


def test_blank_lines_count_and_a_body_with_too_many_is_refused_while_it_arrives(client: TestClient) -> None:
    imported = client.post("/v1/profiles:import", content=BLANK_LINES, headers=NDJSON_HEADERS)
    submitted = client.post("/v1/jobs", content=BLANK_LINES, headers=NDJSON_HEADERS)

    assert [(answer.status_code, answer.json()["code"]) for answer in (imported, submitted)] == [
        (413, "body_too_large"),
        (413, "body_too_large"),
    ]


def test_a_campaign_with_too_long_a_prompt_is_refused_before_any_user_is_looked_at(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(*_: object, **__: object) -> None:
        pytest.fail("a user was looked at")

    monkeypatch.setattr(profiles, "list_profiles", look)
    campaign = {"prompt": "Tea! " * 2_000_000, "audience": {"all": True}}

    assert errors_of(client.post("/v1/jobs", json=campaign)) == [("prompt_too_long", "/prompt")]


def test_a_campaign_that_only_its_names_make_too_long_is_never_expanded(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_profile(client, attributes={"x": "y" * 1000})
    monkeypatch.setattr(Template, "expand", lambda *_: pytest.fail("it was expanded"))
    campaign = {"prompt": "{x}" * 1000, "audience": {"all": True}}

    assert errors_of(client.post("/v1/jobs", json=campaign)) == [("prompt_too_long", "/prompt")]


def test_a_campaign_with_more_names_than_a_profile_can_have_values_is_refused(client: TestClient) -> None:
    campaign = {"prompt": "".join(f"{{x{number}}}" for number in range(66)), "audience": {"all": True}}

    assert errors_of(client.post("/v1/jobs", json=campaign)) == [("placeholder", "/prompt")]


def test_an_audience_of_more_users_than_a_job_may_have_is_refused_as_a_whole(api: Api) -> None:
    api.settings = api.settings.model_copy(update={"max_items": 2})
    campaign = {"prompt": "Tea!", "audience": {"user_ids": ["/", "/", "/"]}}

    assert errors_of(api.client().post("/v1/jobs", json=campaign)) == [("too_many_items", "/audience/user_ids")]


def test_more_errors_than_anybody_reads_are_one(client: TestClient) -> None:
    give_profile(client)
    too_many = unknown_keys(MAX_ERRORS_BUILT + 1)

    profile = client.put("/v1/profiles/bob", json=too_many)
    job = submit(client, {**an_item(), **too_many})
    lines = submit_lines(client, {**an_item(), **too_many}, an_item())

    assert errors_of(profile) == [("too_many_errors", "")]
    assert errors_of(job) == [("too_many_errors", "/items/0")]
    assert errors_of(lines) == [("too_many_errors", "")]


def test_an_object_with_more_keys_than_any_field_takes_is_not_even_validated(client: TestClient) -> None:
    answer = client.put("/v1/profiles/bob", json=unknown_keys(bodies.MAX_KEYS + 1))

    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_body")
    assert f"more than {bodies.MAX_KEYS} keys" in answer.json()["detail"]


def test_a_body_of_too_many_values_is_not_even_parsed(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "from_json", lambda *_, **__: pytest.fail("it was parsed"))
    body = b'{"items": [' + b"0," * (bodies.MAX_VALUES + 1) + b"0]}"

    answer = client.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})

    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_body")


def test_only_the_first_wrong_turn_of_a_conversation_is_told(client: TestClient) -> None:
    give_profile(client)

    answer = submit(client, an_item(prompt=None, messages=[{}] * 500))

    assert errors_of(answer) == [("missing", "/items/0/messages/0/role"), ("missing", "/items/0/messages/0/content")]


def test_a_body_is_parsed_and_validated_beside_the_event_loop(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    where: set[str] = set()
    validated = bodies.validated

    def watched(schema: Any, value: object) -> Any:  # noqa: ANN401 - passed on as it is
        where.add(threading.current_thread().name)
        return validated(schema, value)

    monkeypatch.setattr(bodies, "validated", watched)

    assert client.put("/v1/profiles/bob", json={"metadata": {"a": "b"}}).status_code == 201
    assert where == {"AnyIO worker thread"}


def run(api: Api, scenario: Callable[[httpx.AsyncClient, Services], Awaitable[None]]) -> None:
    """With a client of one running application, and what it works with."""
    app = create_app(api.settings, database=api.database, queue=api.queue)
    headers = {"Authorization": f"Bearer {api.key(*EVERY_SCOPE)}"}

    async def run_it() -> None:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://api", headers=headers, timeout=60) as client:
            await asyncio.wait_for(scenario(client, app.state.services), 60)

    asyncio.run(run_it())


def test_heavy_requests_wait_for_their_tenants_others_while_light_ones_are_answered(
    api: Api, client: TestClient
) -> None:
    give_profile(client)
    large = "\n".join(json.dumps(an_item(str(number), prompt="Tea. " * 100)) for number in range(200))
    assert len(large) > LIGHT_BYTES

    async def scenario(client: httpx.AsyncClient, services: Services) -> None:
        tenant_id = api.tenant_id()
        async with services.lanes.heavy.slot(tenant_id), services.lanes.heavy.slot(tenant_id):
            heavy = [
                asyncio.create_task(client.post("/v1/jobs", content=large, headers=NDJSON_HEADERS)),
                asyncio.create_task(client.post("/v1/profiles:import", content="{}", headers=NDJSON_HEADERS)),
                asyncio.create_task(client.post("/v1/jobs", json={"prompt": "Tea!", "audience": {"all": True}})),
            ]

            light = [
                (await client.get("/v1/jobs")).status_code,
                (await client.post("/v1/jobs", json={"items": [an_item()]})).status_code,
                (await client.put("/v1/profiles/bob", json={})).status_code,
            ]

            assert light == [200, 202, 201]
            assert not any(request.done() for request in heavy)
        assert [(await request).status_code for request in heavy] == [202, 422, 202]

    run(api, scenario)


def test_of_one_tenant_no_more_bulk_requests_are_even_received_than_are_bounded(api: Api) -> None:
    async def scenario(client: httpx.AsyncClient, services: Services) -> None:
        async with services.lanes.receiving.slot(uuid.uuid4()):
            slots = [services.lanes.receiving.slot(api.tenant_id()) for _ in range(64)]
            for slot in slots:
                await slot.__aenter__()

            answer = await client.post("/v1/jobs", json={"items": [an_item()]})

            assert (answer.status_code, answer.json()["code"]) == (429, "too_many_requests")
            assert int(answer.headers["Retry-After"]) > 0
            for slot in slots:
                await slot.__aexit__(None, None, None)

    run(api, scenario)
