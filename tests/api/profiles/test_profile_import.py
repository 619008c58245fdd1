"""An import stores everything or nothing, and names every line that is wrong."""

import json
from collections.abc import Iterable

import pytest
from starlette.testclient import TestClient

from api.http.dependencies import Scope
from tests.api.conftest import Api

NDJSON = {"Content-Type": "application/x-ndjson"}


def lines(rows: Iterable[object]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def profiles(number: int) -> list[dict[str, object]]:
    return [{"user_id": f"user-{index:05}", "tags": ["a"], "principles": [f"p{index % 7}"]} for index in range(number)]


def test_an_import_counts_what_it_created_updated_and_left_alone(client: TestClient) -> None:
    client.put("/v1/profiles/user-00000", json={"tags": ["a"], "principles": ["p0"]})
    client.put("/v1/profiles/user-00001", json={"tags": ["old"]})

    report = client.post("/v1/profiles:import", content=lines(profiles(2500)), headers=NDJSON).json()

    assert report == {
        "object": "profile.import",
        "dry_run": False,
        "num_profiles": 2500,
        "num_created": 2498,
        "num_updated": 1,
        "num_unchanged": 1,
    }
    updated = client.get("/v1/profiles/user-00001").json()
    assert (updated["version"], updated["tags"]) == (2, ["a"])
    assert client.get("/v1/profiles", params={"tag": "old"}).json()["data"] == []
    assert client.get("/v1/profiles/user-02499").json()["version"] == 1


def test_a_dry_run_counts_the_same_and_stores_nothing(client: TestClient) -> None:
    client.put("/v1/profiles/user-00001", json={"tags": ["old"]})

    report = client.post("/v1/profiles:import?dry_run=true", content=lines(profiles(10)), headers=NDJSON).json()

    assert report["dry_run"] is True
    assert (report["num_created"], report["num_updated"]) == (9, 1)
    assert len(client.get("/v1/profiles").json()["data"]) == 1
    assert client.get("/v1/profiles/user-00001").json()["version"] == 1


def test_nothing_is_stored_when_lines_are_wrong_and_each_is_named(client: TestClient) -> None:
    rows: list[object] = list(profiles(5000))
    rows[16] = {"user_id": "x", "strength": 99}
    rows[1233] = {"tags": []}
    rows[2499] = {"user_id": "y", "principles": ["fine", ""]}
    rows[4999] = rows[0]
    body = lines(rows).replace(b'{"user_id": "user-03000"', b'{"user_id": NaN')

    answer = client.post("/v1/profiles:import", content=body, headers=NDJSON)

    assert answer.status_code == 422
    problem = answer.json()
    assert [(error["line"], error["pointer"], error["code"]) for error in problem["errors"]] == [
        (17, "/strength", "less_than_equal"),
        (1234, "/user_id", "missing"),
        (2500, "/principles/1/text", "empty_principle"),
        (3001, "", "invalid_json"),
        (5000, "/user_id", "duplicate_user_id"),
    ]
    assert problem["num_errors"] == 5
    assert "line 17" in problem["error"]["message"]
    assert client.get("/v1/profiles").json()["data"] == []


def test_only_the_first_hundred_errors_are_listed_but_all_are_counted(client: TestClient) -> None:
    problem = client.post("/v1/profiles:import", content=b"nonsense\n" * 250, headers=NDJSON).json()

    assert (len(problem["errors"]), problem["num_errors"]) == (100, 250)
    assert "nonsense" not in json.dumps(problem)


def test_blank_lines_other_line_ends_and_a_byte_order_mark_are_fine(client: TestClient) -> None:
    body = b'\xef\xbb\xbf{"user_id": "ada"}\r\n\r\n   \n{"user_id": "bob"}'

    report = client.post("/v1/profiles:import", content=body, headers={"Content-Type": "application/jsonl"}).json()

    assert report["num_created"] == 2


def test_an_export_is_an_import_that_changes_nothing(client: TestClient) -> None:
    client.put("/v1/profiles/ada", json={"principles": ["humor"], "attributes": {"first_name": "Ada"}, "strength": 0.1})
    client.put("/v1/profiles/übung 1", json={"tags": ["ß"], "metadata": {"a": "1"}, "method": "contrast"})

    exported = client.get("/v1/profiles:export")
    report = client.post("/v1/profiles:import", content=exported.content, headers=NDJSON).json()

    assert exported.headers["content-type"] == "application/x-ndjson"
    assert report["num_unchanged"] == report["num_profiles"] == 2


def test_an_export_crosses_its_pages_in_order_and_filters_by_tag(client: TestClient) -> None:
    rows = profiles(1203)
    rows[700]["tags"] = ["rare"]
    client.post("/v1/profiles:import", content=lines(rows), headers=NDJSON)

    everything = client.get("/v1/profiles:export").text.splitlines()
    rare = client.get("/v1/profiles:export", params={"tag": "rare"}).text.splitlines()

    assert [json.loads(line)["user_id"] for line in everything] == [row["user_id"] for row in rows]
    assert [json.loads(line)["user_id"] for line in rare] == ["user-00700"]


def test_too_many_profiles_too_long_lines_and_too_large_bodies_are_refused(api: Api) -> None:
    limits = {"max_import_profiles": 2, "max_body_bytes": 2**21}
    api.settings = api.settings.model_copy(update=limits)
    client = api.client()

    answers = [
        client.post("/v1/profiles:import", content=lines(profiles(3)), headers=NDJSON),
        client.post("/v1/profiles:import", content=b" " * (2**20 + 1), headers=NDJSON),
        client.post("/v1/profiles:import", content=b" " * (2**21 + 1), headers=NDJSON),
        client.post("/v1/profiles:import", content=(b" " * 2**16 for _ in range(64)), headers=NDJSON),
    ]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(413, "body_too_large")] * 4


@pytest.mark.parametrize("content_type", ["application/json", "text/plain"])
def test_another_content_type_is_refused(client: TestClient, content_type: str) -> None:
    answer = client.post("/v1/profiles:import", content=b"{}", headers={"Content-Type": content_type})

    assert answer.status_code == 415


def test_a_line_with_a_method_without_a_policy_is_named(api: Api) -> None:
    api.serve_without_policy()
    rows = [{"user_id": "ada"}, {"user_id": "bob", "method": "pad"}]

    problem = api.client().post("/v1/profiles:import", content=lines(rows), headers=NDJSON).json()

    assert [(error["line"], error["pointer"], error["code"]) for error in problem["errors"]] == [
        (2, "/method", "policy_required")
    ]


def test_an_import_needs_the_scope_to_write(api: Api) -> None:
    answer = api.client(Scope.PROFILES_READ).post("/v1/profiles:import", content=b"", headers=NDJSON)

    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")
