"""What an adapter's weights belong to in a mixture of experts, read off the weights themselves.

In transformers 4 each expert had layers of its own, and adapters name those; since 5 a model holds them as stacks. PEFT
makes such weights updates of the stacks. How it reads the configuration is left aside: it takes a name that the experts
share with other layers (`down_proj` of shared experts or dense layers) for the experts' alone, knows some architectures
only, and does not keep the scale of halves that it joins where that goes by the root of the rank.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from unittest.mock import patch

from peft import LoraConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import transformers_weight_conversion as conversion
from torch import Tensor, nn
from transformers import PreTrainedModel

PREFIX = "base_model.model."
"""What PEFT puts before the path of a layer."""
_OF_ONE_EXPERT = re.compile(r"\.experts\.\d+\.")


def tensors_named(tensors: Sequence[str], endings: Sequence[str]) -> list[str]:
    """Those of a model's tensors that end as `target_parameters` of an adapter say."""
    return [tensor for tensor in tensors if any(f".{tensor}".endswith(f".{ending}") for ending in endings)]


def names_no_stacks(model: PreTrainedModel, config: LoraConfig) -> bool:
    """Whether a model has stacks of experts of which an adapter's configuration does not speak."""
    return not config.target_parameters and any(_stack_of(module) for module in model.modules())


def as_stacks(
    model: PreTrainedModel, config: LoraConfig, weights: Mapping[str, Tensor], name: str
) -> dict[str, Tensor]:
    """An adapter's weights by the layers and stacks of this model; its configuration will name just those.

    Raises whatever PEFT raises of weights that it cannot join, and AttributeError where the model has no such layer.
    """
    layers = {path for path, _ in model.named_modules()}
    named = {key: matrix for key, matrix in weights.items() if path_of(key) in layers}
    # PEFT's patterns for older names find some of today's as well: shared_experts of Laguna becomes shared_experts..
    older = {key: matrix for key, matrix in weights.items() if key not in named}
    joined = named | conversion.convert_peft_adapter_state_dict_for_transformers(model, config, older, name)
    updates = {path_of(key) for key in joined}
    placed: dict[str, Tensor] = {}
    modules: set[str] = set()
    tensors: set[str] = set()
    for key, matrix in joined.items():
        path = path_of(key)
        owner = path.removesuffix(".base_layer")
        module = plain(model.get_submodule(owner))
        first, stack = _stack_of(module), ""
        if first:
            stack = first if path != owner else "down_proj"
        elif not isinstance(module, nn.Linear) and _is_matrix(module):
            stack = "weight"
        # PEFT has both stacks within one another: alone, the first stands where the second would.
        placed[key if owner in updates else key.replace(f"{path}.lora_", f"{owner}.lora_")] = matrix
        if not stack:
            modules.add(owner)
            continue
        tensors.add(f"{owner}.{stack}")
        if ".lora_A" in key:
            _keep_scale(config, f"{owner}.{stack}", len(matrix) // _depth(module, stack))
    config.target_modules, config.target_parameters = sorted(modules), sorted(tensors)
    config.exclude_modules = config.layers_to_transform = config.layers_pattern = None
    return placed


def are_one_by_one(weights: Mapping[str, Tensor]) -> bool:
    """Whether an adapter has weights for single experts."""
    return any(_OF_ONE_EXPERT.search(key) for key in weights)


@contextmanager
def names_as_they_stand() -> Iterator[None]:
    """Let PEFT take names in a configuration, and those of weights, for this model's own, as they have been made."""
    as_it_is = "convert_peft_adapter_state_dict_for_transformers"
    with (  # there is no public switch
        patch.dict(f"{conversion.__name__}._MODEL_TO_CONVERSION_PATTERN", clear=True),
        patch.object(conversion, as_it_is, lambda *, adapter_state_dict, **_: adapter_state_dict),
    ):
        yield


def path_of(key: str) -> str:
    """The path of the layer that a tensor of an adapter is for."""
    return key.removeprefix(PREFIX).partition(".lora_")[0]


def plain(module: nn.Module) -> nn.Module:
    """The model's own layer, where PEFT has put its own around it."""
    return module.get_base_layer() if isinstance(module, BaseTunerLayer) else module


def _stack_of(module: nn.Module) -> str:
    """The first of two stacks of matrices, where a module holds such."""
    own = dict(module.named_parameters(recurse=False))
    return next((name for name in ("gate_up_proj", "up_proj") if name in own and "down_proj" in own), "")


def _is_matrix(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    return isinstance(weight, nn.Parameter) and weight.ndim == 2 and not isinstance(module, nn.Embedding)  # noqa: PLR2004 (a matrix)


def _depth(module: nn.Module, stack: str) -> int:
    """How many matrices a tensor holds."""
    tensor = module.get_parameter(stack)
    return len(tensor) if tensor.ndim == 3 else 1  # noqa: PLR2004 (a stack)


def _keep_scale(config: LoraConfig, tensor: str, rank: int) -> None:
    """Say of a tensor that it has this rank, and the scale that all have."""
    power = 0.5 if config.use_rslora else 1
    pattern = re.escape(tensor)
    config.rank_pattern = (config.rank_pattern or {}) | {pattern: rank}
    config.alpha_pattern = (config.alpha_pattern or {}) | {pattern: config.lora_alpha * (rank / config.r) ** power}
