"""Texts are kept as they come: an interrupted evaluation goes on where it ended."""

from dataclasses import replace
from pathlib import Path

from evaluation.real.writing import Notebook, Written

WRITTEN = Written("key", "A text.", (1, 2), 2, 0.1, 0.5, 0.01)


def test_a_text_is_found_again_by_the_next_run(tmp_path: Path) -> None:
    path = tmp_path / "notes" / "texts.jsonl"
    Notebook(path).add([WRITTEN])

    assert Notebook(path).get("key") == WRITTEN
    assert Notebook(path).get("another") is None


def test_a_line_that_was_cut_off_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    Notebook(path).add([WRITTEN, replace(WRITTEN, key="second")])
    path.write_text(path.read_text()[:-9])

    notebook = Notebook(path)
    assert notebook.get("second") is None
    notebook.add([replace(WRITTEN, key="second")])

    assert Notebook(path).get("key") == WRITTEN
    assert Notebook(path).get("second") is not None


def test_a_text_with_a_line_separator_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    written = replace(WRITTEN, text="One.\u2028Two.\u0085Three.")
    Notebook(path).add([written])

    assert Notebook(path).get("key") == written
