"""Results can be read as CSV: whole, quoted, harmless in a spreadsheet, with the prompt and attributes beside."""

import csv
import io
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from api.http.dependencies import Scope
from api.jobs.result_rows import guarded
from domain.states import ItemState
from tests.api.conftest import Api
from tests.api.job_requests import Json, accepted, an_item, end_item, give_profile, submit

Params = dict[str, str | int | list[str]]
CSV = {"Accept": "text/csv"}
AWKWARD = ['a "quoted", text', "two\r\nlines", "=1+1", "  @x", "-5", "+49 171", "", "茶;🍵", "'=x"]


@pytest.fixture
def client(client: TestClient) -> TestClient:
    give_profile(client, "=ada", attributes={"first_name": "Ada", "mail": "=cmd()"})
    return client


@pytest.fixture
def job_id(api: Api, client: TestClient) -> uuid.UUID:
    items = [an_item(f"c{number}", "=ada", prompt=f"={number}") for number in range(len(AWKWARD) + 1)]
    job_id = accepted(submit(client, *items))
    for position, text in enumerate(AWKWARD):
        end_item(api.database, job_id, position, text=text)
    end_item(api.database, job_id, len(AWKWARD), ItemState.FAILED)
    return job_id


def table_of(client: TestClient, job_id: uuid.UUID, **params: str | int | list[str]) -> list[Json]:
    answer = client.get(f"/v1/jobs/{job_id}/results", headers=CSV, params=params)
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.content.decode(), newline=""), strict=True))


def test_all_results_are_rows_in_input_order(client: TestClient, job_id: uuid.UUID) -> None:
    rows = table_of(client, job_id)

    assert [row["custom_id"] for row in rows] == [f"c{number}" for number in range(len(AWKWARD) + 1)]
    assert [row["text"] for row in rows] == [
        *('a "quoted", text', "two\r\nlines", "'=1+1", "'  @x", "-5", "'+49 171", "", "茶;🍵", "''=x"),
        "",
    ]
    assert (rows[0]["user_id"], rows[0]["state"], rows[0]["prompt_tokens"], rows[0]["reward"]) == (
        *("'=ada", "succeeded", "7"),
        "0.5",
    )
    assert (rows[-1]["error_code"], rows[-1]["error_message"]) == ("poison", "It cannot be decoded.")


def test_the_answer_says_what_it_is_and_whether_it_is_whole(api: Api, client: TestClient, job_id: uuid.UUID) -> None:
    whole = client.get(f"/v1/jobs/{job_id}/results", headers=CSV)
    asked = client.get(f"/v1/jobs/{job_id}/results", params={"format": "csv", "bom": "true", "limit": 1})
    running = accepted(submit(client, an_item(user_id="=ada")))

    assert whole.headers["Content-Type"] == "text/csv; charset=utf-8; header=present"
    assert whole.headers["X-Incomplete"] == "false"
    assert whole.headers["Content-Disposition"] == f'attachment; filename="{job_id}.csv"'
    assert whole.content.startswith(b"custom_id,")
    assert asked.content.startswith(b"\xef\xbb\xbfcustom_id,")
    assert asked.content.count(b"\r\n") == 2
    assert client.get(f"/v1/jobs/{running}/results", headers=CSV).headers["X-Incomplete"] == "true"


@pytest.mark.parametrize(
    ("accept", "type_"),
    [
        ("text/csv", "text/csv"),
        ("text/*", "text/csv"),
        ("application/json, text/csv;q=0.5", "application/json"),
        ("application/x-ndjson;q=0.4, text/csv;q=0.5", "text/csv"),
        ("*/*", "application/json"),
    ],
)
def test_the_accept_header_chooses(client: TestClient, job_id: uuid.UUID, accept: str, type_: str) -> None:
    answer = client.get(f"/v1/jobs/{job_id}/results", headers={"Accept": accept})

    assert answer.headers["Content-Type"].startswith(type_)


def test_results_can_carry_their_prompt_in_every_format(client: TestClient, job_id: uuid.UUID) -> None:
    turns = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    path = f"/v1/jobs/{job_id}/results"
    include: Params = {"include": "prompt", "limit": 1}

    (plain,) = client.get(path, params={"limit": 1}).json()["data"]
    (page,) = client.get(path, params=include).json()["data"]
    line = client.get(path, params=include, headers={"Accept": "application/x-ndjson"}).json()

    assert turns
    assert {"prompt", "messages"}.isdisjoint(plain)
    assert (page["prompt"], page["messages"]) == (line["prompt"], line["messages"]) == ("=0", None)
    assert table_of(client, job_id, **include)[0]["prompt"] == "'=0"


def test_a_conversation_is_given_as_it_was(api: Api, client: TestClient) -> None:
    turns = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    job_id = accepted(submit(client, an_item(user_id="=ada", prompt=None, messages=turns)))
    end_item(api.database, job_id, 0)

    (page,) = client.get(f"/v1/jobs/{job_id}/results", params={"include": "prompt"}).json()["data"]

    assert (page["prompt"], page["messages"]) == (None, turns)
    assert table_of(client, job_id, include="prompt")[0]["prompt"] == (
        '[{"role":"system","content":"s"},{"role":"user","content":"u"}]'
    )


def test_results_can_carry_attributes_as_they_were_for_the_item(client: TestClient, job_id: uuid.UUID) -> None:
    client.patch("/v1/profiles/=ada", json={"attributes": {"first_name": "Other"}})
    asked: Params = {"attribute": ["first_name", "mail", "city"], "limit": 1}

    (page,) = client.get(f"/v1/jobs/{job_id}/results", params=asked).json()["data"]
    (row,) = table_of(client, job_id, **asked)
    client.delete("/v1/profiles/=ada")
    (after,) = client.get(f"/v1/jobs/{job_id}/results", params=asked).json()["data"]

    assert page["attributes"] == {"first_name": "Ada", "mail": "=cmd()", "city": None}
    assert (row["attributes.first_name"], row["attributes.mail"], row["attributes.city"]) == ("Ada", "'=cmd()", "")
    assert after["attributes"] is None


@pytest.mark.parametrize("asked", [{"attribute": "mail"}, {"include": "prompt"}])
def test_attributes_and_the_prompts_that_hold_them_are_shown_to_who_may_read_profiles_alone(
    api: Api, client: TestClient, job_id: uuid.UUID, asked: dict[str, str]
) -> None:
    writes_and_reads_jobs = api.client(Scope.JOBS_READ, Scope.JOBS_WRITE)

    refused = writes_and_reads_jobs.get(f"/v1/jobs/{job_id}/results", params=asked)

    assert refused.status_code == 403
    assert client.get(f"/v1/jobs/{job_id}/results", params=asked).status_code == 200
    assert writes_and_reads_jobs.get(f"/v1/jobs/{job_id}/results").status_code == 200


def test_a_hold_out_has_a_column_of_its_own(api: Api, client: TestClient) -> None:
    job_id = accepted(submit(client, an_item(user_id="=ada"), holdout=0.99, holdout_seed=1))
    end_item(api.database, job_id, 0)

    assert table_of(client, job_id)[0]["holdout"] == "true"


@given(text=st.text(alphabet="'=+-@ \t\r1a,"))
def test_a_guarded_text_begins_no_formula_and_can_be_had_back(text: str) -> None:
    shown = guarded(text)

    if shown != text:
        assert shown == f"'{text}"
    else:
        begins = text.lstrip(" ")[:1]
        assert begins not in {"=", "@", "\t", "\r"}
        assert begins not in {"+", "-"} or text.replace(",", "").lstrip("+-").isdigit()
    assert guarded(f"'{text}") == f"'{shown}" if shown != text else True
