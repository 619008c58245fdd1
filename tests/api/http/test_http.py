"""What HTTP itself promises: methods, negotiation, compression, and nothing that is taken for something else."""

import gzip

import pytest
from starlette.testclient import TestClient

from tests.api.conftest import Api
from tests.api.job_requests import NDJSON_HEADERS, accepted, an_item, end_item, errors_of, give_profile, submit


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/profiles/ada", {"GET", "HEAD", "PUT", "PATCH", "DELETE"}),
        ("/v1/profiles/ada/feedback", {"GET", "HEAD", "POST", "DELETE"}),
        ("/v1/jobs", {"GET", "HEAD", "POST"}),
        ("/v1/jobs/0/cancel", {"POST"}),
        ("/v1/profiles:import", {"POST"}),
        ("/healthz", {"GET", "HEAD"}),
    ],
)
def test_allow_names_every_method_of_a_path(client: TestClient, path: str, allowed: set[str]) -> None:
    answer = client.request("PROPFIND", path)

    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == allowed


@pytest.mark.parametrize(
    "path", ["/v1/profiles/ada", "/v1/profiles", "/v1/profiles:export", "/v1/jobs", "/healthz", "/docs", "/v1/nothing"]
)
def test_head_is_get_without_its_body(client: TestClient, path: str) -> None:
    give_profile(client)

    got, head = client.get(path), client.head(path)

    varying = {"x-request-id", "date"}
    assert (head.status_code, head.content) == (got.status_code, b"")
    assert {name: value for name, value in head.headers.items() if name not in varying} == {
        name: value for name, value in got.headers.items() if name not in varying
    }


def test_head_of_a_path_without_get_is_not_allowed(client: TestClient) -> None:
    answer = client.head("/v1/profiles:import")

    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


def test_no_answer_is_guessed_at_or_kept_by_a_cache(client: TestClient) -> None:
    give_profile(client)
    answers = [client.get(path) for path in ("/v1/profiles/ada", "/v1/profiles:export", "/v1/nothing", "/healthz")]

    assert [answer.headers["x-content-type-options"] for answer in answers] == ["nosniff"] * 4
    assert [answer.headers["cache-control"] for answer in answers] == ["no-store"] * 4
    assert "cache-control" not in client.get("/docs/assets/swagger-ui.css").headers


@pytest.mark.parametrize("path", ["/v1/jobs/", "/v1/profiles/", "/docs/", "//evil.example/", "//"])
def test_a_slash_too_many_leads_nowhere(client: TestClient, path: str) -> None:
    address = f"{client.base_url}{path}"  # whole: a path that begins with two slashes would be read as a host
    answer = client.get(address, headers={"Host": "evil.example"}, follow_redirects=False)

    assert answer.status_code == 404
    assert "location" not in answer.headers


@pytest.mark.parametrize(
    ("accept", "is_ndjson"),
    [
        ("application/x-ndjson", True),
        ("application/x-ndjson, application/json;q=0.5", True),
        ("application/x-ndjson;q=0.5, application/json", False),
        ("application/x-ndjson; q=0, */*", False),
        ("application/x-ndjson;q=0.4, */*;q=0.8", False),
        ("application/jsonl;q=0.9, */*;q=0.1", True),
        ("APPLICATION/X-NDJSON;Q=1", True),
        ("application/x-ndjson;q=much", True),
        ("*/*", False),
        ("text/csv", False),
        ("", False),
    ],
)
def test_the_format_that_the_client_prefers_is_sent(client: TestClient, accept: str, *, is_ndjson: bool) -> None:
    give_profile(client)
    job_id = accepted(submit(client, an_item()))

    answer = client.get(f"/v1/jobs/{job_id}/results", headers={"Accept": accept})

    assert answer.headers["content-type"].startswith("application/x-ndjson") is is_ndjson
    assert "accept" in answer.headers["vary"].lower().split(", ")


def test_a_compressed_body_is_refused_with_what_is_read(client: TestClient) -> None:
    body = gzip.compress(b'{"user_id": "ada"}')

    answer = client.post("/v1/profiles:import", content=body, headers={**NDJSON_HEADERS, "Content-Encoding": "gzip"})

    assert (answer.status_code, answer.headers["accept-encoding"]) == (415, "identity")


def test_long_answers_are_compressed_for_those_who_read_it(api: Api, client: TestClient) -> None:
    give_profile(client)
    job_id = accepted(submit(client, *(an_item(str(number)) for number in range(200))))
    for position in range(200):
        end_item(api.database, job_id, position)
    path = f"/v1/jobs/{job_id}/results?limit=200&format="

    for form in ("json", "ndjson"):
        packed = client.get(path + form, headers={"Accept-Encoding": "gzip"})
        plain = client.get(path + form, headers={"Accept-Encoding": "identity"})
        assert (packed.headers["content-encoding"], packed.content) == ("gzip", plain.content)
        assert "content-encoding" not in plain.headers
    assert "content-encoding" not in client.get("/healthz").headers


@pytest.mark.parametrize(
    ("path", "name", "hint"),
    [
        ("/v1/profiles:export?tags=beta", "tags", "`tag`"),
        ("/v1/profiles?limits=5", "limits", "`limit`"),
        ("/v1/jobs?page=2", "page", "`after`"),
        ("/v1/models?x", "x", "`limit`"),
        ("/v1/profiles/ada?version=1", "version", "none"),
    ],
)
def test_an_unknown_query_parameter_is_refused(client: TestClient, path: str, name: str, hint: str) -> None:
    give_profile(client)

    answer = client.get(path)

    assert errors_of(answer) == [("unknown_parameter", name)]
    assert hint in answer.json()["errors"][0]["message"]


def test_monitors_may_add_what_they_like(client: TestClient) -> None:
    assert client.get("/healthz?at=1").status_code == 200


def test_a_line_that_is_no_json_has_one_code_wherever_it_is_sent(client: TestClient) -> None:
    codes = [
        client.post(path, content=b"nonsense", headers=NDJSON_HEADERS).json()["errors"][0]["code"]
        for path in ("/v1/jobs", "/v1/profiles:import")
    ]

    assert codes == ["invalid_json"] * 2


def test_the_examples_of_bulk_bodies_on_the_page_can_be_sent_as_they_stand(client: TestClient) -> None:
    give_profile(client)
    paths = client.get("/openapi.json").json()["paths"]

    for path in ("/v1/profiles:import", "/v1/jobs"):
        content = paths[path]["post"]["requestBody"]["content"]
        for media_type in set(content) - {"application/json"}:
            example = content[media_type]["example"]
            answer = client.post(path, content=example, headers={"Content-Type": media_type})
            assert len(example.splitlines()) == 2
            assert answer.is_success, answer.text
