"""A job has the name that its tenant gives it, in whatever form it was submitted, and is found by it."""

import pytest
from starlette.testclient import TestClient

from tests.api.conftest import Api
from tests.api.job_requests import accepted, an_item, errors_of, give_profile, submit, submit_lines


@pytest.fixture
def client(client: TestClient) -> TestClient:
    give_profile(client)
    return client


def test_every_form_of_submission_can_name_its_job(client: TestClient) -> None:
    answers = [
        submit(client, an_item(), name="Früh ling"),
        submit_lines(client, {"name": "Früh ling"}, an_item()),
        client.post("/v1/jobs", json={"prompt": "Write.", "audience": {"all": True}, "name": "Früh ling"}),
    ]

    assert [answer.json()["name"] for answer in answers] == ["Früh ling"] * 3
    assert client.get(f"/v1/jobs/{accepted(answers[1])}").json()["name"] == "Früh ling"


def test_jobs_are_listed_by_their_exact_name_a_page_at_a_time(api: Api, client: TestClient) -> None:
    ids = [str(accepted(submit(client, an_item(), name=name))) for name in ("a", "A", "a", "ab")]
    accepted(submit(client, an_item()))
    rival = api.client(tenant="rival")

    first = client.get("/v1/jobs", params={"name": "a", "limit": 1}).json()
    second = client.get("/v1/jobs", params={"name": "a", "limit": 1, "after": first["last_id"]}).json()

    assert [job["id"] for page in (first, second) for job in page["data"]] == [ids[2], ids[0]]
    assert (first["has_more"], second["has_more"]) == (True, False)
    assert rival.get("/v1/jobs", params={"name": "a"}).json()["data"] == []


@pytest.mark.parametrize("name", ["", " a", "a\n", "a\x00b", "x" * 129])
def test_what_is_no_name_is_refused(client: TestClient, name: str) -> None:
    assert [pointer for _, pointer in errors_of(submit(client, an_item(), name=name))] == ["/name"]


def test_a_job_without_a_name_has_none(client: TestClient) -> None:
    assert submit(client, an_item()).json()["name"] is None
