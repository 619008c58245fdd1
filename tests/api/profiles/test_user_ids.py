"""User ids that differ only in the space around them or in their Unicode form name one user, wherever they are sent."""

import json
import unicodedata
from urllib.parse import quote

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from tests.api.job_requests import NDJSON_HEADERS, an_item, errors_of, submit, submit_lines

COMPOSED = "Zoë"
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)
LONGEST = "é" * 128
FORMS = [f" {COMPOSED}", f"{COMPOSED}\u00a0", f"\t{COMPOSED}\r", DECOMPOSED, f"  {DECOMPOSED} "]


def campaign_for(client: TestClient, *user_ids: str) -> Response:
    return client.post("/v1/jobs", json={"prompt": "Write about tea.", "audience": {"user_ids": user_ids}})


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_user_id_reads_and_writes_one_profile(client: TestClient, form: str) -> None:
    created = client.put(f"/v1/profiles/{quote(form)}", json={"tags": ["a"]})

    assert (created.status_code, created.json()["user_id"]) == (201, COMPOSED)
    assert client.get(f"/v1/profiles/{COMPOSED}").json() == created.json()
    assert client.put(f"/v1/profiles/{COMPOSED}", json={"tags": ["a"]}).status_code == 200
    report = client.post("/v1/profiles:import", content=json.dumps({"user_id": form}), headers=NDJSON_HEADERS)
    assert report.json()["num_unchanged"] == 1


def test_two_forms_of_one_user_in_an_import_are_named(client: TestClient) -> None:
    body = "\n".join(json.dumps({"user_id": form}) for form in ["ada", COMPOSED, " ada", DECOMPOSED])

    problem = client.post("/v1/profiles:import", content=body, headers=NDJSON_HEADERS).json()

    assert [(error["line"], error["code"]) for error in problem["errors"]] == [
        (3, "duplicate_user_id"),
        (4, "duplicate_user_id"),
    ]


@pytest.mark.parametrize("form", FORMS)
def test_an_item_and_a_campaign_find_the_user_in_every_form(client: TestClient, form: str) -> None:
    client.put(f"/v1/profiles/{COMPOSED}", json={})

    item = submit(client, an_item("a", form))
    line = submit_lines(client, an_item("a", form))
    campaign = campaign_for(client, form)

    assert [answer.status_code for answer in (item, line, campaign)] == [202] * 3


def test_two_forms_of_one_user_in_an_audience_are_named(client: TestClient) -> None:
    client.put(f"/v1/profiles/{COMPOSED}", json={})

    answer = campaign_for(client, COMPOSED, DECOMPOSED)

    assert errors_of(answer) == [("duplicate_custom_id", "/audience/user_ids/1")]


def test_a_wrong_item_is_not_also_of_an_unknown_user_in_another_form(client: TestClient) -> None:
    client.put(f"/v1/profiles/{COMPOSED}", json={})

    answer = submit(client, an_item("a", f" {DECOMPOSED}", k=0))

    assert errors_of(answer) == [("greater_than_equal", "/items/0/k")]


@pytest.mark.parametrize("user_id", ["%20", "%C2%A0%20", "\u0958" * 128])
def test_a_user_id_whose_canonical_form_cannot_be_stored_is_refused(client: TestClient, user_id: str) -> None:
    answer = client.put(f"/v1/profiles/{user_id}", json={})

    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "user_id")


@pytest.mark.parametrize("form", [unicodedata.normalize("NFD", LONGEST), " " * 200 + LONGEST])
def test_a_user_id_is_measured_in_its_canonical_form(client: TestClient, form: str) -> None:
    created = client.put(f"/v1/profiles/{LONGEST}", json={})

    assert client.get(f"/v1/profiles/{quote(form)}").json() == created.json()
    assert submit(client, an_item("a", form)).status_code == 202
    assert campaign_for(client, form).status_code == 202


@pytest.mark.parametrize("address", ["/v1/profiles/Zo%EB", "/v1/profiles/a%ED%A0%80", "/v1/profiles?tag=%FF"])
def test_an_address_in_another_encoding_is_refused_and_makes_no_user_of_many(client: TestClient, address: str) -> None:
    answer = client.get(address)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert "UTF-8" in answer.json()["detail"]
