"""Tiny random models on disk. Their weights are large, so that the most likely token is not always the same."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)

VOCAB_SIZE = 97
EOS = 96
MAX_LENGTH = 256


def llama(seed: int, **changes: Any) -> PreTrainedModel:  # noqa: ANN401 (whatever a configuration takes)
    torch.manual_seed(seed)
    config = {
        "vocab_size": VOCAB_SIZE,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": MAX_LENGTH,
        "initializer_range": 0.3,
        "bos_token_id": None,
        "eos_token_id": EOS,
        "pad_token_id": None,
    }
    return LlamaForCausalLM(LlamaConfig(**(config | changes)))


def gpt2(seed: int, **changes: Any) -> PreTrainedModel:  # noqa: ANN401 (as above)
    torch.manual_seed(seed)
    config = {
        "vocab_size": VOCAB_SIZE,
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": MAX_LENGTH,
        "initializer_range": 0.3,
        "bos_token_id": None,
        "eos_token_id": EOS,
    }
    return GPT2LMHeadModel(GPT2Config(**(config | changes)))


def save(model: PreTrainedModel, path: Path) -> str:
    model.save_pretrained(path)
    return str(path)


def read(path: str) -> PreTrainedModel:
    """As whoever does not know the engine would."""
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(path)
    return model


@contextmanager
def peft_on_newer_transformers() -> Iterator[None]:
    """PEFT reads an attribute that transformers has renamed."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield


def save_adapter(model: PreTrainedModel, path: Path, seed: int, **changes: Any) -> str:  # noqa: ANN401 (as above)
    """A LoRA adapter on the model whose B is not zero, as after training."""
    torch.manual_seed(seed)
    is_gpt2 = isinstance(model, GPT2LMHeadModel)
    config: dict[str, Any] = {
        "r": 4,
        "lora_alpha": 8,
        "target_modules": ["c_attn", "c_proj"] if is_gpt2 else ["q_proj", "v_proj", "down_proj"],
        "fan_in_fan_out": is_gpt2,
        "task_type": "CAUSAL_LM",
    }
    with peft_on_newer_transformers():
        adapted = get_peft_model(model, LoraConfig(**(config | changes)))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    adapted.save_pretrained(str(path), save_embedding_layers=False)
    return str(path)


@dataclass(frozen=True, slots=True)
class Family:
    """The directories of one architecture: a base, an adapter on it as policy, and a separate model as reference."""

    base: str
    policy: str
    reference: str
