import json
import re
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch
from datasets import Dataset
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase
from trl.trainer.dpo_trainer import DPOTrainer

from tests.persrm.models import PAIRS, SETTINGS
from worker.engine import Completion, Request, Score, ScoreRequest, Stream, load_engine
from worker.persrm import train
from worker.persrm.dataset import as_dataset, check_prompts, conversation, split
from worker.persrm.errors import BaseModelError, PairsTooLongError, PromptMismatchError, SettingError, TooFewPairsError
from worker.persrm.pairs import PreferencePair
from worker.persrm.train import PolicySettings, train_policy
from worker.texts.formats import PAD
from worker.texts.prompts import encode

TWO_STAGES = replace(SETTINGS, value_head_epochs=2, value_head_learning_rate=1e-2)


@pytest.fixture(scope="module")
def policy(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained in both stages."""
    folder = tmp_path_factory.mktemp("policy")
    train_policy(base, PAIRS, folder, TWO_STAGES, base_name="some/base")
    return folder


@pytest.fixture(scope="module")
def tokenizer(base: Path) -> PreTrainedTokenizerBase:
    found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(base)
    return found


def test_training_leaves_an_adapter_that_loads_and_changes_the_base(base: Path, policy: Path) -> None:
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), policy)
    ids = torch.tensor([[5, 6, 7]])

    guided = model(ids).logits
    with model.disable_adapter():
        plain = model(ids).logits

    assert not torch.equal(guided, plain)


def test_the_second_stage_moves_the_value_head_away_from_the_identity_and_nothing_else(
    base: Path, policy: Path, tmp_path: Path
) -> None:
    train_policy(base, PAIRS, tmp_path, SETTINGS, base_name="some/base")

    value_head = load_file(policy / "value_head.safetensors")
    adapters = [load_file(folder / "adapter_model.safetensors") for folder in (tmp_path, policy)]

    assert {name: tuple(tensor.shape) for name, tensor in value_head.items()} == {
        "v_head.summary.weight": (32, 32),
        "v_head.summary.bias": (32,),
    }
    moved = (value_head["v_head.summary.weight"] - torch.eye(32)).abs().max()
    assert 1e-3 < moved < 0.5
    assert not (tmp_path / "value_head.safetensors").exists()
    assert adapters[0].keys() == adapters[1].keys()
    assert all(torch.equal(adapters[0][name], adapters[1][name]) for name in adapters[0])


def test_the_engine_decodes_and_scores_with_what_was_trained(base: Path, policy: Path, tmp_path: Path) -> None:
    train_policy(base, PAIRS, tmp_path, SETTINGS, base_name="some/base")
    text = ScoreRequest(request_id=0, weights="policy", prompt_ids=(5, 6, 7), completion_ids=(8, 9, 10))
    streams = (Stream("base", (5, 6, 7), reward=-1.0), Stream("policy", (5, 6, 7), reward=1.0))

    engines = [load_engine(str(base), str(folder), device="cpu", num_slots=2) for folder in (tmp_path, policy)]
    (one_stage,), (two_stages,) = (engine.score([text]) for engine in engines)
    (completion,) = engines[1].generate([Request(1, streams, strength=1.0, max_tokens=4)])

    assert isinstance(one_stage, Score)
    assert isinstance(two_stages, Score)
    assert one_stage.log_probabilities != two_stages.log_probabilities
    assert isinstance(completion, Completion)


def test_the_adapter_records_the_given_name_of_its_base_and_has_both_cards(policy: Path) -> None:
    config = json.loads((policy / "adapter_config.json").read_text())
    card = (policy / "README.md").read_text()

    assert config["base_model_name_or_path"] == "some/base"
    assert "| training pairs | 10 |" in card
    assert "| held-out pairs ranked correctly, stage 1, adapter |" in card
    assert "| held-out pairs ranked correctly, stage 2, value head |" in card
    assert "| seed | 12 |" in card
    assert "transformers 5" in card
    assert {path.name for path in policy.iterdir()} == {
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "padserve.json",
        "value_head.safetensors",
    }


def test_the_trainer_sees_exactly_the_prompt_that_the_engine_sends(
    base: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    trainer = DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
        args=train.dpo_config(tmp_path, SETTINGS),
        train_dataset=as_dataset(tokenizer, PAIRS, PAD),
        processing_class=tokenizer,
        peft_config=train.lora_config(SETTINGS),
    )

    for pair, row in zip(PAIRS, cast("Dataset", trainer.train_dataset), strict=True):
        assert tuple(row["prompt_ids"]) == encode(tokenizer, conversation(pair, PAD))
        assert tokenizer.decode(row["chosen_ids"]) == f"{pair.chosen}{tokenizer.eos_token}"
        assert tokenizer.decode(row["rejected_ids"]) == f"{pair.rejected}{tokenizer.eos_token}"


def test_a_prompt_that_training_would_render_differently_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(PromptMismatchError, match="renders this prompt differently"):
        check_prompts(tokenizer, PAIRS[:1], [[1, 2, 3]], PAD)


def test_pairs_that_would_be_cut_off_are_all_named_before_anything_is_trained(base: Path, tmp_path: Path) -> None:
    long = PreferencePair(prompt="Write.", principles=("formal",), chosen="word " * 500, rejected="no")

    with pytest.raises(PairsTooLongError) as refused:
        train_policy(base, [PAIRS[0], long, PAIRS[1], long], tmp_path, replace(SETTINGS, max_length=600), "base")

    assert re.findall(r"pair \d+", str(refused.value)) == ["pair 2", "pair 4"]
    assert list(tmp_path.iterdir()) == []


def test_a_base_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(BaseModelError, match="no-such-base"):
        train_policy(tmp_path / "no-such-base", PAIRS, tmp_path / "out", SETTINGS, "base")


def test_a_split_takes_no_pair_twice_and_is_the_same_for_the_same_seed() -> None:
    training, held_out = split(PAIRS, 0.25, seed=3)

    assert (len(training), len(held_out)) == (9, 3)
    assert sorted(map(repr, training + held_out)) == sorted(map(repr, PAIRS))
    assert split(PAIRS, 0.25, seed=3) == (training, held_out)
    assert split(PAIRS, 0.25, seed=4) != (training, held_out)


def test_a_split_leaves_something_on_both_sides() -> None:
    assert [len(side) for side in split(PAIRS[:2], 0.01, seed=0)] == [1, 1]
    assert [len(side) for side in split(PAIRS[:2], 0.99, seed=0)] == [1, 1]
    with pytest.raises(TooFewPairsError, match="1 pairs are too few"):
        split(PAIRS[:1], 0.5, seed=0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rank", 0),
        ("batch_size", 0),
        ("beta", 0.0),
        ("learning_rate", float("nan")),
        ("num_epochs", -1.0),
        ("value_head_epochs", -1.0),
        ("held_out_share", 1.0),
        ("max_length", 0),
    ],
)
def test_settings_that_no_training_can_use_are_refused(name: str, value: float) -> None:
    with pytest.raises(SettingError, match=f"{name} is {value}, not"):
        PolicySettings(**{name: value})  # type: ignore[arg-type]  # one of each type
