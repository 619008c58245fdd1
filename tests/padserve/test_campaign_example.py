"""examples/campaign_csv.py as it stands: five hundred people with awkward names, from CSV to CSV."""

import csv
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import func, select

from db.models import Job
from examples import campaign_csv
from tests.padserve.running_api import Server

NUM_PEOPLE = 500
NAMES = (
    *(
        "Ada",
        "Zoë",
        "Žižek",
        "李小龙",
        "محمد",
        "Łukasz",
        "Nguyễn",
        "👩\u200d🔬",
        "O'Neil",
        'Anne "Annie"',
        "Smith, Jr.",
    ),
    *("=HYPERLINK(1)", "+49 171", "-5", "@home", "two\nlines", "a;b", "{first_name}", "{{x}}", "'quoted", " padded "),
    *("", "x" * 100, "e\u0301", "Å", "null", "NaN", "0", "true", "a|b", "\\back\\slash", "<b>bold</b>", "100 %"),
)


def write_people(path: Path) -> dict[str, str]:
    """A table as a spreadsheet saves it; the names by customer."""
    chosen = random.Random(7)
    people = {f"{chosen.choice(['kü', '=k', 'k'])}-{number}": chosen.choice(NAMES) for number in range(NUM_PEOPLE)}
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(["customer", "first_name", "city", "likes", "segment", "remarks"])
        for user_id, name in people.items():
            likes = chosen.choice(["humor; short = 0,5", "", "formal"])
            writer.writerow([user_id, name, chosen.choice(["", "Köln"]), likes, "spring; vip", "=not ours"])
    return people


@contextmanager
def a_worker(server: Server) -> Iterator[None]:
    """Writes every text of the job once it is there."""

    def work() -> None:
        until = time.monotonic() + 40
        while time.monotonic() < until:
            with server.database.reading() as session:
                num_queued = session.scalars(select(func.coalesce(func.sum(Job.num_queued), 0))).one()
            if num_queued:
                server.decode(num_queued)
                return
            time.sleep(0.05)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def test_five_hundred_people_go_from_a_table_to_a_table(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    people, texts = tmp_path / "spring people.csv", tmp_path / "texts.csv"
    names = write_people(people)

    with a_worker(server):
        ended = campaign_csv.main(people, texts, server.url, server.api_key)

    said = capsys.readouterr().out
    with texts.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file, strict=True))
    assert ended == 0
    assert "500 profiles are new" in said
    assert f"500 of 500 texts are in {texts}" in said
    assert [unguarded(row["user_id"]) for row in rows] == list(names)
    for row in rows:
        name = names[unguarded(row["user_id"])]
        shown = name if name.strip() else "a friend of the house"
        assert f"for {shown} in " in row["prompt"]
        assert row["text"] == row["prompt"].upper()
        assert unguarded(row["attributes.first_name"]) == (name if name.strip() else "")
        assert not any(cell.startswith(("=", "@")) for cell in row.values())
    held_out = sum(row["holdout"] == "true" for row in rows)
    assert 20 < held_out < 90
    assert f"; {held_out} users got the unguided one." in said


def test_a_table_with_a_wrong_row_stores_nobody_and_names_the_line(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    people = tmp_path / "people.csv"
    people.write_text("customer,first_name\nada,Ada\nbob,Bob,extra\n")

    assert campaign_csv.main(people, tmp_path / "texts.csv", server.url, server.api_key) == 1
    assert "line 3: The row has 3 cells, and the header 2." in capsys.readouterr().err


def unguarded(text: str) -> str:
    return text[1:] if text.startswith("'") and text[1:].lstrip("'").lstrip()[:1] in set("=+-@") else text


def test_without_its_two_files_the_example_says_how_it_is_run() -> None:
    command = [sys.executable, campaign_csv.__file__, "people.csv"]

    ended = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (ended.returncode, ended.stderr) == (1, "Usage: python examples/campaign_csv.py people.csv texts.csv\n")
