"""Trains a PersRM: a LoRA adapter by DPO on preference-conditioned prompts, the reference being the base without it.

The adapter sees each prompt exactly as the engine will send it (`worker.prompts`); training refuses to start otherwise.
"""

import argparse
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from worker.persrm.card import write_card
from worker.persrm.pairs import PreferencePair, read_pairs
from worker.prompts import Message, encode, with_principles


class PromptMismatchError(ValueError):
    """The trainer tokenizes a prompt differently from the engine: the adapter would never meet what it learnt from."""


@dataclass(frozen=True)
class PolicySettings:
    """LoRA size and DPO optimisation. `sft_weight` keeps the policy's text close to the chosen answers."""

    rank: int = 8
    beta: float = 0.1
    sft_weight: float = 0.1
    learning_rate: float = 1e-3
    batch_size: int = 32
    num_epochs: float = 1.0
    held_out_share: float = 0.05
    max_length: int = 1024
    seed: int = 12


def train_policy(base: Path, pairs: list[PreferencePair], out: Path, settings: PolicySettings, base_name: str) -> float:
    """Writes adapter and model card to `out`; returns the share of held-out pairs that the adapter ranks correctly.

    `base_name` is what `adapter_config.json` records as its base.
    """
    tokenizer = AutoTokenizer.from_pretrained(base)
    num_held_out = max(1, round(len(pairs) * settings.held_out_share))
    with TemporaryDirectory() as work:
        trainer = DPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
            args=dpo_config(Path(work), settings),
            train_dataset=as_dataset(tokenizer, pairs[num_held_out:]),
            eval_dataset=as_dataset(tokenizer, pairs[:num_held_out]),
            processing_class=tokenizer,
            peft_config=lora_config(settings),
        )
        check_prompts(tokenizer, pairs[num_held_out:], cast("Dataset", trainer.train_dataset)["prompt_ids"])
        trainer.train()
        accuracy = float(trainer.evaluate()["eval_rewards/accuracies"])
        _save(cast("PeftModel", trainer.model), out, base_name)
    data = {"training pairs": len(pairs) - num_held_out, "held-out pairs": num_held_out}
    write_card(out, base_name, data | asdict(settings), {"held-out pairs ranked correctly": f"{accuracy:.1%}"})
    return accuracy


def as_dataset(tokenizer: PreTrainedTokenizerBase, pairs: list[PreferencePair]) -> Dataset:
    """The pairs in TRL's format: conversations, or plain text where the tokenizer has no chat template."""
    conversational = tokenizer.chat_template is not None
    rows = []
    for pair in pairs:
        prompt = _conversation(pair)
        rows.append(
            {
                "prompt": prompt if conversational else prompt[0]["content"],
                "chosen": [Message(role="assistant", content=pair.chosen)] if conversational else pair.chosen,
                "rejected": [Message(role="assistant", content=pair.rejected)] if conversational else pair.rejected,
            }
        )
    return Dataset.from_list(rows)


def check_prompts(
    tokenizer: PreTrainedTokenizerBase, pairs: list[PreferencePair], prompt_ids: Iterable[list[int]]
) -> None:
    """Raises PromptMismatchError unless the trainer's prompts are the engine's, id by id."""
    for pair, ids in zip(pairs, prompt_ids, strict=True):
        if tuple(ids) != encode(tokenizer, _conversation(pair)):
            raise PromptMismatchError(f"the chat template renders this prompt differently in training: {pair.prompt!r}")


def _conversation(pair: PreferencePair) -> list[Message]:
    return with_principles([Message(role="user", content=pair.prompt)], pair.principles)


def lora_config(settings: PolicySettings) -> LoraConfig:
    """Every linear layer but the head."""
    return LoraConfig(r=settings.rank, lora_alpha=2 * settings.rank, target_modules="all-linear", task_type="CAUSAL_LM")


def dpo_config(work: Path, settings: PolicySettings) -> DPOConfig:
    """One run without checkpoints; the trainer prints progress and time left."""
    return DPOConfig(
        output_dir=str(work),
        beta=settings.beta,
        loss_type=["sigmoid", "sft"],
        loss_weights=[1.0, settings.sft_weight],
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=0.05,
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=settings.batch_size,
        num_train_epochs=settings.num_epochs,
        max_length=settings.max_length,
        activation_checkpointing=False,
        bf16=True,
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=False,
        save_strategy="no",
        logging_steps=20,
        report_to="none",
        seed=settings.seed,
    )


def _save(model: PeftModel, out: Path, base_name: str) -> None:
    for config in model.peft_config.values():
        config.base_model_name_or_path = base_name
    model.save_pretrained(str(out), save_embedding_layers=False)  # none is trained, and "auto" would ask a hub


def main() -> None:
    """Command line: `python -m worker.persrm.train --base MODEL --pairs pairs.jsonl --out ADAPTER`."""
    defaults = PolicySettings()
    parser = argparse.ArgumentParser(prog="python -m worker.persrm.train", description="Train a PersRM adapter by DPO.")
    parser.add_argument("--base", type=Path, required=True, help="folder of the base model")
    parser.add_argument("--pairs", type=Path, required=True, help="JSON lines: prompt, principles, chosen, rejected")
    parser.add_argument("--out", type=Path, required=True, help="folder for the adapter")
    parser.add_argument("--rank", type=int, default=defaults.rank, help="LoRA rank")
    parser.add_argument("--beta", type=float, default=defaults.beta, help="DPO's beta")
    parser.add_argument("--learning-rate", type=float, default=defaults.learning_rate)
    parser.add_argument("--batch-size", type=int, default=defaults.batch_size)
    parser.add_argument("--epochs", type=float, default=defaults.num_epochs)
    parser.add_argument("--seed", type=int, default=defaults.seed)
    options = parser.parse_args()
    settings = PolicySettings(
        rank=options.rank,
        beta=options.beta,
        learning_rate=options.learning_rate,
        batch_size=options.batch_size,
        num_epochs=options.epochs,
        seed=options.seed,
    )
    train_policy(options.base, read_pairs(options.pairs), options.out, settings, base_name=str(options.base))


if __name__ == "__main__":
    main()
