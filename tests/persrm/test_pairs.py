import json
from pathlib import Path

import pytest

from worker.persrm.errors import TrainingError
from worker.persrm.pairs import MalformedPairsError, read_pairs

GOOD = {"prompt": "Write a tip.", "principles": ["formal"], "chosen": "Kindly wait.", "rejected": "Wait!"}


def write_lines(folder: Path, *lines: str) -> Path:
    path = folder / "pairs.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_well_formed_lines_are_read_in_order(tmp_path: Path) -> None:
    path = write_lines(tmp_path, json.dumps(GOOD), "", json.dumps(GOOD | {"chosen": "Please wait."}))

    pairs = read_pairs(path)

    assert [pair.chosen for pair in pairs] == ["Kindly wait.", "Please wait."]
    assert pairs[0].principles == ("formal",)


def test_the_byte_order_mark_and_line_ends_of_windows_are_no_part_of_a_pair(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD).encode() + b"\r\n")

    assert [pair.chosen for pair in read_pairs(path)] == ["Kindly wait."]


def test_pairs_in_another_encoding_are_said_to_be_that(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(GOOD), encoding="utf-16")

    with pytest.raises(TrainingError, match="is not text in UTF-8"):
        read_pairs(path)


def test_every_malformed_line_is_named_with_its_number_and_reason(tmp_path: Path) -> None:
    path = write_lines(
        tmp_path,
        json.dumps(GOOD),
        "{not json",
        json.dumps({key: value for key, value in GOOD.items() if key != "chosen"}),
        json.dumps(GOOD),
        json.dumps(GOOD | {"principles": []}),
        json.dumps(GOOD | {"rejected": GOOD["chosen"]}),
        json.dumps(GOOD | {"colour": "blue"}),
    )

    with pytest.raises(MalformedPairsError) as caught:
        read_pairs(path)

    assert [number for number, _ in caught.value.problems] == [2, 3, 5, 6, 7]
    assert "line 3: chosen: Field required" in str(caught.value)
    assert "line 6: Value error, chosen and rejected are the same text" in str(caught.value)


def test_a_file_without_pairs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MalformedPairsError, match="no pairs"):
        read_pairs(write_lines(tmp_path, ""))
