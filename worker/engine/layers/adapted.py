"""Which module takes the place of each layer that PEFT wrapped, and which layers have none."""

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from peft.tuners.lora.layer import Linear as PeftLinear
from peft.tuners.lora.layer import LoraLayer, ParamWrapper
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.models.llama4.modeling_llama4 import Llama4TextExperts
from transformers.pytorch_utils import Conv1D

from worker.engine.layers.experts import RowAdaptedExperts, RowAdaptedLlama4Experts, RowAdaptedRouter, StackUpdate
from worker.engine.layers.lora import MERGE_IT, AdapterRows, RowAdaptedLinear

_STACKS = {"gate_up_proj", "up_proj", "down_proj"}


def adapt_rows(model: PreTrainedModel, names: Sequence[str]) -> AdapterRows:
    """Replace the layers that PEFT wrapped, in place; adapter i + 1 is `names[i]`."""
    rows = AdapterRows(len(names))
    for path, module in list(_wrapped(model)):
        model.set_submodule(path, _adapted(module, names, rows))
    return rows


def why_not_adapted(model: PreTrainedModel) -> str | None:
    """Which layer that PEFT wrapped cannot be replaced, if one cannot."""
    for path, module in _wrapped(model):
        for layer in _nested(module):
            if isinstance(layer, ParamWrapper):
                if not _is_stack(layer) and not _is_matrix(layer):
                    what = "a tensor of no linear layer, router or stack of experts that the engine knows"
                    return f"it adapts {path}.{layer.parameter_name}, {what}: {MERGE_IT}"
            elif type(layer) is not PeftLinear or not _is_linear(layer.base_layer):
                return f"it adapts {path}, which is not a linear layer: {MERGE_IT}"
            if layer.lora_variant:
                return f"it adapts {path} by more than a low-rank update: {MERGE_IT}"
    return None


def _wrapped(model: PreTrainedModel) -> Iterator[tuple[str, LoraLayer]]:
    """The layers that PEFT wrapped, each once however many of its tensors are adapted."""
    inner: set[int] = set()
    for path, module in model.named_modules():
        if isinstance(module, BaseTunerLayer) and id(module) not in inner:
            layer = cast("LoraLayer", module)  # as no other kind is put on a model
            inner.update(id(each) for each in _nested(layer))
            yield path, layer


def _nested(outermost: LoraLayer) -> list[LoraLayer]:
    """PEFT's layers around one of the model's, the outermost first: one for each of its adapted tensors."""
    layers = [outermost]
    while isinstance(within := layers[-1].base_layer, BaseTunerLayer):
        layers.append(cast("LoraLayer", within))
    return layers


def _adapted(layer: LoraLayer, names: Sequence[str], rows: AdapterRows) -> nn.Module:
    base = layer.get_base_layer()
    if not isinstance(layer, ParamWrapper) or _is_linear(base):
        return RowAdaptedLinear(cast("PeftLinear", layer), names, rows)
    if _is_matrix(layer):
        return RowAdaptedRouter(base, layer, names, rows)
    is_llama4 = isinstance(base, Llama4TextExperts)
    is_transposed = is_llama4 or bool(base.is_transposed)
    updates = {
        str(each.parameter_name): StackUpdate(each, names, is_transposed=is_transposed)
        for each in cast("list[ParamWrapper]", _nested(layer))
    }
    return (RowAdaptedLlama4Experts if is_llama4 else RowAdaptedExperts)(base, updates, rows)


def _is_stack(layer: ParamWrapper) -> bool:
    """Whether it adapts the matrices of experts that all run in the way that transformers has for most models."""
    experts = layer.get_base_layer()
    runs_as_most = hasattr(experts, "is_transposed") and not getattr(experts, "has_post_expert_norm", True)
    return layer.parameter_name in _STACKS and (runs_as_most or isinstance(experts, Llama4TextExperts))


def _is_matrix(layer: ParamWrapper) -> bool:
    """Whether it adapts the matrix of a linear layer or of a router, which gives more than a product."""
    base = layer.get_base_layer()
    weight = base.get_parameter(str(layer.parameter_name))
    return layer.parameter_name == "weight" and weight.ndim == 2 and not isinstance(base, nn.Embedding | Conv1D)  # noqa: PLR2004 (a matrix)


@torch.inference_mode()
def _is_linear(layer: nn.Module) -> bool:
    """Whether it gives W x + b and nothing else: routers of experts may be linear layers by their class alone."""
    if type(layer) in (nn.Linear, Conv1D) or not isinstance(layer, nn.Linear):
        return isinstance(layer, nn.Linear | Conv1D)
    x = torch.linspace(-1, 1, layer.in_features, device=layer.weight.device, dtype=layer.weight.dtype)[None]
    y, expected = layer(x), nn.functional.linear(x, layer.weight, layer.bias)
    return isinstance(y, Tensor) and y.shape == expected.shape and torch.allclose(y, expected, rtol=0.1, atol=0.1)
