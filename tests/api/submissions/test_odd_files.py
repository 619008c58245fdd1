"""Files as other systems write them: read where that is safe, else told what they are and what to do."""

import pytest
from starlette.testclient import TestClient

from api.http.bodies import MAX_LINE_BYTES
from tests.api.job_requests import line_errors_of
from tests.api.submissions.test_csv_in import imported, profile

OF_JSON = '{"user_id": "ada", "prompt": "Tea, please."}\n{"user_id": "ada", "prompt": "Tea."}\n'


@pytest.mark.parametrize("end", ["\r", "\r\n", "\n"])
def test_lines_end_as_on_any_system(client: TestClient, end: str) -> None:
    rows = ["user_id,tags,examples", 'ada,a,"[""two"",\r""lines""]"', "cleo,b,", "dora,c"]

    (wrong,) = line_errors_of(imported(client, end.join(rows)))
    right = imported(client, end.join(rows[:3]) + end)

    assert wrong == (4 + 1, "csv", "")  # the second row has two lines
    assert (right.status_code, right.json()["num_profiles"]) == (200, 2)
    assert profile(client, "ada")["examples"] == ["two", "lines"]


def test_a_table_of_long_and_many_lines_that_end_with_carriage_returns_is_cut_at_each(client: TestClient) -> None:
    texts = [f"attribute {number} {'x' * 490}" for number in range(2500)]
    table = "user_id,metadata.note\r" + "".join(f"user-{number},{text}\r" for number, text in enumerate(texts))

    assert len(table) > MAX_LINE_BYTES
    assert imported(client, table, dry_run="true").json()["num_created"] == len(texts)


def test_a_byte_order_mark_of_a_file_that_was_appended_is_no_part_of_a_cell(client: TestClient) -> None:
    assert imported(client, "\ufeff\ufeffuser_id,\ufefftags\nada,a\n\ufeffzoe,b\n").status_code == 200

    assert profile(client, "zoe")["tags"] == ["b"]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ('ada,"b', "a quote is left open"),
        ('ada,"b"c', "a quote within a cell is written twice"),
        (f"ada,{'x' * 140_000}", "a cell has more than 131072 characters"),
    ],
)
def test_what_cannot_be_read_is_told_in_words_of_our_own(client: TestClient, row: str, told: str) -> None:
    (error,) = imported(client, f"user_id,tags\n{row}\n").json()["errors"]

    assert (error["line"], error["code"]) == (2, "csv")
    assert told in error["message"]


@pytest.mark.parametrize("media_type", ["text/csv", "application/x-ndjson", "application/json"])
@pytest.mark.parametrize(
    ("content", "told"),
    [
        (OF_JSON.encode("utf-16"), "is UTF-16 text: save it as UTF-8."),
        (OF_JSON.encode("utf-16-be"), "is UTF-16 text, or no text at all: save it as UTF-8."),
        (b"PK\x03\x04, and so on", "is a spreadsheet or another archive (ZIP)"),
        (b"\x1f\x8b, and so on", "is compressed (gzip): unpack it first."),
    ],
)
def test_what_is_no_utf_8_text_is_called_what_it_is(
    client: TestClient, content: bytes, told: str, media_type: str
) -> None:
    answer = client.post("/v1/jobs", content=content, headers={"Content-Type": media_type})

    assert answer.status_code in {400, 422}
    assert told in answer.json()["detail"]


def test_json_lines_that_end_with_carriage_returns_are_told_to_be_so(client: TestClient) -> None:
    body = OF_JSON.replace("\n", "\r").encode()

    answer = client.post("/v1/jobs", content=body, headers={"Content-Type": "application/x-ndjson"})

    (error,) = answer.json()["errors"]
    assert (error["code"], error["message"]) == (
        "line_ends",
        "The lines end with carriage returns alone: end them with line feeds.",
    )
