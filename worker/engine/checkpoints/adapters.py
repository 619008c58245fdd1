"""Reads LoRA adapters with PEFT onto a base model; refuses those that are more than low-rank updates of its layers."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import torch
from peft import LoraConfig, PeftConfig, PeftModel, PeftType, load_peft_weights, set_peft_model_state_dict
from peft.tuners.lora.layer import Linear as PeftLinear
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from worker.engine.checkpoints.files import ADAPTER_CONFIG
from worker.engine.errors import AdapterError
from worker.engine.layers.lora import MERGE_IT, AdapterRows, adapt_rows

# Initialisations that leave the base weights alone; PiSSA, OLoRA and the like move part of them into the adapter.
_NEUTRAL_INITS = {"true", "false", "none", "gaussian", "eva", "orthogonal", "mica"}
_CONVERTIBLE_INITS = ("pissa", "olora", "corda", "lora_ga")
# Options under which an adapter is more than B A on some layers.
_BEYOND_LOW_RANK = (
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "layer_replication",
    "lora_bias",
    "modules_to_save",
    "monteclora_config",
    "trainable_token_indices",
    "use_bdlora",
    "use_dora",
    "use_qalora",
    "velora_config",
)

# Those of them, among others, that PEFT cannot write into the base's weights.
_UNMERGEABLE = {"alora_invocation_tokens", "arrow_config", "layer_replication", "use_qalora"}

GIVE_ITS_BASE = "give the model that it was trained on as base"
TRAIN_LORA = "train a plain LoRA adapter, as PEFT cannot merge this one either"
_UNREADABLE = "its adapter_config.json is none that this version of PEFT reads: save it again, or update PEFT"
_NO_SUCH_LAYERS = "PEFT puts no LoRA on layers of this model by the names it was trained on ({names}): " + GIVE_ITS_BASE
_NO_WEIGHTS = "its weights are missing or broken: copy or download it again"
_NOT_FINITE = "its weights hold values that are not finite, such as {key}: copy or download it again"
_OTHER_SIZES = "its matrices are of other sizes than this model's layers: " + GIVE_ITS_BASE


def whole(_key: str, tensor: Tensor) -> Tensor:
    """An adapter's matrix on a model that one device holds."""
    return tensor


def stack_adapters(
    model: PreTrainedModel,
    base: str,
    paths: Mapping[str, str],
    on_adapter: Callable[[int], None] = lambda _: None,
    share_of: Callable[[str, Tensor], Tensor] = whole,
) -> AdapterRows | None:
    """Put adapters (name to path) on the model, in place and in this order; None where there are none.

    `on_adapter` is called with each one's number, 1 for the first, while the model is what PEFT makes of it and that
    adapter: what the stack is to compute can be read off there. `share_of` gives the part of an adapter's matrix that
    belongs to the model's layer, of the matrix and PEFT's name for it.
    """
    if not paths:
        return None
    stack: PeftModel | None = None
    for name, path in paths.items():
        try:
            stack = _wrapped(model, stack, name, _configuration(path))
            _read_weights(stack, name, path, share_of)
        except _RefusalError as refusal:
            raise AdapterError(path=path, base=base, cause=str(refusal)) from refusal.__cause__
    if stack is not None:
        stack.train(mode=False)
        for number, name in enumerate(paths, 1):
            stack.set_adapter(name)
            on_adapter(number)
    return adapt_rows(model, list(paths))


class _RefusalError(Exception):
    """Why an adapter is not stacked."""


@contextmanager
def _or(cause: str) -> Iterator[None]:
    """Say this of whatever PEFT's readers and tuners raise."""
    try:
        yield
    except Exception as error:
        raise _RefusalError(cause) from error


def _configuration(path: str) -> PeftConfig:
    """What an adapter's folder says; raises where it says that the base's weights were changed."""
    with _or(_UNREADABLE):
        stated = PeftConfig.from_json_file(str(Path(path, ADAPTER_CONFIG)))
        cause = _why_not_neutral(stated.get("init_lora_weights", True))
    if cause is not None:  # said first: to read some of these, PEFT wants packages that nobody else needs
        raise _RefusalError(cause)
    with _peft_on_newer_transformers(), _or(_UNREADABLE):
        config: PeftConfig = PeftConfig.from_pretrained(path)
        return config


def _why_not_neutral(init: object) -> str | None:
    begun = str(init).lower()
    if begun in _NEUTRAL_INITS:
        return None
    as_plain = "save it as plain LoRA (PEFT's path_initial_model_for_weight_conversion)"
    advice = as_plain if begun.startswith(_CONVERTIBLE_INITS) else MERGE_IT
    return f"init_lora_weights={init!r} changes the base weights: {advice}"


def _why_not_plain(config: PeftConfig) -> str | None:
    if config.peft_type != PeftType.LORA or not isinstance(config, LoraConfig):
        kind, advice = PeftType(config.peft_type).value, TRAIN_LORA if config.is_prompt_learning else MERGE_IT
        return f"it is of type {kind}, and only LoRA is stacked: {advice}"
    if getattr(config, "target_parameters", None):
        return f"it updates tensors, as those of experts (target_parameters), not linear layers alone: {MERGE_IT}"
    used = [name for name in _BEYOND_LOW_RANK if getattr(config, name, None)]
    if used:
        advice = TRAIN_LORA if _UNMERGEABLE.intersection(used) else MERGE_IT
        return f"it uses {', '.join(used)}, which is more than a low-rank update: {advice}"
    if config.bias != "none":
        return f"it trained biases (bias={config.bias!r}), which is more than a low-rank update: {MERGE_IT}"
    config.init_lora_weights = False  # the weights are read next
    config.inference_mode = True
    return None


def _wrapped(model: PreTrainedModel, stack: PeftModel | None, name: str, config: PeftConfig) -> PeftModel:
    """The model with PEFT's layers for one more adapter."""
    cause = _why_not_plain(config)
    if cause is None:
        targets = cast("LoraConfig", config).target_modules
        names = targets if isinstance(targets, str) else ", ".join(sorted(targets or ()))
        with _peft_on_newer_transformers(), _or(_NO_SUCH_LAYERS.format(names=names)):
            if stack is None:
                stack = PeftModel(model, config, adapter_name=name, autocast_adapter_dtype=False)
            else:
                stack.add_adapter(name, config, autocast_adapter_dtype=False)
        cause = _why_not_linear(model)
    if cause is not None or stack is None:
        raise _RefusalError(cause)
    return stack


def _read_weights(stack: PeftModel, name: str, path: str, share_of: Callable[[str, Tensor], Tensor]) -> None:
    """Fill the layers of an adapter; raises where the weights do not belong to this base."""
    model: PreTrainedModel = stack.get_base_model()  # type: ignore[assignment]  # PEFT types it as any module
    with _or(_NO_WEIGHTS):
        weights = load_peft_weights(path, device=str(model.device))
    broken = next((key for key, tensor in weights.items() if not tensor.float().isfinite().all()), None)
    if broken is not None:
        raise _RefusalError(_NOT_FINITE.format(key=broken))
    copied = [key for key in weights if ".lora_" not in key and _is_the_models_own(model, key, weights[key])]
    weights = {key: share_of(key, tensor) for key, tensor in weights.items() if key not in copied}
    others = [key for key in weights if ".lora_" not in key]
    if others:
        what = f"{others[0]} and {len(others) - 1} more tensors that are not low-rank updates"
        raise _RefusalError(f"it holds {what}: {MERGE_IT}")
    with _or(_OTHER_SIZES):
        # PEFT annotates the pair of (missing, unexpected) keys by a word that is no type.
        missing, unexpected = cast("tuple[list[str], list[str]]", set_peft_model_state_dict(stack, weights, name))
    foreign = [*unexpected, *(key for key in missing if f".{name}." in key)]
    if foreign:
        what = f"{foreign[0]} and {len(foreign) - 1} more tensors"
        raise _RefusalError(f"it was made for another model, as PEFT reads it: {what} do not match; {GIVE_ITS_BASE}")


def _is_the_models_own(model: PreTrainedModel, key: str, tensor: Tensor) -> bool:
    """Whether an adapter only repeats a weight of its base, as PEFT saves embeddings beside an update of the head."""
    name = key.removeprefix("base_model.model.")
    parts = dict(model.named_parameters(remove_duplicate=False))
    module, _, last = name.rpartition(".")
    own = next((parts[n] for n in (name, f"{module}.base_layer.{last}") if n in parts), None)
    return own is not None and own.shape == tensor.shape and torch.equal(own, tensor.to(own))


@contextmanager
def _peft_on_newer_transformers() -> Iterator[None]:
    """PEFT reads an attribute that transformers has renamed: nothing that whoever loads a model could act on."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield


def _why_not_linear(model: PreTrainedModel) -> str | None:
    for path, module in model.named_modules():
        if not isinstance(module, BaseTunerLayer):
            continue
        if type(module) is not PeftLinear or not _is_linear(module.base_layer):
            return f"it adapts {path}, which is not a linear layer: {MERGE_IT}"
        if module.lora_variant:
            return f"it adapts {path} by more than a low-rank update: {MERGE_IT}"
    return None


@torch.inference_mode()
def _is_linear(layer: nn.Module) -> bool:
    """Whether it gives W x + b and nothing else: routers of experts may be linear layers by their class alone."""
    if type(layer) in (nn.Linear, Conv1D) or not isinstance(layer, nn.Linear):
        return isinstance(layer, nn.Linear | Conv1D)
    x = torch.linspace(-1, 1, layer.in_features, device=layer.weight.device, dtype=layer.weight.dtype)[None]
    y, expected = layer(x), nn.functional.linear(x, layer.weight, layer.bias)
    return isinstance(y, Tensor) and y.shape == expected.shape and torch.allclose(y, expected, rtol=0.1, atol=0.1)
