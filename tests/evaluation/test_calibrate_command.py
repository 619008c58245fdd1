"""`padserve calibrate` on tiny random models: one command leaves card, report and plot; the worker finds the card."""

import json
from pathlib import Path

import pytest

from evaluation.calibration import __main__ as program
from evaluation.calibration import settings
from tests.tiny_model import a_tokenizer, write_tiny_model, write_tiny_policy
from worker.model.card import find_card

FEW = ("--max-tokens", "8", "--device", "cpu")


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_tiny_model(tmp_path / "model")
    (tmp_path / "prompts.txt").write_text("Tea?\n\nChess?\n")
    (tmp_path / "principles.txt").write_text("odd\nbrief\n")
    monkeypatch.setattr(settings.grid, "__defaults__", ((1.0,), (0.2,)))
    return tmp_path / "model"


def run(model: Path, *arguments: str) -> int:
    folder = model.parent
    files = ("--prompts", str(folder / "prompts.txt"), "--principles", str(folder / "principles.txt"))
    return program.main(["--base", str(model), *files, *FEW, *arguments])


def test_one_command_leaves_card_report_and_plot(model: Path) -> None:
    assert run(model) == 0

    card = find_card(str(model))
    assert card is not None
    report = (model / "calibration.md").read_text()
    assert card.chosen["by"] == "padserve calibrate"
    assert {trial["setting"] for trial in json.loads((model / "padserve.json").read_text())["chosen"]["trials"]} == {
        "prompt, system",
        "prompt, instruction",
        "contrast, system, strength 1",
        "contrast, instruction, strength 1",
        "contrast, system, strength 4, max_kl 0.2",
        "contrast, instruction, strength 4, max_kl 0.2",
    }
    assert str(card.chosen["reason"]) in report
    assert (model / "calibration.png").stat().st_size > 0


def test_the_card_of_a_policy_lies_beside_it_and_keeps_its_format(model: Path) -> None:
    policy = model.parent / "policy"
    write_tiny_policy(policy, model)

    assert run(model, "--policy", str(policy)) == 0

    card = find_card(str(model), str(policy))
    assert card is not None
    assert card.format.name == "pad"
    assert "| pad, pad, strength 1 |" in (policy / "calibration.md").read_text()
    assert not (model / "padserve.json").exists()


def test_a_suite_brings_its_prompts_and_rules(model: Path) -> None:
    lines = (
        {"type": "principle", "name": "short", "wordings": ["short"], "rule": {"max_words": 2}},
        {"type": "principle", "name": "say", "wordings": ["say {value}"], "rule": {"contains_any": ["{value}"]}}
        | {"values": ["tea"]},
        {"type": "prompt", "prompt": "Rain?", "split": "validation"},
        {"type": "prompt", "prompt": "Tea?"},
    )
    suite = model.parent / "suite.jsonl"
    suite.write_text("\n".join(map(json.dumps, lines)))

    assert run(model, "--suite", str(suite)) == 0

    card = find_card(str(model))
    assert card is not None
    assert card.chosen["principles"] == ["short", "say tea"]


def test_a_model_that_is_no_folder_needs_a_place_for_its_card(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["--base", "no/such-model"]) == 1
    assert "say with --out where the card goes" in capsys.readouterr().err


def test_a_single_principle_is_held_against_the_built_in_ones(model: Path) -> None:
    (model.parent / "principles.txt").write_text("very formal\nvery formal\n")

    assert run(model, "--format", "instruction") == 0

    card = find_card(str(model))
    assert card is not None
    assert card.chosen["principles"] == ["very formal"]


@pytest.mark.parametrize("content", [b"", b" \n\n", "caf\xe9".encode("latin-1")])
def test_a_file_without_a_line_to_try_is_refused(
    model: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (model.parent / "prompts.txt").write_bytes(content)

    assert run(model) == 1
    assert "prompts.txt holds no line to try" in capsys.readouterr().err


def test_a_folder_that_takes_no_card_is_refused_before_anything_is_tried(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(model, "--out", "/proc/self") == 1

    assert "'/proc/self' is no folder here that can be written to" in capsys.readouterr().err


@pytest.mark.parametrize(
    "template", [None, "{% for m in messages if m['role'] != 'system' %}{{ m['content'] }}{% endfor %}"]
)
def test_a_format_that_the_worker_would_refuse_is_not_tried(model: Path, template: str | None) -> None:
    (model / "chat_template.jinja").unlink()
    a_tokenizer(chat_template=template).save_pretrained(model)

    assert run(model) == 0

    assert "| prompt, instruction |" in (model / "calibration.md").read_text()
    assert "system" not in (model / "calibration.md").read_text()
