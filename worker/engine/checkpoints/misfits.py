"""What is at fault where an adapter does not fit a model: the model, its adapter_config.json or its file of weights."""

import math
import re
from collections.abc import Iterator, Mapping

from peft import LoraConfig
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from worker.engine.checkpoints.experts import PREFIX, path_of, plain

GIVE_ITS_BASE = "give the model that it was trained on as base"
_COPY_BOTH = "copy or download both again"
_COPY_CONFIG = "copy or download it again"
_ADAPTER_NAME = re.compile(r"(?<=\.)(lora_[AB])\.([^.]+)(?=\.weight$)")


class MisfitError(Exception):
    """Its message says why an adapter cannot be used."""


def named_as_saved(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """An adapter's weights as PEFT names them in its files: without the adapter's name, which a state dict has.

    Files hold it that were written by old versions of PEFT or from `state_dict()`. Raises MisfitError where there are
    several names, where matrices are empty, and where one is without the other of its layer.
    """
    names = {found[2] if (found := _ADAPTER_NAME.search(key)) else "" for key in weights if ".lora_" in key}
    if len(names) > 1:
        listed = ", ".join(sorted(name or "one without a name" for name in names))
        message = f"its file holds several adapters ({listed}): save the one that is meant by itself"
        raise MisfitError(message)
    empty = next((key for key, tensor in weights.items() if not tensor.numel()), None)
    if empty is not None:
        how = "gather its parameters before it is saved, as DeepSpeed's third stage divides them among processes"
        message = f"its weights are empty, such as {empty}: {how}"
        raise MisfitError(message)
    named = {_ADAPTER_NAME.sub(r"\1", key): tensor for key, tensor in weights.items()}
    single = next((key for key in named if _other_matrix(key) not in named), None)
    if not named or single is not None:
        what = "nothing" if single is None else f"{single}, and not the other matrix of that layer"
        message = f"its file of weights holds {what}: copy or download it again"
        raise MisfitError(message)
    return named


def why_impossible(config: LoraConfig) -> str | None:
    """Which entry of an adapter's configuration no adapter can have been trained with, if one is such."""
    for name, rank in _entries(config, "r", "rank_pattern"):
        if type(rank) is not int or rank < 1:
            return f"its adapter_config.json states {name}={rank!r}, which is no rank: {_COPY_CONFIG}"
    for name, alpha in _entries(config, "lora_alpha", "alpha_pattern"):
        if not isinstance(alpha, int | float) or not math.isfinite(alpha):
            return f"its adapter_config.json states {name}={alpha!r}, which is no scale: {_COPY_CONFIG}"
    if config.bias not in ("none", "all", "lora_only"):
        return f"its adapter_config.json states bias={config.bias!r}, which PEFT does not know: {_COPY_CONFIG}"
    patterns = [
        config.target_modules,
        config.exclude_modules,
        *(config.rank_pattern or ()),
        *(config.alpha_pattern or ()),
    ]
    for pattern in patterns:
        if isinstance(pattern, str) and not _is_regular(pattern):
            return f"its adapter_config.json names layers by {pattern!r}, no regular expression: {_COPY_CONFIG}"
    return None


def at_fault(model: PreTrainedModel, weights: Mapping[str, Tensor], config_says: str, otherwise: str) -> str:
    """The cause in words, where an adapter's weights (`lora_A` and `lora_B` of layers) and PEFT's layers differ.

    `config_says` is what its configuration says of those layers: it is blamed where the weights fit the model.
    `otherwise` blames the model.
    """
    layers = {path: plain(module) for path, module in model.named_modules()}
    for key in weights:
        path = path_of(key)
        if path in layers and key.startswith(PREFIX):
            continue
        like = next((name for name, layer in layers.items() if f".{path}".endswith(f".{name}") and _sizes(layer)), None)
        if like is None:
            return otherwise
        again = f"{GIVE_ITS_BASE}, or save it with PEFT's save_pretrained, on this one"
        return f"its weights are named {key}, where PEFT names those of this model {PREFIX}{like}: {again}"
    if not weights or not all(_fit(layers, weights, path) for path in {path_of(key) for key in weights}):
        return otherwise
    what = f"its weights fit layers of this model, and its adapter_config.json ({config_says}) says otherwise"
    return f"{what}: {_COPY_BOTH}, or {GIVE_ITS_BASE}"


def _other_matrix(key: str) -> str:
    """The name of B of the layer whose A is named, and the other way round."""
    matrix = "BA"[".lora_B." in key]
    return re.sub(r"\.lora_[AB]\.", f".lora_{matrix}.", key)


def _entries(config: LoraConfig, name: str, pattern: str) -> Iterator[tuple[str, object]]:
    """What is said of all layers and of some, each with its name."""
    yield name, getattr(config, name)
    yield from ((f"{pattern}[{layers!r}]", value) for layers, value in (getattr(config, pattern) or {}).items())


def _is_regular(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True


def _fit(layers: Mapping[str, nn.Module], weights: Mapping[str, Tensor], path: str) -> bool:
    """Whether an adapter has two matrices for this layer, of its sizes and of one rank."""
    pair = [weights.get(f"{PREFIX}{path}.lora_{matrix}.weight") for matrix in "AB"]
    down, up = pair
    if down is None or up is None or down.ndim != 2 or up.ndim != 2:  # noqa: PLR2004 (matrices)
        return False
    return (up.shape[0], down.shape[1]) == _sizes(layers[path]) and len(down) == up.shape[1]


def _sizes(layer: nn.Module) -> tuple[int, int] | None:
    """What a linear layer writes and reads; None for any other."""
    weight = getattr(layer, "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim != 2 or isinstance(layer, nn.Embedding):  # noqa: PLR2004 (a matrix)
        return None
    num_out, num_in = weight.t().shape if isinstance(layer, Conv1D) else weight.shape
    return num_out, num_in
