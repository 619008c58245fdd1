"""Which models the row cache decodes exactly, and up to how many tokens.

A cache row holds every token of its stream, and attention sees all of them or those in a sliding window. Layers that
see them in chunks, or position encodings that change with the longest row of a batch, agree with that up to some
length, which becomes the limit. A row holds a recurrent state as well where transformers' cache does; models that keep
it elsewhere, or keep something else, are refused. What no configuration tells, the proof at load
does (`worker.engine.loading.proof`).
"""

import inspect
import sys
from typing import Any  # a configuration holds whatever its JSON held

from transformers import PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from worker.engine.errors import OTHER_ARCHITECTURE
from worker.engine.layers.attention import NAME

_CHUNKS = {"chunked_attention": "attention_chunk_size"}
_RECURRENT = {"linear_attention", "conv", "hybrid", "hybrid_sliding"}
_STATELESS = {"mlp", "moe"}
_OWN_WINDOWS = {"global", "local"}
"""GPT-Neo's, whose code counts its window back from the newest column of a batch."""
_ATTENTION = {"full_attention", "sliding_attention", *_CHUNKS, *_OWN_WINDOWS}
_SIZES = ("hidden_size", "num_hidden_layers")
_ROPE_LENGTHS = {"dynamic": "max_position_embeddings", "longrope": "original_max_position_embeddings"}

ATTENTION_IS_ITS_OWN = f"its attention cannot be replaced by one that keeps texts apart: {OTHER_ARCHITECTURE}"


def why_unsupported(config: PreTrainedConfig) -> str | None:
    """Why the configuration rules the model out, if it does."""
    model_class = _model_class(config)
    if config.is_encoder_decoder:  # whose texts are several
        return "it is an encoder-decoder model: choose a decoder-only one"
    if model_class is None:
        return f"transformers has no causal language model of type {config.model_type!r}: {OTHER_ARCHITECTURE}"
    text = config.get_text_config()
    return _why_not_one_stack(text) or _why_not_in_rows(text, model_class)


def _why_not_one_stack(text: PreTrainedConfig) -> str | None:
    unstated = [name for name in _SIZES if not isinstance(getattr(text, name, None), int)]
    if not unstated:
        return None
    return (
        f"its configuration states no {unstated[0]}, and only a single stack of layers is decoded: {OTHER_ARCHITECTURE}"
    )


def _why_not_in_rows(text: PreTrainedConfig, model_class: type[PreTrainedModel]) -> str | None:
    # transformers marks recurrent models, and those whose attention can be replaced, so; there are no public names.
    kinds = set(_layer_types(text))
    if getattr(model_class, "_is_stateful", False) and not kinds & _RECURRENT:
        return f"it keeps a recurrent state in a cache of its own, which texts cannot share: {OTHER_ARCHITECTURE}"
    if _attends_in_own_code(text, model_class):
        if "past_key_values" not in inspect.signature(model_class.forward).parameters:
            return f"it has no key-value cache, and would read each text anew for every token: {OTHER_ARCHITECTURE}"
        if kinds & _RECURRENT:
            return ATTENTION_IS_ITS_OWN
    unknown = sorted(kinds - _ATTENTION - _RECURRENT - _STATELESS)
    if unknown:
        what = f"its layers of type {', '.join(unknown)} keep more of a text than keys and values, such as an index"
        return f"{what}, which the cache does not hold: {OTHER_ARCHITECTURE}"
    return None


def attention_for(config: PreTrainedConfig) -> str:
    """The attention to load a model with: the engine's, or of its own ones that which transformers takes by default."""
    model_class = _model_class(config)
    if model_class is None or not _attends_in_own_code(config.get_text_config(), model_class):
        return NAME
    return "sdpa" if model_class._supports_sdpa else "eager"  # noqa: SLF001 (there is no public name)


def needs_equal_lengths(config: PreTrainedConfig) -> bool:
    """Whether rows can only be decoded together with others of their length."""
    return "local" in _layer_types(config.get_text_config())


def keeps_state(config: PreTrainedConfig) -> bool:
    """Whether layers carry a recurrent state from token to token."""
    return bool(_RECURRENT & {*_layer_types(config.get_text_config())})


def longest_exact(config: PreTrainedConfig) -> int | None:
    """Most tokens of a row for which the engine's attention is what the model computes; None if nothing limits it."""
    text = config.get_text_config()
    lengths = [getattr(text, name, None) for name in ("max_position_embeddings", "max_seq_len")]
    lengths += [getattr(text, _CHUNKS[kind], None) for kind in set(_layer_types(text)) & _CHUNKS.keys()]
    if getattr(text, "attn_temperature_tuning", None):  # its steps are counted along the line, whatever row it is
        lengths.append(int(text.floor_scale) - 1)
    for rope in _rope_parameters(text):
        name = _ROPE_LENGTHS.get(rope.get("rope_type", "default"))
        lengths.append((rope.get(name) or getattr(text, name, None)) if name else None)
    return min((length for length in lengths if length), default=None)


def window(config: PreTrainedConfig) -> int | None:
    """The sliding window of those layers that have one."""
    text = config.get_text_config()
    windowed = {"sliding_attention", "hybrid_sliding"} & {*_layer_types(text)}
    return getattr(text, "sliding_window", None) if windowed else None


def _model_class(config: PreTrainedConfig) -> type[PreTrainedModel] | None:
    found = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    return found[0] if isinstance(found, tuple) else found


def _attends_in_own_code(text: PreTrainedConfig, model_class: type[PreTrainedModel]) -> bool:
    """Whether layers attend, and neither does the class say nor its code ask transformers which attention to call."""
    code = sys.modules[model_class.__module__]
    asks = getattr(model_class, "_supports_attention_backend", False) or hasattr(code, "ALL_ATTENTION_FUNCTIONS")
    return not asks and bool({*_layer_types(text)} - {"linear_attention", "conv"} - _STATELESS)


def _layer_types(text: PreTrainedConfig) -> list[str]:
    """The kinds of attention; older configurations state a window only, which then holds for all layers."""
    kinds = getattr(text, "layer_types", None) or getattr(text, "attention_layers", None)
    if kinds is None and getattr(text, "sliding_window", None) and getattr(text, "use_sliding_window", True):
        return ["sliding_attention"]
    return list(kinds or ["full_attention"])


def _rope_parameters(text: PreTrainedConfig) -> list[dict[str, Any]]:
    """The rotary parameters of the model, or of each kind of layer where they differ."""
    parameters = getattr(text, "rope_parameters", None) or {}
    nested = [value for value in parameters.values() if isinstance(value, dict)]
    return nested or [parameters]
