"""Trains a PersRM by DPO on preference-conditioned prompts, in the two stages of PAD (Chen et al., ICLR 2025).

Stage 1 is a LoRA adapter, the reference being the base without it; stage 2 a d x d value head, all else frozen. The
policy sees each prompt exactly as the engine will send it (`worker.texts.formats`, `worker.texts.prompts`); training
refuses to start otherwise.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import cast

import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
)
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from domain.preferences import Method
from worker.model.card import Card
from worker.persrm.card import Data, write_card
from worker.persrm.dataset import as_dataset, check_lengths, check_prompts, split
from worker.persrm.errors import BaseModelError, SettingError
from worker.persrm.pairs import PreferencePair
from worker.persrm.progress import Progress
from worker.persrm.resume import Workspace
from worker.persrm.value_head import attach_value_head, save_value_head
from worker.texts.formats import PAD, Format


@dataclass(frozen=True)
class PolicySettings:
    """LoRA size and DPO optimisation. `sft_weight` keeps the policy's text close to the chosen answers."""

    rank: int = 8
    beta: float = 0.1
    sft_weight: float = 0.1
    learning_rate: float = 1e-3
    batch_size: int = 32
    num_epochs: float = 1.0
    value_head_epochs: float = 0.0
    """Passes of stage 2 over the pairs; 0 leaves it out."""
    value_head_learning_rate: float = 1e-3
    held_out_share: float = 0.05
    max_length: int = 1024
    seed: int = 12
    checkpoint_every: int = 100
    """Steps between checkpoints."""
    format: Format = PAD
    """How the principles are shown, in training as in serving."""

    def __post_init__(self) -> None:
        """Raise SettingError for what no training can use."""
        for name in ("rank", "batch_size", "max_length", "checkpoint_every"):
            _check(name, getattr(self, name) >= 1, getattr(self, name), "at least 1")
        for name in ("beta", "learning_rate", "num_epochs", "value_head_learning_rate"):
            _check(name, 0 < getattr(self, name) < math.inf, getattr(self, name), "a number above 0")
        for name in ("sft_weight", "value_head_epochs"):
            _check(name, 0 <= getattr(self, name) < math.inf, getattr(self, name), "a number of at least 0")
        _check("held_out_share", 0 < self.held_out_share < 1, self.held_out_share, "between 0 and 1")


@dataclass(frozen=True)
class _Material:
    """What both stages train on."""

    base: str
    tokenizer: PreTrainedTokenizerBase
    training: list[PreferencePair]
    held_out: list[PreferencePair]
    settings: PolicySettings

    def model(self) -> PreTrainedModel:
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(self.base, dtype=torch.float32)
        return model


def train_policy(
    base: str | Path, pairs: Sequence[PreferencePair], out: Path, settings: PolicySettings, base_name: str
) -> float:
    """Write adapter, value head if asked for, and both cards to `out`; the share of held-out pairs ranked correctly.

    `base_name` is what `adapter_config.json` records as its base. Where a run of the same base, pairs and settings was
    interrupted, this one goes on from its newest checkpoint, to the same result. Raises a TrainingError before anything
    is trained.
    """
    tokenizer = _tokenizer(base)
    check_lengths(tokenizer, pairs, settings.max_length, settings.format)
    training, held_out = split(pairs, settings.held_out_share, settings.seed)
    workspace = Workspace(
        out, {"base": str(base), "pairs": [pair.model_dump() for pair in pairs], "settings": asdict(settings)}
    )
    material = _Material(str(base), tokenizer, training, held_out, settings)
    accuracies = {
        "stage 1, adapter": workspace.stage(
            "adapter", lambda work, checkpoint: _train_adapter(material, work, checkpoint, out, base_name)
        )
    }
    if settings.value_head_epochs:
        accuracies["stage 2, value head"] = workspace.stage(
            "value_head", lambda work, checkpoint: _train_value_head(material, work, checkpoint, out)
        )
    write_card(out, base_name, Data.of(training, held_out), _shown(settings), accuracies)
    Card(
        format=settings.format,
        method=Method.PAD,
        chosen={"by": "padserve train", "why": "the format that the policy was trained with"},
    ).write(out)
    workspace.close()
    return list(accuracies.values())[-1]


def _train_adapter(material: _Material, work: Path, checkpoint: str | None, out: Path, base_name: str) -> float:
    trainer = _trainer("adapter", material, dpo_config(work, material.settings), material.model(), adapter=True)
    check_prompts(
        material.tokenizer,
        material.training,
        cast("Dataset", trainer.train_dataset)["prompt_ids"],
        material.settings.format,
    )
    accuracy = _run(trainer, checkpoint)
    model = cast("PeftModel", trainer.model)
    for config in model.peft_config.values():
        config.base_model_name_or_path = base_name
    model.save_pretrained(str(out), save_embedding_layers=False)  # none is trained, and "auto" would ask a hub
    return accuracy


def _train_value_head(material: _Material, work: Path, checkpoint: str | None, out: Path) -> float:
    settings = material.settings
    policy: PreTrainedModel = PeftModel.from_pretrained(material.model(), out).merge_and_unload()
    attach_value_head(policy)
    args = dpo_config(
        work,
        replace(settings, learning_rate=settings.value_head_learning_rate, num_epochs=settings.value_head_epochs),
    )
    accuracy = _run(_trainer("value head", material, args, policy, reference=material.model()), checkpoint)
    save_value_head(policy, out)
    return accuracy


def _trainer(
    stage: str,
    material: _Material,
    args: DPOConfig,
    model: PreTrainedModel,
    *,
    adapter: bool = False,
    reference: PreTrainedModel | None = None,
) -> DPOTrainer:
    trainer = DPOTrainer(
        model=model,
        ref_model=reference,
        args=args,
        train_dataset=as_dataset(material.tokenizer, material.training, material.settings.format),
        eval_dataset=as_dataset(material.tokenizer, material.held_out, material.settings.format),
        processing_class=material.tokenizer,
        peft_config=lora_config(material.settings) if adapter else None,
        callbacks=[Progress(stage)],
    )
    trainer.remove_callback(PrinterCallback)  # which prints two dozen metrics as a dict
    return trainer


def _run(trainer: DPOTrainer, checkpoint: str | None) -> float:
    """The share of held-out pairs ranked correctly after training."""
    trainer.train(resume_from_checkpoint=checkpoint)
    return float(trainer.evaluate()["eval_rewards/accuracies"])


def lora_config(settings: PolicySettings) -> LoraConfig:
    """Every linear layer but the head."""
    return LoraConfig(r=settings.rank, lora_alpha=2 * settings.rank, target_modules="all-linear", task_type="CAUSAL_LM")


def dpo_config(work: Path, settings: PolicySettings) -> DPOConfig:
    """One run, with checkpoints."""
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
        bf16=torch.cuda.is_available(),  # most CPUs only emulate it, and are slower than in float32
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=False,
        save_strategy="steps",
        save_steps=settings.checkpoint_every,
        save_total_limit=2,
        logging_steps=20,
        report_to="none",
        disable_tqdm=True,
        seed=settings.seed,
    )


def _shown(settings: PolicySettings) -> dict[str, object]:
    return {**asdict(settings), "format": settings.format.name}


def _check(name: str, holds: bool, value: float, wanted: str) -> None:  # noqa: FBT001 (a condition)
    if not holds:
        raise SettingError(name=name, value=value, wanted=wanted)


def _tokenizer(base: str | Path) -> PreTrainedTokenizerBase:
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(base)
    except (OSError, ValueError) as error:
        cause = str(error).strip().partition("\n")[0].rstrip(".")
        raise BaseModelError(base=str(base), cause=cause) from error
    return tokenizer
