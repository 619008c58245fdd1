"""The whole evaluation on tiny random models: every method, control, curve, plot and claim, in seconds."""

import json
import sys
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from evaluation import __main__ as program
from tests.tiny_model import a_tokenizer, write_tiny_model, write_tiny_policy

LINES: tuple[dict[str, object], ...] = (
    {"type": "about", "text": "Tiny random models, about which nothing is claimed."},
    {"type": "principle", "name": "short", "wordings": ["short", "brief"], "rule": {"max_words": 2}},
    {
        "type": "principle",
        "name": "long",
        "wordings": ["long"],
        "rule": {"min_words": 4},
        "examples": [{"prompt": "Tea?", "text": "A long text about tea."}],
    },
    {"type": "principle", "name": "odd", "wordings": ["odd"], "rule": {"contains_any": ["odd"]}, "seen": False},
    {
        "type": "principle",
        "name": "say",
        "wordings": ["say {value}"],
        "rule": {"contains_any": ["{value}"]},
        "values": ["tea", "rum"],
        "examples": [{"prompt": "Tea?", "text": "Some rum.", "value": "rum"}],
    },
    {"type": "combination", "principles": ["short", "odd"]},
    {"type": "combination", "principles": ["say", "odd"]},
    {"type": "opposites", "principles": ["short", "long"]},
    {"type": "prompt", "prompt": "Tea?", "topic": ["tea"]},
    {"type": "prompt", "prompt": "Chess?", "topic": ["chess"]},
    {"type": "prompt", "prompt": "Rain?", "split": "validation"},
)
PLOTS = ("methods", "strength", "price", "candidates", "confusion", "mixture-short-long")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("smoke")
    write_tiny_model(folder / "base", max_positions=1024)
    write_tiny_model(folder / "other", seed=7, max_positions=1024)
    write_tiny_policy(folder / "policy", folder / "base")
    write_tiny_policy(folder / "tuned", folder / "base", seed=3)
    write_judge(folder / "judge")
    suite = "\n".join(json.dumps(line) for line in LINES)
    (folder / "suite.jsonl").write_text(suite)
    pair = {"prompt": "Tea?", "principles": ["brief"], "chosen": "Tea.", "rejected": "Tea and some more of it."}
    (folder / "pairs.jsonl").write_text(json.dumps(pair) + "\n")
    return folder


def write_judge(folder: Path) -> None:
    torch.manual_seed(5)
    tokenizer = a_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        id2label=dict(enumerate(("odd", "short", "long"))),
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str) -> int:
    models = ["--base", str(folder / "base"), "--policy", str(folder / "policy")]
    monkeypatch.setattr(sys, "argv", ["eval", *models, "--suite", str(folder / "suite.jsonl"), *arguments])
    return program.main()


def test_one_command_leaves_report_plots_and_numbers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exit_code = run(
        monkeypatch,
        folder,
        *("--pairs", str(folder / "pairs.jsonl"), "--judge", str(folder / "judge")),
        *("--language-model", str(folder / "other"), "--other-base", f"other={folder / 'other'}"),
        *("--tuned", f"short={folder / 'tuned'}", "--out", str(folder / "report.md")),
        *("--seeds", "2", "--prompts", "2", "--max-tokens", "6"),
    )

    report = (folder / "report.md").read_text()
    numbers = json.loads((folder / "report" / "numbers.json").read_text())
    assert exit_code == 0
    for plot in PLOTS:
        assert (folder / "report" / f"{plot}.png").read_bytes().startswith(b"\x89PNG")
        assert f"(report/{plot}.png)" in report
    assert "Tiny random models, about which nothing is claimed." in report
    assert [summary["method"] for summary in numbers["summaries"]][:3] == ["unguided", "prompt only", "guided"]
    assert f"best of {numbers['num_samples']} samples" in report  # as many as take as long as guiding did
    assert numbers["strength_zero"]["num_equal"] == numbers["strength_zero"]["num_texts"] > 0
    assert numbers["summaries"][0]["kl"]["mean"] == pytest.approx(0.0, abs=1e-5)
    assert [row["asked"] for row in numbers["rankings"]] == ["short"]
    assert len(numbers["claims"]) == 11
    assert str(folder) not in report


def test_malformed_suite_lines_are_all_named_before_any_model_is_loaded(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"type": "prompt"}\n[]\n')

    exit_code = run(monkeypatch, tmp_path, "--suite", str(bad))

    assert exit_code == 1
    errors = capsys.readouterr().err
    assert "line 1: prompt.prompt: Field required" in errors
    assert "line 2:" in errors
