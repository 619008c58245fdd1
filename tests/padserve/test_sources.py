"""What may be submitted, and that what is wrong with it is told in the places that its owner sees."""

import gzip
import io
import json
import os
import re
import threading
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from padserve import Client, InvalidRequestError, SourceError
from tests.padserve.running_api import Server
from tests.padserve.scripted_server import Script, a_job

ITEM = '{"custom_id": "1", "user_id": "ada", "prompt": "Hello"}'
OPTIONS = '{"defaults": {"strength": 2, "k": 5}, "metadata": {"a": "b"}}'
BOM = "\ufeff"


def sent(source: object, **options: object) -> list[dict[str, object]]:
    """What goes out for a source, line by line; None for a blank one."""
    script = Script([a_job()])
    script.client().submit(source, **options)  # type: ignore[arg-type]
    return [json.loads(line) for line in script.requests[0].content.splitlines() if line]


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with server.client() as client:
        client.profiles.put("ada")
        yield client


def places(client: Client, text: str, **defaults: object) -> list[tuple[int | None, str | None]]:
    with pytest.raises(InvalidRequestError) as caught:
        client.submit(io.BytesIO(text.encode()), defaults=defaults)
    return [(error.line, error.pointer) for error in caught.value.errors]


@pytest.mark.parametrize("start", ["", BOM, "\n\n", f"{BOM}\n"])
def test_lines_are_those_of_the_file_whatever_is_given_beside_it(client: Client, start: str) -> None:
    text = f"{start}{ITEM}\nnot json\n"
    line = start.count("\n") + 2

    assert places(client, text) == places(client, text, strength=1) == [(line, None)]


@pytest.mark.parametrize("start", ["", BOM, "\n"])
def test_options_in_a_file_go_together_with_those_beside_it_and_yield_to_them(start: str) -> None:
    text = f"{start}{OPTIONS}\n{ITEM}\n"

    head, item = sent(io.BytesIO(text.encode()), defaults={"strength": 1}, metadata={"c": "d"}, model="m")

    assert head == {"defaults": {"strength": 1, "k": 5}, "metadata": {"a": "b", "c": "d"}, "model": "m"}
    assert item == json.loads(ITEM)


def test_what_is_wrong_with_an_option_is_told_where_it_was_said(client: Client) -> None:
    text = f"\n{OPTIONS}\n{ITEM}\nnot json\n"

    assert places(client, text, strength=-1) == [(None, "/defaults/strength"), (4, None)]
    assert places(client, text.replace("5", "-5"), strength=1) == [(2, "/defaults/k"), (4, None)]
    assert places(client, ITEM, strength=-1) == [(None, "/defaults/strength")]


def test_another_line_that_a_message_names_is_one_of_the_file(client: Client) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        client.submit(io.BytesIO(f"{ITEM}\n{ITEM}\n".encode()), defaults={"k": 5})

    assert [str(error) for error in caught.value.errors] == ["line 2, /custom_id: Line 1 has the same custom_id."]


def test_a_csv_file_is_a_table_of_items(tmp_path: Path) -> None:
    file = tmp_path / "items.CSV"
    file.write_text(f'{BOM}user_id;text;strength;note\nada;"Two\nlines; ""quoted""";0,5;x\n007;Hi;;y\n\n')

    items = sent(file, columns={"text": "prompt", "note": ""})

    assert items == [
        {"custom_id": "1", "user_id": "ada", "prompt": 'Two\nlines; "quoted"', "strength": 0.5},
        {"custom_id": "2", "user_id": "007", "prompt": "Hi"},
    ]


def test_what_is_wrong_in_a_csv_file_is_told_by_its_line(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "items.csv"
    file.write_text('user_id,prompt\nada,"a\nb"\nnobody,hi\n')

    with pytest.raises(InvalidRequestError) as caught:
        client.submit(file, defaults={"k": 5})

    assert [(error.line, error.pointer) for error in caught.value.errors] == [(4, "/user_id")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"user_id,promt\na,b\n", "items.csv has a column 'promt', which is no field of an item"),
        (b"user_id,prompt\na,b,c\n", "Line 2 of items.csv has 3 cells, its header 2"),
        (b"user_id,prompt\na,\xff\n", "items.csv is not UTF-8 text"),
        (b'user_id,prompt\na,"b\n', "Line 2 of items.csv is not CSV"),
    ],
)
def test_a_csv_file_that_cannot_be_read_is_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "items.csv").write_bytes(content)

    with pytest.raises(SourceError, match=message):
        Script([]).client().submit(tmp_path / "items.csv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (ITEM.encode("utf-16"), "is UTF-16 text: save it as UTF-8."),
        (ITEM.encode("utf-16-be"), "is UTF-16 text, or no text at all: save it as UTF-8."),
        (gzip.compress(ITEM.encode()), "is compressed (gzip): unpack it first"),
        (b"PK\x03\x04 and so on", "is a spreadsheet or another archive (ZIP)"),
    ],
)
@pytest.mark.parametrize("suffix", [".ndjson", ".csv"])
def test_what_is_no_text_is_told_by_what_it_is(tmp_path: Path, content: bytes, message: str, suffix: str) -> None:
    (tmp_path / f"items{suffix}").write_bytes(content)

    with pytest.raises(SourceError, match=re.escape(f"items{suffix} {message}")):
        sent(tmp_path / f"items{suffix}")


@pytest.mark.parametrize("form", ["items.ndjson", "items.csv"])
def test_a_pipe_with_a_name_is_read_as_a_file_is(tmp_path: Path, form: str) -> None:
    text = {"items.ndjson": f"{ITEM}\n", "items.csv": "custom_id,user_id,prompt\n1,ada,Hello\n"}[form]
    os.mkfifo(tmp_path / form)
    writer = threading.Thread(target=(tmp_path / form).write_text, args=(text,))
    writer.start()

    lines = sent(tmp_path / form)

    writer.join()
    assert lines == [json.loads(ITEM)]


def test_brackets_without_end_are_the_servers_to_refuse(client: Client) -> None:
    assert places(client, "[" * 100_000, strength=1) == [(1, None)]


def test_a_data_frame_is_a_table_of_items() -> None:
    frame = import_module("pandas").DataFrame(
        {"user_id": ["ada", 7], "prompt": ["Hi", "Ho"], "k": [5, None], "strength": [0.5, 1.0]}
    )

    assert sent(frame) == [
        {"custom_id": "1", "user_id": "ada", "prompt": "Hi", "k": 5, "strength": 0.5},
        {"custom_id": "2", "user_id": "7", "prompt": "Ho", "strength": 1},
    ]
