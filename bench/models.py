"""Models of realistic shapes with random weights: how fast a model decodes does not depend on their values."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

RANK = 16
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """An architecture and its sizes."""

    name: str
    num_layers: int
    width: int
    inner_width: int
    num_heads: int
    num_key_heads: int
    vocab_size: int
    is_tied: bool = True
    is_qwen: bool = False

    def build(self, dtype: torch.dtype, device: str) -> PreTrainedModel:
        """The model, initialised as before a training; the seed is fixed."""
        sizes: dict[str, Any] = {
            "num_hidden_layers": self.num_layers,
            "hidden_size": self.width,
            "intermediate_size": self.inner_width,
            "num_attention_heads": self.num_heads,
            "num_key_value_heads": self.num_key_heads,
            "vocab_size": self.vocab_size,
            "tie_word_embeddings": self.is_tied,
            "max_position_embeddings": 8192,
            "bos_token_id": None,
            "eos_token_id": None,
            "pad_token_id": 0,
        }
        torch.manual_seed(0)
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)  # so that nothing exists in a larger dtype first
        with torch.device(device):
            model: PreTrainedModel
            model = Qwen2ForCausalLM(Qwen2Config(**sizes)) if self.is_qwen else LlamaForCausalLM(LlamaConfig(**sizes))
        torch.set_default_dtype(before)
        model.requires_grad_(requires_grad=False)
        model.train(mode=False)
        return model


SHAPES = {
    shape.name: shape
    for shape in (
        Shape(
            name="30M",
            num_layers=8,
            width=448,
            inner_width=1216,
            num_heads=7,
            num_key_heads=7,
            vocab_size=32_000,
        ),
        Shape(
            name="100M",
            num_layers=12,
            width=768,
            inner_width=2048,
            num_heads=12,
            num_key_heads=4,
            vocab_size=32_000,
        ),
        Shape(  # Qwen2.5-0.5B
            name="0.5B",
            num_layers=24,
            width=896,
            inner_width=4864,
            num_heads=14,
            num_key_heads=2,
            vocab_size=151_936,
            is_qwen=True,
        ),
        Shape(  # Llama-3-8B
            name="8B",
            num_layers=32,
            width=4096,
            inner_width=14_336,
            num_heads=32,
            num_key_heads=8,
            vocab_size=128_256,
            is_tied=False,
        ),
    )
}


def add_adapter(model: PreTrainedModel, targets: list[str] | None = None) -> PeftModel:
    """A LoRA adapter of rank 16 on the model, in place, whose update is not zero, as after training."""
    config = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=targets or TARGETS, task_type="CAUSAL_LM")
    torch.manual_seed(1)
    adapted = get_peft_model(model, config)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.02)
    return adapted.requires_grad_(requires_grad=False)


def add_adapter_to(base: str, folder: str) -> str:
    """Save such an adapter for a model that exists: the folder."""
    add_adapter(AutoModelForCausalLM.from_pretrained(base)).save_pretrained(folder, save_embedding_layers=False)
    return folder


@dataclass(frozen=True)
class Saved:
    """Directories of one shape: the base, the policy as an adapter, and the policy as a full model."""

    base: str
    policy: str
    merged: str


def save(shape: Shape, folder: Path) -> Saved:
    """Write a shape's models in float32, unless an earlier run has."""
    saved = Saved(str(folder / "base"), str(folder / "policy"), str(folder / "merged"))
    if (folder / "complete").exists():
        return saved
    model = shape.build(torch.float32, "cpu")
    model.save_pretrained(saved.base)
    adapted = add_adapter(model)
    adapted.save_pretrained(saved.policy, save_embedding_layers=False)
    adapted.merge_and_unload().save_pretrained(saved.merged)
    (folder / "complete").touch()
    return saved
