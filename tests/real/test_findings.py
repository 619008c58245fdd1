"""What judges found is kept: an interrupted evaluation does not ask them again."""

from dataclasses import replace
from pathlib import Path

from evaluation.real.findings import Finding, Findings, key_of
from evaluation.real.lines import whole_lines
from tests.real.judged_texts import judged


def test_a_finding_is_known_to_the_next_run_and_the_last_one_of_a_text_counts(tmp_path: Path) -> None:
    path = tmp_path / "notes" / "findings.jsonl"
    text = judged("a", 0.0).text
    finding = Finding(key_of(text), {"sentiment": 0.5}, 0.7, 0.1, {})
    Findings(path).add([finding])
    Findings(path).add([replace(finding, surprises={"model": 2.0})])

    known = Findings(path).get(text)

    assert known == replace(finding, surprises={"model": 2.0})


def test_the_same_words_for_another_prompt_are_another_text() -> None:
    assert key_of(judged("a", 0.0).text) != key_of(judged("b", 0.0).text)


def test_a_line_that_was_cut_off_is_taken_out_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text('{"a": 1}\n{"b"', encoding="utf-8")

    assert whole_lines(path) == ['{"a": 1}']
    assert path.read_text(encoding="utf-8") == '{"a": 1}\n'
