"""Writers at the same moment: no lost update, no failure that is not a 412, on both kinds of database."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from api.profiles import transfer as profile_transfer
from api.settings import Settings
from db.session import Database
from tests.api.conftest import Api, an_api

NUM_WRITERS = 8


@pytest.fixture
def api(settings: Settings, database: Database) -> Api:
    return an_api(settings, database)


def at_once(client: TestClient, write: Callable[[TestClient, int], Response]) -> list[Response]:
    """What each of `NUM_WRITERS` writers gets that all start at the same moment."""
    barrier = threading.Barrier(NUM_WRITERS)

    def act(writer: int) -> Response:
        barrier.wait()
        return write(client, writer)

    with ThreadPoolExecutor(NUM_WRITERS) as pool:
        return list(pool.map(act, range(NUM_WRITERS)))


def test_one_of_many_creates_and_the_others_write_later_versions(api: Api) -> None:
    with api.client() as client:
        answers = at_once(client, lambda client, writer: client.put("/v1/profiles/ada", json={"tags": [str(writer)]}))

        assert sorted(answer.status_code for answer in answers) == [200] * (NUM_WRITERS - 1) + [201]
        assert sorted(answer.json()["version"] for answer in answers) == list(range(1, NUM_WRITERS + 1))
        stored = {version["tags"][0] for version in client.get("/v1/profiles/ada/versions").json()["data"]}
        assert stored == {str(writer) for writer in range(NUM_WRITERS)}


def test_of_many_that_may_only_create_one_does(api: Api) -> None:
    def create(client: TestClient, writer: int) -> Response:
        return client.put("/v1/profiles/ada", json={"tags": [str(writer)]}, headers={"If-None-Match": "*"})

    with api.client() as client:
        answers = at_once(client, create)

    assert sorted(answer.status_code for answer in answers) == [201] + [412] * (NUM_WRITERS - 1)


def test_of_many_that_saw_the_same_state_one_wins(api: Api) -> None:
    with api.client() as client:
        etag = client.put("/v1/profiles/ada", json={}).headers["etag"]

        def change(client: TestClient, writer: int) -> Response:
            return client.put("/v1/profiles/ada", json={"tags": [str(writer)]}, headers={"If-Match": etag})

        answers = at_once(client, change)

        assert sorted(answer.status_code for answer in answers) == [200] + [412] * (NUM_WRITERS - 1)
        winner = next(answer for answer in answers if answer.status_code == 200)
        assert client.get("/v1/profiles/ada").json() == winner.json()


def test_patches_of_different_fields_are_all_kept(api: Api) -> None:
    def patch(client: TestClient, writer: int) -> Response:
        return client.patch("/v1/profiles/ada", json={"metadata": {f"writer-{writer}": "was here"}})

    with api.client() as client:
        client.put("/v1/profiles/ada", json={})
        answers = at_once(client, patch)

        assert {answer.status_code for answer in answers} == {200}
        assert len(client.get("/v1/profiles/ada").json()["metadata"]) == NUM_WRITERS


def test_deletes_and_writes_leave_a_profile_or_none_and_never_an_error(api: Api) -> None:
    def write_or_delete(client: TestClient, writer: int) -> Response:
        if writer % 2:
            return client.delete("/v1/profiles/ada")
        return client.put("/v1/profiles/ada", json={"tags": [str(writer)]})

    with api.client() as client:
        client.put("/v1/profiles/ada", json={})
        answers = at_once(client, write_or_delete)

        assert {answer.status_code for answer in answers} <= {200, 201, 204, 404}
        assert client.get("/v1/profiles/ada").status_code in {200, 404}


def test_imports_of_the_same_users_in_opposite_orders_both_succeed(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile_transfer, "ROWS_PER_STATEMENT", 200)

    def load(client: TestClient, writer: int) -> Response:
        users = range(300) if writer % 2 else reversed(range(300))
        body = "".join(f'{{"user_id": "u{user}", "tags": ["{writer}"]}}\n' for user in users)
        return client.post("/v1/profiles:import", content=body, headers={"Content-Type": "application/x-ndjson"})

    with api.client() as client:
        answers = at_once(client, load)

    assert {answer.status_code for answer in answers} == {200}
    assert sum(answer.json()["num_created"] for answer in answers) == 300
