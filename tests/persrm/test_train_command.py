"""`python -m worker.persrm`, which `padserve train` starts."""

import json
import re
from pathlib import Path

import pytest

from tests.persrm.models import PAIRS
from worker.model.card import CARD_NAME, read_card
from worker.persrm.__main__ import main
from worker.texts.formats import INSTRUCTION


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(f"{pair.model_dump_json()}\n" for pair in PAIRS))
    return path


def test_the_command_trains_and_says_how_to_serve(
    base: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "policy"

    options = [
        "--rank",
        "3",
        "--format",
        "instruction",
        "--batch-size",
        "4",
        "--epochs",
        "7",
        "--value-head-epochs",
        "1",
    ]
    code = main(["--base", str(base), "--pairs", str(pairs), "--out", str(out), *options])

    said, errors = capsys.readouterr()
    assert code == 0
    assert said.splitlines()[0] == "adapter: 21 steps"
    assert re.match(
        r"adapter: step 20 of 21, loss \d\.\d{3}, \d+% of its pairs ranked correctly, 0\.", said.splitlines()[1]
    )
    assert said.splitlines()[2] == "value head: 3 steps"
    assert re.fullmatch(rf"{out}: [\d.]+% of the held-out pairs are ranked correctly\.", said.splitlines()[3])
    assert said.splitlines()[4] == f"Serve it with PADSERVE_MODEL={base} PADSERVE_POLICY={out}."
    assert errors == ""
    assert json.loads((out / "adapter_config.json").read_text())["r"] == 3
    assert read_card(out / CARD_NAME).format == INSTRUCTION


def test_malformed_pairs_are_all_named_before_the_base_is_looked_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("{}\n[]\n")

    code = main(["--base", "no-such-base", "--pairs", str(pairs), "--out", str(tmp_path / "out")])

    errors = capsys.readouterr().err
    assert code == 1
    assert "has 2 malformed lines" in errors
    assert "line 1: prompt: Field required" in errors
    assert not (tmp_path / "out").exists()


def test_what_the_folder_holds_is_not_written_over_unless_that_is_said(
    base: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "policy"
    command = ["--base", str(base), "--pairs", str(pairs), "--out", str(out), "--batch-size", "4"]
    assert main(command) == 0
    finished = {path.name: path.read_bytes() for path in out.iterdir()}
    capsys.readouterr()

    again = main(command)
    unread = main(["--base", "no-such-base", "--pairs", "no-such-pairs", "--out", str(out)])

    refused = (
        f"{out} is not empty, and a training would write over what is there: choose another --out, or say --replace.\n"
    )
    assert (again, unread) == (1, 1)
    assert capsys.readouterr().err == refused * 2
    assert {path.name: path.read_bytes() for path in out.iterdir()} == finished
    assert main([*command, "--rank", "3", "--replace"]) == 0
    assert json.loads((out / "adapter_config.json").read_text())["r"] == 3


def test_a_pairs_file_that_is_none_is_named(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--base", str(base), "--pairs", str(tmp_path / "none.jsonl"), "--out", str(tmp_path / "out")])

    assert code == 1
    assert "none.jsonl cannot be read" in capsys.readouterr().err


def test_a_setting_that_cannot_be_is_named(base: Path, pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--base", str(base), "--pairs", str(pairs), "--out", "unused", "--rank", "0"])

    assert code == 1
    assert capsys.readouterr().err == "rank is 0, not at least 1.\n"
