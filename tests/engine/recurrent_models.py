"""Tiny configurations of models with recurrent layers: gated delta rules, state spaces, short convolutions."""

from pathlib import Path
from typing import Any

from tests.engine.models import EOS, VOCAB_SIZE, Family, save, save_adapter, tiny

_VOCABULARY: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "initializer_range": 0.3,
    "bos_token_id": None,
    "eos_token_id": EOS,
    "pad_token_id": None,
    "tie_word_embeddings": False,
}
MAX_LENGTH = 384
_ATTENTION = _VOCABULARY | {
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": MAX_LENGTH,
}
_DELTA = {
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"],
}
_STATE_SPACE = {
    "mamba_n_heads": 8,
    "mamba_d_head": 8,
    "mamba_n_groups": 1,
    "mamba_d_state": 8,
    "mamba_chunk_size": 16,
}
_EXPERTS = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
}
RECURRENT: dict[str, dict[str, Any]] = {
    "qwen3_next": _ATTENTION | _DELTA | _EXPERTS,
    "qwen3_5_text": _ATTENTION | _DELTA,
    "falcon_h1": _ATTENTION | _STATE_SPACE | {"mamba_d_ssm": 64},
    "granitemoehybrid": _ATTENTION
    | _STATE_SPACE
    | {
        "layer_types": ["mamba", "attention"],
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "shared_intermediate_size": 32,
    },
    "lfm2": _ATTENTION | {"layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False},
    "mamba2": _VOCABULARY | {"num_heads": 8, "head_dim": 8, "state_size": 8, "n_groups": 1, "chunk_size": 16},
    "mamba": _VOCABULARY | {"state_size": 8},
    "jamba": _ATTENTION
    | {
        "mamba_d_state": 8,
        "mamba_dt_rank": 4,
        "attn_layer_offset": 1,
        "attn_layer_period": 2,
        "num_experts": 2,
        "num_experts_per_tok": 1,
    },
}
_ADAPTED = {
    "qwen3_next": ["in_proj_qkvz", "out_proj", "q_proj"],
    "qwen3_5_text": ["in_proj_qkv", "out_proj", "q_proj"],
    "lfm2": ["in_proj", "out_proj", "q_proj"],
    "mamba2": ["in_proj"],
    "mamba": ["in_proj"],
}


def save_recurrent_family(model_type: str, folder: Path) -> Family:
    config = RECURRENT[model_type]
    targets = _ADAPTED.get(model_type, ["in_proj", "q_proj"])
    return Family(
        base=save(tiny(model_type, 0, **config), folder / "base"),
        policy=save_adapter(tiny(model_type, 0, **config), folder / "policy", seed=1, target_modules=targets),
        reference=save(tiny(model_type, 2, **config), folder / "reference"),
    )
