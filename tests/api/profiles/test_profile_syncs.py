"""What a client does not send, an import does not change: neither consent, nor attributes, nor what was learnt."""

import json
import uuid
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from api.settings import Settings
from db.queries import profiles
from db.session import Database
from domain.json_values import JsonObject
from tests.api.conftest import Api, an_api

NDJSON = {"Content-Type": "application/x-ndjson"}
STATED = [{"text": "humor", "weight": 1.0}, {"text": "concise", "weight": 1.0}]
LEARNT = [{"text": "humor", "weight": 1.5}, {"text": "concise", "weight": 0.25}]
LEARNT_AGAIN = [{"text": "humor", "weight": 1.75}, {"text": "concise", "weight": 0.5}]


@pytest.fixture
def api(settings: Settings, database: Database) -> Iterator[Api]:
    api = an_api(settings, database)
    yield api
    for publisher in api.queue.publishers:
        publisher.close(0)


def sync(client: TestClient, *rows: object) -> tuple[int, int, int]:
    """How many were created, updated and left alone; a dry run before says the same."""
    body = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    dry, done = (
        client.post(f"/v1/profiles:import?dry_run={dry_run}", content=body, headers=NDJSON).json()
        for dry_run in ("true", "false")
    )
    assert {**dry, "dry_run": False} == done
    return done["num_created"], done["num_updated"], done["num_unchanged"]


def learn(api: Api, user_id: str, principles: list[dict[str, object]], base_version: int) -> None:
    """As a fit writes it."""
    tenant_id = api.tenant_id()
    with api.database.transaction() as session:
        stored = profiles.find_profile(session, tenant_id, user_id)
        assert stored is not None
        source: JsonObject = {"num_pairs": 9, "base_version": base_version, "deviations": [0.1], "agreement": 1.0}
        profiles.update_profile(session, tenant_id, stored, {**stored.body, "principles": principles}, source)


def read(client: TestClient, user_id: str = "ada") -> JsonObject:
    profile: JsonObject = client.get(f"/v1/profiles/{user_id}").json()
    return profile


@pytest.mark.parametrize("principles", [["humor", "concise"], STATED])
def test_the_same_row_again_changes_nothing_whatever_was_learnt_in_between(
    api: Api, client: TestClient, principles: list[object]
) -> None:
    row = {"user_id": "ada", "principles": principles, "tags": ["a"], "learn": True}
    assert sync(client, row) == (1, 0, 0)

    learn(api, "ada", LEARNT, base_version=1)
    assert sync(client, row) == (0, 0, 1)
    learn(api, "ada", LEARNT_AGAIN, base_version=1)
    assert sync(client, row) == (0, 0, 1)

    assert (read(client)["version"], read(client)["principles"]) == (3, LEARNT_AGAIN)


def test_an_export_of_before_something_was_learnt_changes_nothing_either(api: Api, client: TestClient) -> None:
    sync(client, {"user_id": "ada", "principles": STATED, "learn": True})
    learn(api, "ada", LEARNT, base_version=1)
    exported = json.loads(client.get("/v1/profiles:export").text)
    learn(api, "ada", LEARNT_AGAIN, base_version=1)

    assert sync(client, exported) == (0, 0, 1)
    assert read(client)["principles"] == LEARNT_AGAIN


def test_weights_stay_learnt_where_a_sync_changes_something_else(api: Api, client: TestClient) -> None:
    row = {"user_id": "ada", "principles": STATED, "tags": ["a"], "learn": True}
    sync(client, row)
    learn(api, "ada", LEARNT, base_version=1)

    assert sync(client, {**row, "tags": ["b"]}) == (0, 1, 0)
    assert sync(client, {**row, "tags": ["b"]}) == (0, 0, 1)

    assert (read(client)["principles"], read(client)["tags"]) == (LEARNT, ["b"])


def test_weights_that_were_not_stated_before_are_taken_as_they_are(api: Api, client: TestClient) -> None:
    sync(client, {"user_id": "ada", "principles": STATED, "learn": True})
    learn(api, "ada", LEARNT, base_version=1)
    row = {"user_id": "ada", "principles": [{"text": "humor", "weight": 2.0}, "concise"]}

    assert sync(client, row) == (0, 1, 0)
    assert sync(client, row) == (0, 0, 1)
    assert read(client)["principles"] == [{"text": "humor", "weight": 2.0}, {"text": "concise", "weight": 0.25}]
    learn(api, "ada", LEARNT_AGAIN, base_version=3)
    assert sync(client, row) == (0, 0, 1)
    assert read(client)["principles"] == LEARNT_AGAIN
    assert sync(client, {"user_id": "ada", "principles": STATED}) == (0, 1, 0)
    assert read(client)["principles"] == STATED


def test_a_new_principle_leaves_the_learnt_weights_of_those_named_without_one(api: Api, client: TestClient) -> None:
    sync(client, {"user_id": "ada", "principles": ["humor", "concise"], "learn": True})
    learn(api, "ada", LEARNT, base_version=1)
    row = {"user_id": "ada", "principles": ["brief", "humor", "concise"]}

    assert sync(client, row) == (0, 1, 0)
    assert sync(client, row) == (0, 0, 1)
    assert read(client)["principles"] == [{"text": "brief", "weight": 1.0}, *LEARNT]


def test_a_row_changes_what_it_says_and_nothing_else(client: TestClient) -> None:
    whole = {
        "principles": ["humor"],
        "method": "contrast",
        "strength": 0.5,
        "max_kl": 0.25,
        "examples": ["Hello!"],
        "attributes": {"first_name": "Ada", "city": "Ulm"},
        "tags": ["a", "b"],
        "metadata": {"source": "crm"},
        "learn": True,
    }
    sync(client, {"user_id": "ada", **whole})
    before = read(client)

    assert sync(client, {"user_id": "ada"}) == (0, 0, 1)
    assert sync(client, {"user_id": "ada", "attributes": {"city": "Bern"}, "tags": ["c"]}) == (0, 1, 0)

    changed = {"attributes": {"first_name": "Ada", "city": "Bern"}, "tags": ["c"]}
    unchanged = {name: before[name] for name in whole if name not in changed}
    assert {name: read(client)[name] for name in whole} == {**unchanged, **changed}


def test_null_removes_and_false_revokes_consent(client: TestClient) -> None:
    sync(client, {"user_id": "ada", "strength": 0.5, "learn": True, "tags": ["a"], "attributes": {"a": "1", "b": "2"}})

    row = {"user_id": "ada", "strength": None, "learn": False, "tags": None, "attributes": {"a": None, "c": None}}
    assert sync(client, row) == (0, 1, 0)
    assert sync(client, row) == (0, 0, 1)

    profile = read(client)
    assert (profile["strength"], profile["learn"], profile["tags"]) == (None, False, [])
    assert profile["attributes"] == {"b": "2"}


def test_a_row_that_makes_a_profile_too_large_is_named_and_nothing_is_stored(client: TestClient) -> None:
    sync(client, {"user_id": "ada", "attributes": {f"a{number}": "1" for number in range(60)}})
    rows = [{"user_id": "bob"}, {"user_id": "ada", "attributes": {f"b{number}": "1" for number in range(5)}}]

    answer = client.post("/v1/profiles:import", content="\n".join(map(json.dumps, rows)), headers=NDJSON)

    assert answer.status_code == 422
    assert [(error["line"], error["pointer"]) for error in answer.json()["errors"]] == [(2, "/attributes")]
    assert client.get("/v1/profiles/bob").status_code == 404


def test_an_unknown_field_is_refused_also_where_it_is_null(client: TestClient) -> None:
    problem = client.post("/v1/profiles:import", content=b'{"user_id": "ada", "tag": null}', headers=NDJSON).json()

    assert [(error["pointer"], error["code"]) for error in problem["errors"]] == [("/tag", "extra_forbidden")]


def test_many_profiles_at_once_keep_what_each_has_learnt(api: Api, client: TestClient) -> None:
    users = [f"{uuid.uuid4()}" for _ in range(30)]
    rows = [{"user_id": user, "principles": STATED, "learn": True} for user in users]
    sync(client, *rows)
    for user in users[::3]:
        learn(api, user, LEARNT, base_version=1)
    for user in users[::6]:
        client.patch(f"/v1/profiles/{user}", json={"tags": ["since"]})

    assert sync(client, *rows) == (0, 0, 30)


def test_a_line_that_names_a_new_user_alone_makes_a_whole_profile(client: TestClient) -> None:
    assert sync(client, {"user_id": "new"}) == (1, 0, 0)

    profile = read(client, "new")
    assert (profile["principles"], profile["tags"], profile["version"]) == ([], [], 1)
