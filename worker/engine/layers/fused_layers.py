"""A decoder's layers as one call of layers.c, where each is made of what `worker.engine.layers.fused` put in place.

Between two operations there is then neither Python nor a wait for all threads. Where a pass needs more than the kernels
know, the layers run one by one.
"""

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from worker.engine.cache.kv_cache import RowCache
from worker.engine.layers.attention import CURRENT_METADATA, AttentionMetadata
from worker.engine.layers.fused import FusedAttention, FusedGate, FusedRMSNorm, same_code
from worker.engine.layers.joined import JoinedLinear
from worker.engine.layers.lora import AdapterRows
from worker.engine.layers.native import LARGEST_HEAD, Kernels, PlacesStruct, kernels_on
from worker.engine.layers.packed import PanelLinear

_POINTER, _INT, _DOUBLE = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double


def _fields(kind: Any, names: str) -> list[tuple[str, Any]]:  # noqa: ANN401 (ctypes' types have no common one)
    return [(name, kind) for name in names.split()]


class _Linear(ctypes.Structure):
    _fields_ = (*_fields(_POINTER, "panels bias updates"), *_fields(_INT, "num_updates num_in num_out num_ranks"))


class _Layer(ctypes.Structure):
    _fields_ = (
        *_fields(_Linear, "inputs output gate_up down"),
        *_fields(_POINTER, "gain second_gain"),
        *_fields(_DOUBLE, "epsilon second_epsilon scale"),
        *_fields(_INT, "heads key_heads size window"),
    )


class _Line(ctypes.Structure):
    _fields_ = (
        *_fields(PlacesStruct, "places"),
        *_fields(_POINTER, "cosine sine excluded"),
        *_fields(_INT, "num_tokens num_adapters is_adapted"),
    )


class _Cache(ctypes.Structure):
    _fields_ = (*_fields(_POINTER, "keys values"), *_fields(_INT, "row_stride head_stride"))


class _Scratch(ctypes.Structure):
    _fields_ = tuple(_fields(_POINTER, "normed joined attended output gates inner wide"))


class FusedLayers(nn.Module):
    """All layers of a decoder: what its forward takes for its only one."""

    def __init__(self, kernels: Kernels, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self._kernels = kernels
        self.layers = nn.ModuleList(layers)
        self._indices = [_attention(layer).layer_idx for layer in layers]
        self._windows = {_attention(layer).window for layer in layers}
        self._adapters: AdapterRows | None = next((one.rows for one in _linears(layers) if one.rows is not None), None)
        self._structs = (_Layer * len(layers))(*map(_layer_struct, layers))
        self._widths = [max(widths) for widths in zip(*map(_widths, self._structs), strict=True)]
        """Of each part of the scratch memory."""
        self._widest = max(_panels(one).num_in for one in _linears(layers))

    def forward(
        self,
        hidden_states: Tensor,
        position_embeddings: tuple[Tensor, Tensor],
        past_key_values: Any = None,  # noqa: ANN401 (a cache, whose methods are untyped)
        **others: Any,  # noqa: ANN401 (of no account to kernels, handed on to layers)
    ) -> Tensor:
        """[1, tokens, d] -> [1, tokens, d]."""
        metadata = CURRENT_METADATA.get(None)
        if metadata is None or not metadata.is_for_own_kernels or not self._are_in(past_key_values):
            for layer in self.layers:
                hidden_states = layer(
                    hidden_states, position_embeddings=position_embeddings, past_key_values=past_key_values, **others
                )
            return hidden_states
        metadata.windows.update(self._windows)
        x = hidden_states[0].clone(memory_format=torch.contiguous_format)
        self._run(x, metadata, position_embeddings, past_key_values)
        return x[None]

    def _are_in(self, cache: object) -> bool:
        """Whether every layer's keys and values have their places: those of a first pass are not allocated yet."""
        return isinstance(cache, RowCache) and all(cache.rows[index].is_initialized for index in self._indices)

    def _run(
        self, x: Tensor, metadata: AttentionMetadata, position_embeddings: tuple[Tensor, Tensor], cache: RowCache
    ) -> None:
        num_tokens = len(x)
        cosine, sine = (part[0].contiguous() for part in position_embeddings)
        is_adapted = self._adapters is not None and self._adapters.any_adapted
        excluded = self._adapters.excluded_among(num_tokens) if self._adapters is not None and is_adapted else None
        line = _Line(
            metadata.places.struct,
            cosine.data_ptr(),
            sine.data_ptr(),
            None if excluded is None else excluded.data_ptr(),
            num_tokens,
            0 if excluded is None else excluded.shape[1],
            is_adapted,
        )
        parts = [x.new_empty(num_tokens, width) for width in self._widths]
        wide = torch.empty(0 if x.dtype == torch.float32 else num_tokens, self._widest)
        has_run = self._kernels.library.run_layers(
            self._structs,
            (_Cache * len(self._indices))(*(_cache_struct(cache.rows[index]) for index in self._indices)),
            ctypes.c_long(len(self._indices)),
            ctypes.byref(line),
            ctypes.c_void_p(x.data_ptr()),
            ctypes.byref(_Scratch(*(part.data_ptr() for part in (*parts, wide)))),
        )
        if not has_run:
            raise MemoryError


def fuse_layers(model: PreTrainedModel) -> None:
    """Replace, in place, every list of layers that are all known and all fused."""
    kernels = kernels_on(model.dtype, model.device)
    if kernels is None:
        return
    for path, module in list(model.named_modules()):
        if isinstance(module, nn.ModuleList) and len(module) and all(map(_is_known, module)):
            model.set_submodule(path, nn.ModuleList([FusedLayers(kernels, list(module))]))


def _is_known(layer: nn.Module) -> bool:
    """Whether it is Llama's by its code, and made of fused parts that run on panels."""
    if not same_code(type(layer).forward, LlamaDecoderLayer.forward):
        return False
    norms = (layer.input_layernorm, layer.post_attention_layernorm)
    if not all(isinstance(norm, FusedRMSNorm) for norm in norms):
        return False
    if not isinstance(layer.self_attn, FusedAttention) or not isinstance(layer.mlp, FusedGate):
        return False
    is_small = layer.self_attn.size <= LARGEST_HEAD
    return is_small and all(isinstance(one.product, PanelLinear) for one in _linears([layer]))


def _attention(layer: Any) -> FusedAttention:  # noqa: ANN401 (a module's children are untyped)
    attention: FusedAttention = layer.self_attn
    return attention


def _linears(layers: Sequence[Any]) -> list[JoinedLinear]:
    return [
        one
        for layer in layers
        for one in (layer.self_attn.inputs, layer.self_attn.o_proj, layer.mlp.gate_up, layer.mlp.down_proj)
    ]


def _layer_struct(layer: Any) -> _Layer:  # noqa: ANN401 (as above)
    attention, first, second = _attention(layer), layer.input_layernorm, layer.post_attention_layernorm
    heads, key_heads, _ = attention.heads
    return _Layer(
        *map(_linear_struct, _linears([layer])),
        first.weight.data_ptr(),
        second.weight.data_ptr(),
        first.epsilon,
        second.epsilon,
        attention.scaling,
        heads,
        key_heads,
        attention.size,
        attention.window or 0,
    )


def _panels(linear: JoinedLinear) -> PanelLinear:
    if not isinstance(linear.product, PanelLinear):
        raise TypeError  # `_is_known` has seen it
    return linear.product


def _linear_struct(linear: JoinedLinear) -> _Linear:
    product, structs = _panels(linear), linear.updates.structs
    return _Linear(
        product.panels.data_ptr(),
        None if product.padded_bias is None else product.padded_bias.data_ptr(),
        ctypes.cast(structs, _POINTER),
        len(structs),
        product.num_in,
        linear.out_features,
        linear.num_ranks,
    )


def _widths(layer: _Layer) -> tuple[int, ...]:
    """Scratch columns that a layer needs for normed, joined, attended, output, gates and inner."""
    joined, output, gates, last = (
        linear.num_out + linear.num_ranks for linear in (layer.inputs, layer.output, layer.gate_up, layer.down)
    )
    return layer.inputs.num_in, joined, layer.output.num_in, max(output, last), gates, layer.down.num_in


def _cache_struct(layer: Any) -> _Cache:  # noqa: ANN401 (a RowLayer, whose base has no types)
    return _Cache(layer.keys.data_ptr(), layer.values.data_ptr(), layer.keys.stride(0), layer.keys.stride(1))
