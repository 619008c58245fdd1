"""Layers as fewer kernels than transformers spells them out in: normalisation, gated feed-forward, attention's inputs.

A layer is replaced where it is known what it computes: a normalisation by trying it, the others by their code being
that of Llama's, from which most architectures copy theirs. What comes of it is proved at load with all the rest.
"""

from collections.abc import Callable
from types import CodeType
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.activations import SiLUActivation
from transformers.models.llama import modeling_llama as llama
from transformers.models.mistral.modeling_mistral import MistralAttention
from transformers.models.qwen2.modeling_qwen2 import Qwen2Attention

from worker.engine.layers.attention import attend_rows
from worker.engine.layers.joined import JoinedLinear, can_join
from worker.engine.layers.native import Kernels, kernels_on

_TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 0.02, torch.float16: 0.002}  # relative: the last bit may differ


class FusedRMSNorm(nn.Module):
    """y = g x / sqrt(mean(x^2) + eps)."""

    def __init__(self, gain: Tensor, epsilon: float, kernels: Kernels | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(gain.detach(), requires_grad=False)
        self.epsilon = epsilon
        self._kernels = kernels

    def forward(self, x: Tensor) -> Tensor:
        """[..., d] -> [..., d]."""
        is_alike = x.shape[-1] == len(self.weight) and x.dtype == self.weight.dtype
        if self._kernels is None or not is_alike:  # which a kernel would not notice; Mamba's states are float32
            return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), self.epsilon)
        return self._kernels.normalise(x.contiguous(), self.weight, self.epsilon)


class FusedGate(nn.Module):
    """down(silu(gate(x)) * up(x)): two products, one pass between them."""

    def __init__(self, kernels: Kernels, module: nn.Module) -> None:
        super().__init__()
        self._kernels = kernels
        self.gate_up = JoinedLinear(kernels, [module.get_submodule("gate_proj"), module.get_submodule("up_proj")])
        self.down_proj = JoinedLinear(kernels, [module.get_submodule("down_proj")])

    def forward(self, x: Tensor) -> Tensor:
        """[..., d] -> [..., d]."""
        width = self.gate_up.out_features // 2
        inner = self._kernels.gated(self.gate_up(x).flatten(0, -2), width)
        down: Tensor = self.down_proj(inner.view(*x.shape[:-1], width))
        return down


class FusedAttention(nn.Module):
    """Query, key and value as one product, turned in place; then the attention of this engine."""

    def __init__(self, kernels: Kernels, module: Any) -> None:  # noqa: ANN401 (transformers' attributes are untyped)
        super().__init__()
        self._kernels = kernels
        self.layer_idx: int = module.layer_idx
        self.scaling: float = module.scaling
        self.window = _window(module)
        self.size: int = module.head_dim
        inputs = [module.q_proj, module.k_proj, module.v_proj]
        widths = [_num_out(layer) // self.size for layer in inputs]
        self.heads = (*widths,)
        self.inputs = JoinedLinear(kernels, inputs)
        self.o_proj = JoinedLinear(kernels, [module.o_proj])

    def forward(
        self,
        hidden_states: Tensor,
        position_embeddings: tuple[Tensor, Tensor],
        attention_mask: Tensor | None = None,
        past_key_values: Any = None,  # noqa: ANN401 (a cache, whose methods are untyped)
        **_others: object,
    ) -> tuple[Tensor, None]:
        """[1, tokens, d] -> [1, tokens, d]."""
        joined = self.inputs(hidden_states)
        cosine, sine = position_embeddings
        num_queries, num_keys, _ = self.heads
        self._kernels.rotate(joined[0], cosine[0].contiguous(), sine[0].contiguous(), num_queries + num_keys)
        heads = joined.unflatten(-1, (-1, self.size)).transpose(1, 2)
        query, key, value = heads.split(self.heads, dim=1)
        keys, values = past_key_values.update(key, value, self.layer_idx)
        attended, _ = attend_rows(
            self, query, keys, values, attention_mask, scaling=self.scaling, sliding_window=self.window
        )
        return self.o_proj(attended.flatten(2)), None


def fuse(model: PreTrainedModel) -> None:
    """Replace, in place, the modules of a model whose forward is known to be one of these."""
    kernels = kernels_on(model.dtype, model.device)
    if kernels is not None:
        for path, module in list(model.named_modules()):
            if _is_gate(module, kernels):
                model.set_submodule(path, FusedGate(kernels, module))
            elif _is_attention(module, kernels):
                model.set_submodule(path, FusedAttention(kernels, module))
    if kernels is not None or model.device.type == "cuda":
        fuse_norms(model, kernels)


@torch.inference_mode()
def fuse_norms(model: PreTrainedModel, kernels: Kernels | None = None) -> None:
    """Replace, in place, every layer that proves to be a root mean square normalisation with a gain of its own."""
    for path, module in list(model.named_modules()):
        fused = _fused_norm(module, kernels)
        if fused is not None:
            model.set_submodule(path, fused)


def _fused_norm(module: nn.Module, kernels: Kernels | None) -> FusedRMSNorm | None:
    gain, epsilon = getattr(module, "weight", None), getattr(module, "variance_epsilon", getattr(module, "eps", None))
    if not type(module).__name__.endswith("RMSNorm") or not isinstance(epsilon, float):
        return None
    if not isinstance(gain, nn.Parameter):  # a gain that is no parameter need not be as wide as what is normalised
        return None
    if kernels is not None and (gain.dtype != kernels.dtype or gain.numel() % kernels.lanes):
        return None
    x = torch.linspace(-2, 3, 3 * gain.numel(), device=gain.device, dtype=gain.dtype).view(3, -1)
    for candidate in (gain, 1 + gain):  # Gemma keeps the gain less one
        fused = FusedRMSNorm(candidate, epsilon, kernels)
        expected = module(x)
        if (fused(x) - expected).abs().max() <= _TOLERANCE[gain.dtype] * expected.abs().max():
            return fused
    return None


def _is_gate(module: nn.Module, kernels: Kernels) -> bool:
    if not same_code(type(module).forward, llama.LlamaMLP.forward):
        return False
    layers = [getattr(module, name) for name in ("gate_proj", "up_proj", "down_proj")]
    is_even = _num_out(layers[0]) == _num_out(layers[1]) and _num_out(layers[0]) % kernels.lanes == 0
    return is_even and isinstance(module.act_fn, SiLUActivation | nn.SiLU) and _can_join_all(layers, kernels)


def _is_attention(module: Any, kernels: Kernels) -> bool:  # noqa: ANN401 (as above)
    forward = type(module).forward
    if not any(same_code(forward, known) for known in _ATTENTIONS) or not _turns_halves(forward):
        return False
    layers = [getattr(module, name) for name in ("q_proj", "k_proj", "v_proj", "o_proj")]
    size: int = module.head_dim
    return size % (2 * kernels.lanes) == 0 and _can_join_all(layers, kernels)


_ATTENTIONS: tuple[Callable[..., object], ...] = (
    llama.LlamaAttention.forward,
    MistralAttention.forward,
    Qwen2Attention.forward,
)


def _turns_halves(forward: Callable[..., object]) -> bool:
    """Whether what an attention's forward calls by these names is what Llama's calls."""
    turn = _called(forward, "apply_rotary_pos_emb")
    half = _called(turn, "rotate_half")
    return same_code(turn, llama.apply_rotary_pos_emb) and same_code(half, llama.rotate_half)


def _called(function: object, name: str) -> object:
    return getattr(function, "__globals__", {}).get(name)


def _window(module: Any) -> int | None:  # noqa: ANN401 (transformers' attributes are untyped)
    """As the known forwards read it: nowhere, of the configuration, of the layer."""
    forward = type(module).forward
    if same_code(forward, MistralAttention.forward):
        return getattr(module.config, "sliding_window", None)
    return module.sliding_window if same_code(forward, Qwen2Attention.forward) else None


def _can_join_all(layers: list[nn.Module], kernels: Kernels) -> bool:
    return all(can_join(kernels, layer) for layer in layers)


def _num_out(layer: Any) -> int:  # noqa: ANN401 (a layer, plain or adapted)
    return int(layer.out_features if hasattr(layer, "out_features") else len(layer.weight))


def same_code(one: object, other: object) -> bool:
    """Whether two functions are copies of each other, docstrings aside, and what decorators have wrapped as well."""
    codes = [getattr(function, "__code__", None) for function in (one, other)]
    if not all(isinstance(code, CodeType) for code in codes) or _meaning(one) != _meaning(other):
        return False
    wrapped = [getattr(function, "__wrapped__", None) for function in (one, other)]
    return wrapped == [None, None] or same_code(*wrapped)


def _meaning(function: Any) -> tuple[object, ...]:  # noqa: ANN401 (a function; checked by the caller)
    code = function.__code__
    constants = tuple(value for value in code.co_consts if value is None or value != function.__doc__)
    return code.co_code, code.co_names, code.co_varnames, constants
