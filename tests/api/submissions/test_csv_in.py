"""A table can be submitted or imported as it was saved: what is wrong with it is told by line and field."""

import uuid

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from api.csv import tables as csv_tables
from tests.api.conftest import Api
from tests.api.job_requests import (
    NDJSON_HEADERS,
    NOTHING,
    Json,
    accepted,
    errors_of,
    give_profile,
    items_of_job,
    line_errors_of,
    num_stored,
)

CSV = {"Content-Type": "text/csv"}


def submitted(client: TestClient, table: str | bytes, **params: object) -> Response:
    content = table if isinstance(table, bytes) else table.encode()
    return client.post("/v1/jobs", content=content, headers=CSV, params=params)  # type: ignore[arg-type]


def imported(client: TestClient, table: str | bytes, **params: object) -> Response:
    content = table if isinstance(table, bytes) else table.encode()
    return client.post("/v1/profiles:import", content=content, headers=CSV, params=params)  # type: ignore[arg-type]


def profile(client: TestClient, user_id: str) -> Json:
    return dict(client.get(f"/v1/profiles/{user_id}").json())


@pytest.fixture
def client(client: TestClient) -> TestClient:
    give_profile(client, "ada")
    give_profile(client, "bob")
    return client


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_table_is_a_job_of_an_item_a_row(api: Api, client: TestClient, delimiter: str, mark: str, end: str) -> None:
    rows = [
        ["user_id", "text", "strength", "max_tokens", "note"],
        ["ada", '"Tea, or ""Tee""; or' + end + '茶"', "0.5", "12", ""],
        ["bob", "Plain.", "", "", "x"],
    ]
    table = mark + end.join(delimiter.join(row) for row in rows) + end

    answer = submitted(client, table, column=["text=prompt", "note="], options='{"name": "tea", "defaults": {"k": 3}}')

    first, second = items_of_job(api.database, accepted(answer))
    assert answer.json()["name"] == "tea"
    assert first.messages == [{"role": "user", "content": f'Tea, or "Tee"; or{end}茶'}]
    assert (first.custom_id, first.user_id, first.sampling["max_tokens"], first.sampling["k"]) == ("1", "ada", 12, 3)
    assert (second.custom_id, second.messages[0]["content"]) == ("2", "Plain.")


def test_every_ragged_or_wrong_row_is_named_by_the_line_it_begins_on(api: Api, client: TestClient) -> None:
    table = 'user_id,prompt,k\nada,"one\ntwo",3\nbob,x\nada,x,3,4\n\nbob,x,much\nnobody,x,3\n'

    assert line_errors_of(submitted(client, table)) == [
        (4, "csv", ""),
        (5, "csv", ""),
        (7, "int_type", "/k"),
        (8, "unknown_user", "/user_id"),
    ]
    assert num_stored(api.database) == NOTHING


def test_a_quote_that_is_left_open_is_named_by_the_line_it_begins_on(client: TestClient) -> None:
    (error,) = submitted(client, 'user_id,prompt\nada,fine\nada,"open\nbob,x\n').json()["errors"]

    assert (error["line"], error["code"]) == (3, "csv")
    assert "a quote is left open" in error["message"]


@pytest.mark.parametrize(
    ("table", "columns", "code", "told"),
    [
        ("user_id,text\nada,x\n", [], "unknown_column", "`text`"),
        ("user_id,prompt\nada,x\n", ["txt=prompt"], "unknown_column", "'txt'"),
        ("user_id,prompt,text\nada,x,y\n", ["text=prompt"], "duplicate_column", "`prompt`"),
        ("user_id,text\nada,x\n", ["text=promt"], "unknown_column", "`text`"),
        ("ada,Write about tea.\n", [], "unknown_column", "The first line names the columns"),
        ("prompt,k\nx,3\n", [], "missing_column", "`user_id`"),
        ("", [], "header", "first line"),
        ('{"user_id": "ada", "prompt": "x"}\n', [], "header", "application/x-ndjson"),
        ("user_id,prompt\nada,x\n", ["text"], "column", "COLUMN=FIELD"),
        ("user_id,prompt\nada,x\n", ["a=k", "a=n"], "column", "COLUMN=FIELD"),
        (b"user_id,prompt\nada,\xfc\n", [], "encoding", "UTF-8"),
    ],
)
def test_a_table_whose_columns_are_not_known_is_refused_with_what_to_say(
    *, api: Api, client: TestClient, table: str | bytes, columns: list[str], code: str, told: str
) -> None:
    (error, *_) = submitted(client, table, column=columns).json()["errors"]

    assert error["code"] == code
    assert told in error["message"]
    assert num_stored(api.database) == NOTHING


def test_columns_can_be_left_out_all_at_once(api: Api, client: TestClient) -> None:
    answer = submitted(client, "user_id,prompt,a,b\nada,x,1,2\n", column=["*="])

    assert len(items_of_job(api.database, accepted(answer))) == 1


def test_a_column_without_a_name_may_be_there_and_be_empty(client: TestClient) -> None:
    accepted(submitted(client, "user_id,prompt,\nada,x,\n"))

    assert line_errors_of(submitted(client, "user_id,prompt,\nada,x,y\n")) == [(2, "csv", "")]


def test_a_row_too_long_is_refused_before_it_is_in_memory(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_tables, "MAX_LINE_BYTES", 100)

    answer = submitted(client, "user_id,prompt\nada,fine\n" + ",".join(['"\n"'] * 60))

    assert answer.status_code == 413
    assert "row at line" in answer.json()["detail"]


def test_wrong_options_are_told_in_their_place(client: TestClient) -> None:
    table = "user_id,prompt\nada,x\n"

    assert errors_of(submitted(client, table, options='{"defaults": {"k": 0}}')) == [
        ("greater_than_equal", "options/defaults/k")
    ]
    assert errors_of(submitted(client, table, options="{")) == [("invalid_json", "options")]


def test_what_is_said_of_tables_is_refused_for_other_bodies(client: TestClient) -> None:
    item = {"custom_id": "a", "user_id": "ada", "prompt": "x"}

    answer = client.post("/v1/jobs", json={"items": [item]}, params={"column": "a=k", "options": "{}"})

    assert ("not_csv", "column") in errors_of(answer)
    assert errors_of(
        client.post(
            "/v1/profiles:import",
            content=b"{}",
            headers={"Content-Type": "application/x-ndjson"},
            params={"column": "a=b"},
        )
    ) == [("not_csv", "column")]


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/profiles:import"])
@pytest.mark.parametrize("table", ["user_id,prompt\nada,x\n", '\ufeff"user_id";"text"\n"ada";"x"\n'])
def test_a_table_where_lines_are_expected_is_told_to_be_one(client: TestClient, path: str, table: str) -> None:
    (error,) = client.post(path, content=table.encode(), headers=NDJSON_HEADERS).json()["errors"]

    assert (error["line"], error["code"]) == (1, "csv")
    assert "This is a CSV" in error["message"]
    assert "text/csv" in error["message"]


def test_a_table_where_a_json_object_is_expected_is_told_to_be_one(client: TestClient) -> None:
    answer = client.post("/v1/jobs", content=b"user_id,prompt\nada,x\n", headers={"Content-Type": "application/json"})

    assert answer.status_code == 400
    assert "This is a CSV" in answer.json()["detail"]


def test_the_same_key_with_another_mapping_is_another_request(client: TestClient) -> None:
    key = {**CSV, "Idempotency-Key": "k"}
    table = b"user_id,a,b\nada,x,y\n"

    def send(*columns: str) -> Response:
        return client.post("/v1/jobs", content=table, headers=key, params={"column": list(columns)})

    first = send("a=prompt", "b=")
    assert accepted(send("a=prompt", "b=")) == uuid.UUID(first.json()["id"])
    assert send("a=", "b=prompt").json()["code"] == "idempotency_key_reused"


PEOPLE = (
    "\ufeffKunde;Vorname;E-Mail;Segment;Mag;learn;strength;attributes.city\r\n"
    "ada;Ada;ada@example.org;beta; humor =0,5; short;ja;0,5;London\r\n"
    'cleo;"Cléo; d\'Orsay";;;;yes;;\r\n'
)


def test_people_are_imported_from_a_table_of_any_column_names(client: TestClient) -> None:
    table = PEOPLE.replace(" humor =0,5; short", '" humor =0,5; short"').replace(";ja;", ";yes;")

    report = imported(client, table, column=["Kunde=user_id", "Segment=tags", "Mag=principles", "*=attributes"])

    assert report.json() | {"object": ""} == {
        "object": "",
        "dry_run": False,
        "num_profiles": 2,
        "num_created": 1,
        "num_updated": 1,
        "num_unchanged": 0,
    }
    ada = profile(client, "ada")
    assert ada["attributes"] == {"vorname": "Ada", "e_mail": "ada@example.org", "city": "London"}
    assert ada["principles"] == [{"text": "humor", "weight": 0.5}, {"text": "short", "weight": 1.0}]
    assert (ada["tags"], ada["learn"], ada["strength"]) == (["beta"], True, 0.5)
    assert profile(client, "cleo")["attributes"] == {"vorname": "Cléo; d'Orsay"}


def test_an_empty_cell_changes_nothing_and_the_same_table_twice_is_one(client: TestClient) -> None:
    table = "user_id,tags,attributes.city,strength\nada,a;b,Rome,0.5\n"

    assert imported(client, table).json()["num_updated"] == 1
    assert imported(client, table).json()["num_unchanged"] == 1
    assert imported(client, "user_id,tags,attributes.city,strength\nada,,,\n").json()["num_unchanged"] == 1
    assert profile(client, "ada")["tags"] == ["a", "b"]


def test_wrong_rows_of_an_import_are_named_by_line_and_field(client: TestClient) -> None:
    table = (
        'user_id,strength,learn,attributes.a b\nada,much,true,\n"b\no/b",1,true,\ncleo,1,perhaps,\ndora,1,no,x\nada,1\n'
    )

    assert [(line, pointer) for line, _, pointer in line_errors_of(imported(client, table))] == [
        (2, "/strength"),
        (3, "/user_id"),
        (5, "/learn"),
        (6, "/attributes/a b"),
        (7, ""),
    ]


def test_columns_that_are_no_fields_of_a_profile_are_refused_until_they_are_mapped(client: TestClient) -> None:
    (error,) = imported(client, "user_id,first_name\nada,Ada\n").json()["errors"]

    assert (error["line"], error["code"]) == (1, "unknown_column")
    assert "attributes.NAME, metadata.NAME" in error["message"]


def test_a_dry_run_of_an_import_stores_nothing(client: TestClient) -> None:
    assert imported(client, "user_id,tags\nzoe,a\n", dry_run="true").json()["num_created"] == 1
    assert client.get("/v1/profiles/zoe").status_code == 404
