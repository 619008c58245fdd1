"""A model's weights in shares, one per device, by the tensor parallel plan that transformers has for its architecture.

Of two products one behind the other, the first is divided by its outputs ("colwise"), the second by its inputs
("rowwise"), and the second's products are parts of a sum: W2 f(W1 x) = sum over devices of W2[:, d] f(W1[d] x). So are
an adapter's: B by its rows in the first, A by its columns in the second. Attention is divided by heads. Embeddings,
normalisations and the vocabulary's head are whole on every device: beside the layers of a model that needs several,
they are small.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.distributed.configuration_utils import DistributedConfig

from worker.engine.checkpoints.architecture import keeps_state
from worker.engine.checkpoints.quantised import method_of
from worker.engine.parallel.group import Group

_BY_OUTPUTS, _BY_HALVES, _BY_INPUTS = "colwise", "packed_colwise", "rowwise"
_SUMMED = (_BY_INPUTS, "moe_tp_experts", "all_reduce")
_WHOLE = ("replicate", "replicated_with_grad_allreduce", "mla_kv_a_proj")
_KNOWN = (_BY_OUTPUTS, _BY_HALVES, *_SUMMED, "local_params", *_WHOLE)
# Which dimension of a matrix or of a stack of matrices is divided, and into how many parts per device.
_DIVIDED = {_BY_OUTPUTS: (-2, 1), _BY_HALVES: (-2, 2), _BY_INPUTS: (-1, 1)}


def why_not_shared(config: PreTrainedConfig, size: int) -> str | None:
    """Why a model cannot be divided among so many devices, if it cannot."""
    if method_of(config) is not None:
        return "its weights are quantised, and only plain ones are divided among devices"
    if keeps_state(config):
        return "its layers carry a recurrent state, which is not divided among devices"
    plan = _layers(_plan(config))
    if not plan:
        return "transformers has no tensor parallel plan for its architecture, so one device must hold it"
    unknown = sorted(set(plan.values()) - {*_KNOWN})
    if unknown:
        return f"its tensor parallel plan divides layers in a way that the engine does not ({', '.join(unknown)})"
    text = config.get_text_config()
    for name, what in (("num_attention_heads", "attention heads"), ("num_key_value_heads", "key-value heads")):
        number = getattr(text, name, None)
        if isinstance(number, int) and number % size:
            return f"its {number} {what} cannot be divided among {size} devices"
    return _uneven(_without_weights(config), plan, size)


def distributed(config: PreTrainedConfig, size: int) -> DistributedConfig:
    """What transformers must be told to read this device's share of the weights."""
    plan = _plan(config)
    whole = dict.fromkeys(plan.keys() - _layers(plan).keys(), "replicate")
    return DistributedConfig(tp_size=size, tp_plan=whole)


@dataclass(frozen=True, slots=True)
class Shares:
    """How each layer of one model was divided, as one device has its share."""

    styles: Mapping[str, str]
    """How a layer is divided, by its path; whole layers are left out."""
    stacks: Mapping[str, str]
    """How a layer's stack of matrices is divided, by its own path, where a layer has such."""
    group: Group

    def of_adapter(self, path: str, matrix: str, tensor: Tensor) -> Tensor:
        """The share of a LoRA matrix, A or B, that belongs to this device's share of the layer or stack.

        Those of a stack are as PEFT has them, A [experts * rank, in] and B [out, rank * experts].
        """
        style = self.styles.get(path, self.stacks.get(path))
        if matrix == "A" and style == _BY_INPUTS:
            return tensor.chunk(self.group.size, dim=1)[self.group.rank].contiguous()
        if matrix == "B" and style in (_BY_OUTPUTS, _BY_HALVES):
            halves = tensor.chunk(_DIVIDED[style][1])
            return torch.cat([half.chunk(self.group.size)[self.group.rank] for half in halves])
        return tensor

    def sum_in(self, model: PreTrainedModel) -> list[torch.utils.hooks.RemovableHandle]:
        """Add up what the devices make, behind each layer whose products are parts, whatever stands there now."""
        layers = [path for path, style in self.styles.items() if style in _SUMMED]
        return [model.get_submodule(path).register_forward_hook(partial(_summed, self.group)) for path in layers]

    @contextmanager
    def summed(self, model: PreTrainedModel) -> Iterator[None]:
        """As `sum_in`, until the block ends."""
        handles = self.sum_in(model)
        yield
        for handle in handles:
            handle.remove()


def take_shares(model: PreTrainedModel, group: Group) -> Shares:
    """Make plain layers, in place, of what transformers made of a model that it read in shares.

    They lack the sums, which are made where `Shares.sum_in` says.
    """
    styles: dict[str, str] = {}
    stacks: dict[str, str] = {}
    for path, module in model.named_modules():
        style = model.tp_plan.get(re.sub(r"\d+", "*", path), "replicate")
        module.__dict__.pop("forward", None)  # transformers' way around it
        for name, parameter in list(module.named_parameters(recurse=False)):
            if isinstance(parameter, DTensor):
                local = parameter.to_local().detach()
                module.register_parameter(name, nn.Parameter(local, requires_grad=False))
                if (of_stack := model.tp_plan.get(re.sub(r"\d+", "*", f"{path}.{name}"))) is not None:
                    stacks[f"{path}.{name}"] = of_stack
        if style in _WHOLE:
            continue
        styles[path] = style
        if isinstance(module, nn.Linear):
            module.out_features, module.in_features = module.weight.shape
            if style == _BY_INPUTS and group.rank > 0:
                module.register_parameter("bias", None)  # added once
    model._device_mesh = None  # noqa: SLF001 (or PEFT would divide adapters its own way)
    return Shares(styles, stacks, group)


def _summed(group: Group, _module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
    return group.sum(output)


def _plan(config: PreTrainedConfig) -> dict[str, str]:
    """Transformers' plan: how to divide the modules and parameters of each name, `*` for any layer."""
    return dict(_without_weights(config).tp_plan or {})


def _layers(plan: Mapping[str, str]) -> dict[str, str]:
    """The entries of a plan that divide layers."""
    return {name: style for name, style in plan.items() if "*" in name}


def _without_weights(config: PreTrainedConfig) -> PreTrainedModel:
    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, attn_implementation="eager")  # type: ignore[no-untyped-call]  # transformers'
    return model


def _uneven(model: PreTrainedModel, plan: Mapping[str, str], size: int) -> str | None:
    """Which weight cannot be divided evenly, if one cannot."""
    for path, parameter in model.named_parameters():
        name = re.sub(r"\d+", "*", path)
        style = plan.get(name, plan.get(name.removesuffix(".weight"), "replicate"))
        dimension, parts = _DIVIDED.get(style, (-1, 0))
        if parts and parameter.shape[dimension] % (parts * size):
            return f"{path} has a side of {parameter.shape[dimension]}, which cannot be divided among {size} devices"
    return None
