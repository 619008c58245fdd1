"""Tiny random models on disk. Their weights are large, so that the most likely token is not always the same."""

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

VOCAB_SIZE = 97
EOS = 96
MAX_LENGTH = 256
WINDOW = 8
POISON = 95
"""The token that breaks a poisoned model."""

_SHAPE: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": MAX_LENGTH,
    "initializer_range": 0.3,
    "bos_token_id": None,
    "eos_token_id": EOS,
    "pad_token_id": None,
}
_WIDE_HEADS = _SHAPE | {"head_dim": 32}
"""As wide as the kernels of any processor take them; Gemma 3 and Phi-3 hand them on in another order of memory."""
_ONE_OF_EACH = ["sliding_attention", "full_attention"]
# Some heads are untied that are tied in practice: at random weights, a tied one repeats the last token.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": _WIDE_HEADS,
    "qwen2": _WIDE_HEADS | {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1},
    "qwen3": _SHAPE,
    "mistral": _WIDE_HEADS | {"sliding_window": WINDOW},
    "gemma2": _SHAPE
    | {
        "sliding_window": WINDOW,
        "layer_types": _ONE_OF_EACH,
        "query_pre_attn_scalar": 12,
        "attn_logit_softcapping": 3.0,
        "final_logit_softcapping": 4.0,
        "tie_word_embeddings": False,
    },
    "gemma3_text": _WIDE_HEADS
    | {
        "sliding_window": WINDOW,
        "layer_types": _ONE_OF_EACH,
        "query_pre_attn_scalar": 12,
        "tie_word_embeddings": False,
    },
    "phi3": _WIDE_HEADS | {"sliding_window": WINDOW},
    "olmo2": _SHAPE,
    "granite": _SHAPE
    | {
        "logits_scaling": 4.0,
        "embedding_multiplier": 3.0,
        "attention_multiplier": 0.2,
        "residual_multiplier": 0.7,
    },
    "cohere": _SHAPE | {"logit_scale": 0.3, "tie_word_embeddings": False},
    "gpt_neox": _SHAPE | {"num_key_value_heads": None},
    "phi": _SHAPE | {"num_key_value_heads": None},
    "gpt2": {
        "vocab_size": VOCAB_SIZE,
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": MAX_LENGTH,
        "initializer_range": 0.3,
        "bos_token_id": None,
        "eos_token_id": EOS,
    },
}
_LATENT = _SHAPE | {
    "num_key_value_heads": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 8,
    "tie_word_embeddings": False,
}
_EXPERTS = {
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
}
CACHED_OTHERWISE: dict[str, dict[str, Any]] = {
    "diffllama": _SHAPE,
    "gemma3n_text": _SHAPE
    | {
        "num_hidden_layers": 4,
        "num_kv_shared_layers": 2,
        "layer_types": 2 * _ONE_OF_EACH,
        "sliding_window": WINDOW,
        "intermediate_size": [64] * 4,
        "activation_sparsity_pattern": [0.0] * 4,
        "vocab_size_per_layer_input": VOCAB_SIZE,
        "hidden_size_per_layer_input": 8,
        "laurel_rank": 4,
        "altup_num_inputs": 2,
    },
    "minicpm3": _LATENT,
    "deepseek_v3": _LATENT | _EXPERTS,
    "jetmoe": _SHAPE | {"kv_channels": 8, "num_local_experts": 4, "num_experts_per_tok": 2},
}
"""Layers that change keys behind the cache, share those of other layers, keep latents, or number caches otherwise."""
OUT_OF_LINE: dict[str, dict[str, Any]] = {
    "afmoe": _SHAPE
    | {
        "layer_types": _ONE_OF_EACH,
        "sliding_window": WINDOW,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
    },
    "nemotron": _SHAPE,
    "doge": _SHAPE,
    "llama4_text": _SHAPE
    | {
        "num_local_experts": 2,
        "intermediate_size_mlp": 64,
        "interleave_moe_layer_step": 1,
        "attention_chunk_size": MAX_LENGTH // 2,
        "no_rope_layers": [1, 0],
    },
    "hunyuan_v1_moe": _SHAPE | {"num_experts": 4, "moe_topk": 2},
    "gpt_oss": _SHAPE
    | {"layer_types": _ONE_OF_EACH, "sliding_window": WINDOW, "num_local_experts": 4, "num_experts_per_tok": 2},
    "modernbert-decoder": _SHAPE
    | {
        "layer_types": _ONE_OF_EACH,
        "local_attention": 2 * WINDOW,
        "bos_token_id": VOCAB_SIZE - 2,
        "pad_token_id": VOCAB_SIZE - 2,
        "cls_token_id": VOCAB_SIZE - 2,
        "sep_token_id": VOCAB_SIZE - 2,
    },
    "bert": _SHAPE | {"is_decoder": True},
}
"""Code of its own kind: arguments of attention, a decoder or a head in other places, weights looked at, sinks."""
_ADAPTED = {
    "gpt2": ["c_attn", "c_proj"],
    "gpt_neox": ["query_key_value", "dense_4h_to_h"],
    "phi": ["q_proj", "v_proj", "fc2"],
    "phi3": ["qkv_proj", "down_proj"],
}


_ALL = ARCHITECTURES | CACHED_OTHERWISE | OUT_OF_LINE


def tiny(model_type: str, seed: int, **changes: Any) -> PreTrainedModel:  # noqa: ANN401 (whatever a configuration takes)
    torch.manual_seed(seed)
    config = AutoConfig.for_model(model_type, **(_ALL.get(model_type, {}) | changes))
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]  # transformers'
    model.train(mode=False)
    return model


def llama(seed: int, **changes: Any) -> PreTrainedModel:  # noqa: ANN401 (as above)
    return tiny("llama", seed, **changes)


def gpt2(seed: int, **changes: Any) -> PreTrainedModel:  # noqa: ANN401 (as above)
    return tiny("gpt2", seed, **changes)


def save(model: PreTrainedModel, path: Path) -> str:
    model.save_pretrained(path)
    return str(path)


def read(path: str) -> PreTrainedModel:
    """As whoever does not know the engine would."""
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(path)
    return model


def change(path: Path, **entries: object) -> None:
    """Replace entries of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def save_tokenizer(
    folder: Path,
    *,
    size: int = VOCAB_SIZE,
    special: Mapping[str, int] | None = None,
    config: Mapping[str, object] | None = None,
) -> None:
    """A tokenizer.json of words w0, w1, ... and special tokens, and a tokenizer_config.json that holds `config`."""
    added = special or {}
    words = {f"w{number}": number for number in range(size) if number not in added.values()}
    tokens = [{"content": content, "id": number, "special": True} for content, number in added.items()]
    tokenizer = {"model": {"type": "WordLevel", "vocab": words}, "added_tokens": tokens}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps(config or {}))


@contextmanager
def peft_on_newer_transformers() -> Iterator[None]:
    """PEFT reads an attribute that transformers has renamed, and calls ranks of tensors ignored that it takes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        warnings.filterwarnings("ignore", "The following (rank|alpha)_pattern keys did not match", RuntimeWarning)
        yield


def save_adapter(model: PreTrainedModel, path: Path, seed: int, **changes: Any) -> str:  # noqa: ANN401 (as above)
    """A LoRA adapter on the model none of whose matrices is zero, as after training."""
    torch.manual_seed(seed)
    config: dict[str, Any] = {
        "r": 4,
        "lora_alpha": 8,
        "target_modules": _ADAPTED.get(model.config.model_type, ["q_proj", "v_proj", "down_proj"]),
        "fan_in_fan_out": model.config.model_type == "gpt2",
        "task_type": "CAUSAL_LM",
    }
    with peft_on_newer_transformers():
        adapted = get_peft_model(model, LoraConfig(**(config | changes)))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name and not parameter.any():
                parameter.normal_(std=0.3)
    adapted.save_pretrained(str(path), save_embedding_layers=False)
    return str(path)


def merge(base: PreTrainedModel, adapter: str) -> PreTrainedModel:
    """The base with the adapter's update in its own weights."""
    with peft_on_newer_transformers():
        merged: PreTrainedModel = PeftModel.from_pretrained(base, adapter).merge_and_unload()
    return merged


@dataclass(frozen=True, slots=True)
class Family:
    """The directories of one architecture: a base, an adapter on it as policy, and a separate model as reference."""

    base: str
    policy: str
    reference: str


def save_family(model_type: str, folder: Path) -> Family:
    return Family(
        base=save(tiny(model_type, seed=0), folder / "base"),
        policy=save_adapter(tiny(model_type, seed=0), folder / "policy", seed=1),
        reference=save(tiny(model_type, seed=2), folder / "reference"),
    )


def save_poisoned(model_type: str, folder: Path) -> tuple[str, str]:
    """A base, one token of which has an embedding that is not a number and a logit that never wins, and an adapter."""
    model, clean = (tiny(model_type, seed=0, tie_word_embeddings=False) for _ in range(2))
    with torch.no_grad():
        model.get_input_embeddings().get_parameter("weight")[POISON] = torch.nan
        model.get_parameter("lm_head.weight")[POISON] = 0
    return save(model, folder / "base"), save_adapter(clean, folder / "policy", seed=1)
