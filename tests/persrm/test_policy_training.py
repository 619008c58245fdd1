import json
import sys
from pathlib import Path
from typing import cast

import pytest
import torch
from datasets import Dataset
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM
from trl.trainer.dpo_trainer import DPOTrainer

from examples.demo.corpus import preference_pairs
from examples.demo.tokenizer import train_tokenizer
from worker.persrm import train
from worker.persrm.pairs import MalformedPairsError, PreferencePair
from worker.persrm.train import PolicySettings, PromptMismatchError, check_prompts, train_policy
from worker.prompts import Message, encode, with_principles

PAIRS = [
    PreferencePair(prompt=pair.prompt, principles=pair.principles, chosen=pair.chosen, rejected=pair.rejected)
    for pair in preference_pairs(seed=1, num_pairs=12)
]
SETTINGS = PolicySettings(rank=2, batch_size=4, held_out_share=0.2)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    tokenizer = train_tokenizer([pair.chosen for pair in PAIRS], vocab_size=400)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=2,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("policy")
    train_policy(base, PAIRS, folder, SETTINGS, base_name="some/base")
    return folder


def test_training_leaves_an_adapter_that_loads_and_changes_the_base(base: Path, adapter: Path) -> None:
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter)
    ids = torch.tensor([[5, 6, 7]])

    guided = model(ids).logits
    with model.disable_adapter():
        plain = model(ids).logits

    assert not torch.equal(guided, plain)


def test_the_adapter_records_the_given_name_of_its_base_and_has_a_card(adapter: Path) -> None:
    config = json.loads((adapter / "adapter_config.json").read_text())
    card = (adapter / "README.md").read_text()

    assert config["base_model_name_or_path"] == "some/base"
    assert "| training pairs | 10 |" in card
    assert "held-out pairs ranked correctly" in card


def test_the_trainer_sees_exactly_the_prompt_that_the_engine_sends(base: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    trainer = DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
        args=train.dpo_config(tmp_path, SETTINGS),
        train_dataset=train.as_dataset(tokenizer, PAIRS),
        processing_class=tokenizer,
        peft_config=train.lora_config(SETTINGS),
    )

    for pair, row in zip(PAIRS, cast("Dataset", trainer.train_dataset), strict=True):
        messages = with_principles([Message(role="user", content=pair.prompt)], pair.principles)
        assert tuple(row["prompt_ids"]) == encode(tokenizer, messages)
        assert tokenizer.decode(row["chosen_ids"]) == pair.chosen + tokenizer.eos_token
        assert tokenizer.decode(row["rejected_ids"]) == pair.rejected + tokenizer.eos_token


def test_a_prompt_that_training_would_render_differently_is_refused(base: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)

    with pytest.raises(PromptMismatchError):
        check_prompts(tokenizer, PAIRS[:1], [[1, 2, 3]])


def test_malformed_pairs_stop_the_command_before_the_base_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("{}\n[]\n")
    command = ["train", "--base", "no-such-base", "--pairs", str(pairs), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", command)

    with pytest.raises(MalformedPairsError, match="2 malformed lines"):
        train.main()
