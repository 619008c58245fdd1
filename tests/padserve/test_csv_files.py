"""CSV that people import and export: profiles both ways, results out; what is wrong is told by line and column."""

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.csv.cells import PROFILES, profile_of
from api.csv.tables import table_rows
from api.http.bodies import SpooledBody
from api.jobs.result_rows import unguarded
from padserve import Client, InvalidRequestError, SourceError
from padserve.client.csv_text import csv_line, read_cell
from padserve.client.profile_tables import write_profiles
from tests.padserve.command_line import Run
from tests.padserve.running_api import Server
from tests.padserve.scripted_server import Script

BOM = "\ufeff"
PLAIN_TEXT = st.text(st.characters(exclude_categories=["C"]), max_size=20)
LINE = PLAIN_TEXT.map(str.strip).filter(bool)


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with server.client() as client:
        yield client


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1, max_size=4))
def test_every_text_is_read_as_it_was_written_by_client_and_server(texts: list[str]) -> None:
    line = csv_line(texts) + "\n"

    (row,) = csv.reader(io.StringIO(line, newline=""), strict=True)

    assert [read_cell(cell) for cell in row] == [unguarded(cell) for cell in row] == texts
    for cell in row:
        assert not cell.startswith(("=", "+", "-", "@", "\t", "\r")) or re.fullmatch(r"[+-][0-9]+([.,][0-9]+)?", cell)


@given(
    st.fixed_dictionaries(
        {
            "user_id": LINE,
            "principles": st.lists(
                st.fixed_dictionaries({"text": LINE, "weight": st.sampled_from([1.0, 0.5, 2.0, 1e-05])}), max_size=3
            ),
            "method": st.sampled_from([None, "pad"]),
            "strength": st.sampled_from([None, 0.0, 1.5]),
            "attributes": st.dictionaries(st.sampled_from(["first_name", "city"]), LINE),
            "tags": st.lists(LINE, max_size=3),
            "metadata": st.dictionaries(LINE, LINE, max_size=2),
        },
        optional={
            "learn": st.just(value=True),
            "examples": st.lists(LINE, min_size=1, max_size=2),
            "max_kl": st.just(0.5),
        },
    )
)
def test_every_profile_of_an_export_is_read_by_the_server_as_it_was(profile: dict[str, Any]) -> None:
    content = "".join(f"{line}\n" for line in write_profiles([json.dumps(profile)], io.BytesIO())).encode()

    (row,) = table_rows(SpooledBody(io.BytesIO(content), len(content), "", "text/csv"), {}, PROFILES)
    read: dict[str, Any] = dict(profile_of(row))

    said = {name: value for name, value in profile.items() if value not in (None, [], {})}
    written = [{"text": each["text"], "weight": each["weight"]} for each in said.pop("principles", [])]
    principles: list[Any] = read.pop("principles", [])
    assert [{"weight": 1.0, **(each if isinstance(each, dict) else {"text": each})} for each in principles] == written
    assert (row.error, read) == (None, said)


def test_people_of_a_crm_are_imported_by_what_their_columns_are(padserve: Run, server: Server) -> None:
    Path("people.csv").write_text(
        f'{BOM}id;vorname;wants;groups;note\n7;"Zoë ""Z"" O\'Hara";funny; brief=2;beta; vip;x\n'.replace(
            "funny; brief=2;beta; vip", '"funny; brief=2";"beta; vip"'
        )
        + "8;;;;\n"
    )
    columns = {"id": "user_id", "vorname": "attributes.first_name", "wants": "principles", "groups": "tags", "note": ""}
    flags = [part for name, field in columns.items() for part in ("--column", f"{name}={field}")]

    imported = padserve("profiles", "import", "people.csv", *flags)

    assert imported.output == "2 created, 0 updated, 0 unchanged.\n"
    shown = json.loads(padserve("profiles", "get", "7").output)
    assert shown["attributes"] == {"first_name": 'Zoë "Z" O\'Hara'}
    assert shown["principles"] == [{"text": "funny", "weight": 1.0}, {"text": "brief", "weight": 2.0}]
    assert shown["tags"] == ["beta", "vip"]


def test_an_export_to_csv_is_imported_again_without_a_change(padserve: Run) -> None:
    padserve("profiles", "set", "=1+1", "-p", "a; b", "--attribute", "first_name=-Ada", "--tag", "x;y", "--learn")

    exported = padserve("profiles", "export", "-o", "all.csv")

    assert exported.errors == "2 profiles are in all.csv.\n"
    content = Path("all.csv").read_bytes().decode()
    assert content.startswith(f"{BOM}user_id,principles,")
    assert "\r\n'=1+1," in content
    assert "'-Ada" in content
    assert padserve("profiles", "import", "all.csv").output == "0 created, 0 updated, 2 unchanged.\n"


def test_an_empty_cell_changes_nothing(client: Client, tmp_path: Path) -> None:
    client.profiles.put("ada", principles=["formal"], tags=["beta"], learn=True)
    (tmp_path / "p.csv").write_text("user_id,tags,principles,learn\nada,,,\n")

    report = client.profiles.import_(tmp_path / "p.csv")

    assert report.num_unchanged == 1


@pytest.mark.parametrize(
    ("cells", "column"),
    [("ada,high,,", "force"), ("ada,,perhaps,", "learn"), ("a/b,,,", "user_id"), ("ada,,,x" + "y" * 1000, "vorname")],
)
def test_what_is_wrong_with_a_profile_is_told_by_line_and_column(
    client: Client, tmp_path: Path, cells: str, column: str
) -> None:
    (tmp_path / "p.csv").write_text(f'user_id,force,learn,vorname\nbob,,,"two\nlines"\n{cells}\n')
    columns = {"force": "strength", "vorname": "attributes.first_name"}

    with pytest.raises(InvalidRequestError) as refused:
        client.profiles.import_(tmp_path / "p.csv", columns=columns)

    assert [str(error).split(":")[0] for error in refused.value.errors] == [f"line 4, column {column}"]


def test_what_is_wrong_with_an_item_is_told_by_line_and_column(client: Client, tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("who,text\nnobody,Hi\n")

    with pytest.raises(InvalidRequestError) as refused:
        client.submit(tmp_path / "items.csv", columns={"who": "user_id", "text": "prompt"}, defaults={"k": 3})

    assert [str(error).split(":")[0] for error in refused.value.errors] == ["line 2, column who"]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("user_id,city", "these are no fields: `city`. Say what each is by `--column COLUMN=FIELD`"),
        ("user_id,user_id", "2 columns are the field `user_id`"),
    ],
)
def test_a_column_that_is_nothing_is_told_with_the_flag_that_names_it(padserve: Run, header: str, message: str) -> None:
    Path("people.csv").write_text(f"{header}\nada,x\n")

    refused = padserve("profiles", "import", "people.csv")
    named = padserve("profiles", "import", "people.csv", "--column", "*=attributes")

    assert refused.exit_code == 1
    assert message in refused.errors
    assert named.exit_code == (0 if "city" in header else 1)


def test_two_columns_of_items_are_not_one_field(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("user_id,who,prompt\nada,bob,Hi\n")

    with pytest.raises(SourceError, match=r"items\.csv has two columns that are 'user_id'"):
        Script([]).client().submit(tmp_path / "items.csv", columns={"who": "user_id"})


@pytest.mark.parametrize("start", ["", BOM, "\n"])
@pytest.mark.parametrize("command", [("submit",), ("profiles", "import")])
def test_csv_in_the_place_of_json_lines_is_called_so(padserve: Run, command: tuple[str, ...], start: str) -> None:
    Path("people.txt").write_text(f"{start}user_id;prompt\nada;Hi\n")

    refused = padserve(*command, "people.txt")

    assert refused.exit_code == 1
    assert refused.errors.startswith("Error: people.txt looks like CSV, and JSON lines are expected: give it a name")
    assert "--csv" in refused.errors


def test_csv_is_taken_from_standard_input_if_it_is_called_so(padserve: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def typed(text: str) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))

    typed("user_id,tags\nbob,beta\n")
    imported = padserve("profiles", "import", "-", "--csv")
    typed("user_id,text\nbob,Hi\n")
    submitted = padserve("submit", "-", "--column", "text=prompt")
    typed("user_id,prompt\nbob,Hi\n")
    unsaid = padserve("submit", "-")

    assert imported.output == "1 created, 0 updated, 0 unchanged.\n"
    assert (submitted.exit_code, unsaid.exit_code) == (0, 1)
    assert "looks like CSV" in unsaid.errors


def test_results_are_a_table_in_input_order_without_formulas(padserve: Run, server: Server) -> None:
    lines = [
        json.dumps({"custom_id": f"c{number}", "user_id": "ada", "prompt": prompt})
        for number, prompt in enumerate(['=cmd("x"),\nzoë', "-1", "plain"])
    ]
    Path("items.ndjson").write_text("\n".join(lines))
    job_id = padserve("submit", "items.ndjson").output.strip()
    server.decode(2)
    server.decode(1, error_code="poisoned")

    written = padserve("results", job_id, "-o", "texts.csv")
    shown = padserve("results", job_id, "--format", "csv", "--state", "succeeded")

    assert written.errors == "The results are in texts.csv.\n"
    content = Path("texts.csv").read_bytes().decode()
    rows = list(csv.DictReader(io.StringIO(content.removeprefix(BOM), newline="")))
    assert content.startswith(BOM)
    assert [(row["custom_id"], row["text"], row["error_code"]) for row in rows] == [
        ("c0", '\'=CMD("X"),\nZOË', ""),
        ("c1", "-1", ""),
        ("c2", "", "poisoned"),
    ]
    assert [row["completion_tokens"] for row in rows] == ["4", "4", ""]
    assert shown.output.removeprefix(BOM).startswith("custom_id,position,user_id,state,text,")
    assert len(list(csv.reader(io.StringIO(shown.output)))) == 3


@pytest.mark.parametrize("num_items", [0, 1, 2])
def test_one_json_list_is_written_if_asked(padserve: Run, server: Server, num_items: int) -> None:
    items = [json.dumps({"custom_id": str(number), "user_id": "ada", "prompt": "Hi"}) for number in range(2)]
    Path("items.ndjson").write_text("\n".join(items))
    job_id = padserve("submit", "items.ndjson").output.strip()
    if num_items:
        server.decode(num_items)

    flagged = padserve("results", job_id, "--partial", "--json")
    padserve("results", job_id, "--partial", "-o", "out.json")
    padserve("results", job_id, "--partial", "-o", "out.csv", "--format", "ndjson")

    assert [result["custom_id"] for result in json.loads(flagged.output)] == ["0", "1"][:num_items]
    assert json.loads(Path("out.json").read_text()) == json.loads(flagged.output)
    assert len(Path("out.csv").read_text().splitlines()) == num_items
    assert json.loads(padserve("profiles", "export", "--json").output)[0]["user_id"] == "ada"


def test_a_format_that_is_none_is_refused_by_its_flag(offline: Run) -> None:
    refused = offline("results", "x", "--format", "xlsx")

    assert refused.exit_code == 2
    assert "'xlsx' is none of ndjson, json, csv" in refused.errors
