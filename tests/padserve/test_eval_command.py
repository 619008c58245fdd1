"""`padserve eval` as people type it: it hands its command line to the evaluation, and ends as that ends."""

from pathlib import Path

import pytest

from padserve.cli.app import app


def run(*arguments: str) -> object:
    with pytest.raises(SystemExit) as ended:
        app(arguments, prog_name="padserve")
    return ended.value.code


def test_what_is_wrong_with_a_suite_is_shown_and_the_command_fails(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "suite.jsonl").write_text('{"type": "prompt"}\n')

    exit_code = run("eval", "--base", "none", "--policy", "none", "--suite", str(tmp_path / "suite.jsonl"))

    assert exit_code == 1
    assert "line 1: prompt.prompt: Field required" in capfd.readouterr().err


def test_help_is_that_of_the_evaluation(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("eval", "--help") == 0
    assert "--language-model" in capfd.readouterr().out


def test_a_report_that_cannot_be_written_is_refused_before_anything_is_measured(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    prompts = '{"type": "prompt", "prompt": "Tea.", "split": "test"}\n'
    principle = '{"type": "principle", "name": "brief", "wordings": ["keep it brief"], "rule": {"max_words": 20}}\n'
    (tmp_path / "suite.jsonl").write_text(prompts + prompts.replace("test", "validation") + principle)
    (tmp_path / "report.md").mkdir()
    command = ("eval", "--base", "none", "--policy", "none", "--suite", str(tmp_path / "suite.jsonl"))

    assert run(*command, "--out", str(tmp_path / "report.md")) == 1
    assert capfd.readouterr().err == f"Cannot write {tmp_path / 'report.md'}: it is a folder.\n"
    assert run(*command, "--out", str(tmp_path / "suite.jsonl" / "report.md")) == 1
    assert "suite.jsonl/report.md: File exists.\n" in capfd.readouterr().err
