"""Every causal language model of transformers as tiny as its configuration lets itself be made, with random weights.

Knows names of entries and small values for them, and which layers to keep so that each kind of layer is there; what an
architecture needs beyond that is in `_OWN`.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any  # a configuration holds whatever its JSON held

import torch
from torch import Tensor, nn
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

VOCAB_SIZE = 97
EOS = 96
PAD = 95
"""Of every other special token."""
MAX_LENGTH = 512
WINDOW = 12
_MOST_LAYERS = 6
ARCHITECTURES = tuple(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)

# The first pattern that an entry's name matches says how small it is made; entries that are 0 or None stay so.
_SMALL: tuple[tuple[str, object], ...] = (
    (r"(decoder_|unpadded_)?vocab_size(_per_layer_input)?", VOCAB_SIZE),
    (r"eos_token_id", EOS),
    (r"\w*token_id", PAD),
    (r"sliding_window(_size)?|local_attention|attention_window_size|window_size", WINDOW),
    (r"max_position_embeddings|n_positions|n_ctx|max_seq_len|model_max_length|context_length|rel_extent", MAX_LENGTH),
    (r"(original_)?max_(target_)?position(s|_embeddings)|attention_chunk_size|floor_scale", MAX_LENGTH),
    (r"hidden_size|d_model|n_embd|emb_dim|embedding_(size|dim)|(input|output)_embedding_size|lru_width", 32),
    (r"word_embed_proj_dim|model_dim|dim|mm_hidden_size|out_hidden_size|projection_dim", 32),
    (r"\w*intermediate_size(_mlp)?|\w*ffn?_dim|dim_ff|dff|\w*ffn_hidden_size|feed_forward_size|d_inner", 48),
    (r"(num_)?(encoder_|decoder_)?attention_heads|n_heads?|num_heads|linear_num_heads|swa_num_attention_heads", 4),
    (r"(swa_)?num_(key_value|kv)_heads|num_query_groups|num_global_key_value_heads", 2),
    (r"num_(encoder_|decoder_)?(hidden_)?layers|n_layers?|(encoder|decoder)_layers|num_blocks|depth", 2),
    (r"(swa_|global_)?head_dim|attention_head_(dim|size)|d_head|dim_head|kv_channels|(qk_nope|qk_rope|v)_head_dim", 8),
    (r"linear_(key_|value_)?head_dim|index_head_dim|qk_head_dim", 8),
    (r"rotary_dim", 4),
    (r"(q|kv|o)_lora_rank|gated_norm_rank|adapter_rank|hc_lowrank|laurel_rank|router_hidden_size", 8),
    (r"(num_|n_routed_|num_local_|moe_num_)experts", 4),
    (r"num_experts_per_tok(en)?|moe_topk|moe_k|top_k_experts", 2),
    (r"n_group|topk_group|num_expert_group|zero_expert_num|o_groups", 1),
    (r"hidden_size_per_layer_input|ple_embed_dim|d_rel", 8),
    (r"index_n_heads", 2),
    (r"linear_num_key_heads", 2),
    (r"linear_num_value_heads", 4),
    (r"mamba_n_heads|mamba_num_heads|n_mamba_heads", 8),
    (r"mamba_d_head|mamba_head_?dim|mamba_d_state|ssm_state_size|state_size", 8),
    (r"mamba_n_groups|mamba_ngroups|n_groups", 1),
    (r"mamba_d_ssm", 64),
    (r"(mamba_)?chunk_size", 16),
    (r"mamba_dt_rank|time_step_rank", 4),
    (r"query_pre_attn_scalar", 12),
    (r"first_k_dense_replace|num_dense_layers|moe_layer_start_index", 1),
    (r"image_size", 32),
    (r"patch_size", 16),
)

# What single architectures need besides: sizes that must fit each other, and layers that names do not tell.
_ROPE = {"rope_type": "default", "rope_theta": 10_000.0}
_INDEX = {"indexer_n_heads": 2, "indexer_kv_heads": 1, "indexer_head_dim": 8, "indexer_budget": 16}
_SHARED_KEYS = {
    "num_hidden_layers": 4,
    "num_kv_shared_layers": 2,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
}
_OWN: dict[str, dict[str, Any]] = {
    "blt": {
        "encoder_hash_byte_group_vocab": VOCAB_SIZE,
        "encoder_config": {"hidden_size_global": 32},
        "decoder_config": {"hidden_size_global": 32},
    },
    "cohere_compass_text": {"rope_parameters": {"full_attention": _ROPE, "sliding_attention": _ROPE}},
    "dbrx": {"attn_config": {"rope_theta": 10_000.0, "kv_n_heads": 2, "clip_qkv": 8.0}},
    "deepseek_v2": {"num_experts_per_tok": 2},
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "dots3_note": {
        "vision_config": {"adapter_in_dim": 32, "adapter_out_dim": 32},
        "audio_config": {"adapter_input_size": 32, "adapter_out_dim": 32},
    },
    "gemma3n_text": _SHARED_KEYS | {"activation_sparsity_pattern": [0.5, 0.0] * 2, "intermediate_size": [48] * 4},
    "gemma4_text": _SHARED_KEYS,
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8, "num_experts": 4, "moe_topk": 2},
    "inkling2_text": {"tie_word_embeddings": False},
    "inkling_text": {"tie_word_embeddings": False},
    "jamba": {"num_hidden_layers": 4, "attn_layer_period": 2, "attn_layer_offset": 1},
    "lfm2": {"layer_types": ["conv", "full_attention", "conv"], "num_hidden_layers": 3},
    "lfm2_moe": {"layer_types": ["conv", "full_attention", "full_attention"], "num_hidden_layers": 3},
    "mamba2": {"num_heads": 8},
    "ministral": {"head_dim": 8},
    "nemotron": {"num_key_value_heads": 2},
    "qwen4_exp": {"text_config": _INDEX | {"indexer_compress_ratio": 4}},
    "qwen4_exp_text": _INDEX | {"indexer_compress_ratio": 4},
    "reformer": {"axial_pos_embds_dim": (16, 16), "axial_pos_shape": (16, 32)},
    "xmod": {"default_language": "en_XX"},
    "zamba": {
        "num_hidden_layers": 4,
        "layers_block_type": ["linear_attention", "hybrid"] * 2,
        "attention_hidden_size": 64,
        "attention_head_dim": 16,
        "num_key_value_heads": 4,
    },
    "zaya": {"num_experts_per_tok": 1},
}


def tiny(architecture: str, seed: int = 0) -> PreTrainedModel:
    """A tiny model whose weights are random and large, so that the most likely token is not always the same.

    Raises what the configuration or the model of that architecture raises where it cannot be made so small.
    """
    torch.manual_seed(int.from_bytes(hashlib.sha256(f"{architecture} {seed}".encode()).digest()[:7]))
    model: PreTrainedModel = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]  # transformers'
        tiny_config(architecture), attn_implementation="eager"
    )
    model.train(mode=False)
    _enlarge(model)
    return model


def tiny_config(architecture: str) -> PreTrainedConfig:
    """The configuration of such a model."""
    kind = CONFIG_MAPPING[architecture]
    changes = _changes(kind())
    return kind(**_merged(changes, _OWN.get(architecture, {})))


def _merged(changes: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    nested = {
        name: _merged(changes[name], value)
        for name, value in others.items()
        if isinstance(value, dict) and isinstance(changes.get(name), dict)
    }
    return {**changes, **others, **nested}


def _changes(default: PreTrainedConfig) -> dict[str, Any]:
    """Small values for entries of a configuration, and of those within it."""
    entries = {name: value for name, value in vars(default).items() if not name.startswith("_")}
    changes: dict[str, Any] = {}
    layers = _layers(entries)
    for name, value in entries.items():
        if isinstance(value, PreTrainedConfig):
            changes[name] = _changes(value)
        elif isinstance(value, list) and layers and len(value) == _num_layers(entries):
            changes[name] = [value[layer] for layer in layers]
        else:
            changes |= _small(name, value)
    if layers:
        changes[_name_of_layers(entries)] = len(layers)
    if entries.get("kv_lora_rank"):
        changes["num_key_value_heads"] = changes["num_attention_heads"]
        changes["qk_head_dim"] = changes["qk_nope_head_dim"] + changes["qk_rope_head_dim"]
    if default.is_encoder_decoder is False and "is_decoder" in entries:
        changes["is_decoder"] = True
    return changes


def _small(name: str, value: object) -> dict[str, object]:
    if name.endswith("token_id") or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        for pattern, small in _SMALL:
            if re.fullmatch(pattern, name):
                return {name: small}
    return {}


def _name_of_layers(entries: Mapping[str, Any]) -> str:
    return next((name for name in ("num_hidden_layers", "n_layer", "num_layers") if name in entries), "")


def _num_layers(entries: Mapping[str, Any]) -> int:
    return int(entries.get(_name_of_layers(entries)) or 0)


def _layers(entries: Mapping[str, Any]) -> list[int]:
    """The first layer of each kind, where lists of the configuration say of what kind each layer is; at least two."""
    number = _num_layers(entries)
    lists = [value for value in entries.values() if isinstance(value, list) and len(value) == number > 1]
    if not lists:
        return []
    kinds = [repr(kind) for kind in zip(*lists, strict=True)]
    first = sorted({kind: kinds.index(kind) for kind in kinds}.values())[:_MOST_LAYERS]
    return first if len(first) > 1 else [*first, number - 1]


def _enlarge(model: PreTrainedModel) -> None:
    """Weights such that tokens differ: products keep the size of what they multiply, embeddings are of size 1."""
    with torch.no_grad():
        for module, name, parameter in _parameters(model):
            if not parameter.is_floating_point():
                continue
            if isinstance(module, nn.Embedding):
                parameter.normal_()
            elif parameter.dim() in (2, 3) and name in {"weight", "gate_up_proj", "down_proj", "up_proj", "gate_proj"}:
                parameter.normal_(std=1.3 * parameter.shape[-1] ** -0.5)
            elif parameter.dim() == 1 and name in {"weight", "bias"}:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
    if head is not None and not model.config.tie_word_embeddings:
        with torch.no_grad():
            head.weight.normal_(std=4 * head.weight.shape[-1] ** -0.5)


def _parameters(model: nn.Module) -> Iterator[tuple[nn.Module, str, Tensor]]:
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            yield module, name, parameter
