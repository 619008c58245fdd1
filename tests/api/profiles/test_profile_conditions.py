"""Conditional requests: no lost update, and every write is safe to repeat."""

import pytest
from starlette.testclient import TestClient

V1 = {"tags": ["one"]}
V2 = {"tags": ["two"]}
STALE = '"9-0123456789abcdef"'


@pytest.fixture
def etag(client: TestClient) -> str:
    """The entity tag of a profile "ada" that holds `V1`."""
    return client.put("/v1/profiles/ada", json=V1).headers["etag"]


def test_the_entity_tag_is_strong_and_the_same_everywhere(client: TestClient, etag: str) -> None:
    answers = [
        client.get("/v1/profiles/ada"),
        client.get("/v1/profiles/ada/versions/1"),
        client.put("/v1/profiles/ada", json=V1),
        client.patch("/v1/profiles/ada", json={}),
    ]

    assert [answer.headers["etag"] for answer in answers] == [etag] * 4
    assert etag.startswith('"1-')
    assert answers[0].json()["etag"] == etag


@pytest.mark.parametrize("given", ["{etag}", "W/{etag}", "*", f"{STALE}, {{etag}}"])
def test_a_reader_who_has_the_state_gets_304_without_a_body(client: TestClient, etag: str, given: str) -> None:
    answer = client.get("/v1/profiles/ada", headers={"If-None-Match": given.format(etag=etag)})

    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)


def test_a_reader_with_another_state_gets_the_profile(client: TestClient, etag: str) -> None:
    answer = client.get("/v1/profiles/ada", headers={"If-None-Match": STALE})

    assert (answer.status_code, answer.headers["etag"]) == (200, etag)


@pytest.mark.parametrize(
    ("header", "value", "body", "status"),
    [
        ("If-Match", "{etag}", V2, 200),
        ("If-Match", "*", V2, 200),
        ("If-Match", STALE, V2, 412),
        ("If-Match", "W/{etag}", V2, 412),  # a weak tag never matches a write
        ("If-Match", STALE, V1, 200),  # the state is already what the request makes it
        ("If-None-Match", "*", V2, 412),
        ("If-None-Match", "*", V1, 200),
        ("If-None-Match", "{etag}", V2, 412),
        ("If-None-Match", STALE, V2, 200),
    ],
)
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_a_write_to_an_existing_profile(
    *, client: TestClient, etag: str, method: str, header: str, value: str, body: object, status: int
) -> None:
    answer = client.request(method, "/v1/profiles/ada", json=body, headers={header: value.format(etag=etag)})

    assert answer.status_code == status
    stored = client.get("/v1/profiles/ada").json()
    assert stored["version"] == (2 if status == 200 and body == V2 else 1)


@pytest.mark.parametrize(
    ("header", "value", "status"),
    [("If-Match", "*", 412), ("If-Match", STALE, 412), ("If-None-Match", "*", 201), ("If-None-Match", STALE, 201)],
)
def test_a_put_where_there_is_no_profile(client: TestClient, header: str, value: str, status: int) -> None:
    answer = client.put("/v1/profiles/ada", json=V1, headers={header: value})

    assert answer.status_code == status
    assert client.get("/v1/profiles/ada").status_code == (200 if status == 201 else 404)


@pytest.mark.parametrize(("value", "status"), [("{etag}", 204), ("*", 204), (STALE, 412)])
def test_a_delete_of_an_existing_profile(client: TestClient, etag: str, value: str, status: int) -> None:
    answer = client.delete("/v1/profiles/ada", headers={"If-Match": value.format(etag=etag)})

    assert answer.status_code == status
    assert client.get("/v1/profiles/ada").status_code == (404 if status == 204 else 200)


def test_an_old_tag_does_not_match_the_profile_of_a_user_who_came_back(client: TestClient, etag: str) -> None:
    client.delete("/v1/profiles/ada")
    client.put("/v1/profiles/ada", json=V2)

    answer = client.put("/v1/profiles/ada", json={"tags": ["three"]}, headers={"If-Match": etag})

    assert answer.status_code == 412
    assert answer.json()["code"] == "precondition_failed"
