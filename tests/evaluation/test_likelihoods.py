"""The log-odds of a principle: one function for calibration and for best of n, against plain forward passes."""

import math
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from evaluation.calibration.material import Material, Wish
from evaluation.calibration.trying import NUM_RIVALS, Reader, Trying
from evaluation.calibration.trying import Written as Tried
from evaluation.likelihoods import Question, log_likelihoods, log_odds
from evaluation.real.arms import prompted
from evaluation.real.suite import Asked, read_suite
from evaluation.real.writing import Notebook, Studio, Text, Written
from evaluation.suite import Split
from evaluation.writing import NotWrittenError
from tests.tiny_model import write_tiny_model
from worker.engine import Completion, FinishReason, load_engine

TOLD, RIVALS, TEXT = (5, 6, 7), ((5, 6), (8, 9, 10), (11,)), (1, 2, 3)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "base"
    write_tiny_model(folder, max_positions=1024)
    return folder


@torch.inference_mode()
def likelihood(model: Path, prompt: tuple[int, ...], text: tuple[int, ...]) -> float:
    """By one plain forward pass."""
    plain = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    logits = plain(torch.tensor([[*prompt, *text]])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    return float(logits.gather(1, torch.tensor(text)[:, None]).sum())


def test_a_text_is_held_against_the_mean_of_its_rivals(model: Path) -> None:
    engine = load_engine(str(model), device="cpu", dtype="float32")

    several, one = log_odds(engine, [Question(TEXT, TOLD, RIVALS), Question(TEXT, TOLD, RIVALS[:1])])

    own, *others = (likelihood(model, prompt, TEXT) for prompt in (TOLD, *RIVALS))
    mean = sum(math.exp(other) for other in others) / len(others)
    assert several == pytest.approx(own - math.log(mean), abs=1e-4)
    assert one == pytest.approx(own - others[0], abs=1e-4)


def test_what_cannot_be_read_is_said(model: Path) -> None:
    engine = load_engine(str(model), device="cpu", dtype="float32")

    with pytest.raises(NotWrittenError):
        log_likelihoods(engine, [(TOLD, (10_000,))])


def test_best_of_n_holds_a_text_against_the_prompt_that_tells_of_nothing(model: Path, tmp_path: Path) -> None:
    studio = Studio(model, None, Notebook(tmp_path / "texts.jsonl"), max_tokens=4)
    [asked] = read_suite().draw(Split.TEST, 1, 1)
    text = Text(prompted("instruction"), asked, Written("key", "", TEXT, 3, None, None, 0.0))

    [odds] = studio.log_odds([text])

    told, plain = told_and_plain(studio, asked)
    assert odds == pytest.approx(likelihood(model, told, TEXT) - likelihood(model, plain, TEXT), abs=1e-4)


def told_and_plain(studio: Studio, asked: Asked) -> tuple[tuple[int, ...], tuple[int, ...]]:
    told = f"{asked.prompt.prompt}\n\nStyle: {asked.wording}."
    first, second = (studio.encode([{"role": "user", "content": content}]) for content in (told, asked.prompt.prompt))
    return first, second


def test_calibration_holds_a_text_against_other_principles_in_the_same_words(model: Path) -> None:
    reader = Reader.load(str(model), device="cpu", dtype="float32")
    material = Material(("Tea?",), tuple(map(Wish, ("formal", "playful", "short", "odd", "sad"))))
    completion = Completion(0, (), FinishReason.LENGTH, 1, 1, None, None, None)
    written = Tried(0, 0, "Yes.", completion)

    odds, _ = Trying(reader, material, max_tokens=4)._log_odds([written])  # noqa: SLF001 (its part of a trial)

    prompts = [
        reader.prompt([{"role": "user", "content": f"Tea?\n\nStyle: {principle}."}])
        for principle in ("formal", *material.rivals(0, NUM_RIVALS))
    ]
    own, *others = (likelihood(model, prompt, reader.ids("Yes.")) for prompt in prompts)
    assert len(others) == NUM_RIVALS
    assert odds == pytest.approx(own - math.log(sum(map(math.exp, others)) / len(others)), abs=1e-3)
