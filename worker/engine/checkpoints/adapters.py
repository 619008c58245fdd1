"""Reads LoRA adapters with PEFT onto a base model; refuses those that are more than low-rank updates of its layers."""

import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TypeAlias, cast

import torch
from peft import LoraConfig, PeftConfig, PeftModel, PeftType, load_peft_weights, set_peft_model_state_dict
from peft.tuners.lora.layer import ParamWrapper
from torch import Tensor
from transformers import PreTrainedModel

from worker.engine.checkpoints.experts import (
    PREFIX,
    are_one_by_one,
    as_stacks,
    names_as_they_stand,
    names_no_stacks,
    path_of,
    tensors_named,
)
from worker.engine.checkpoints.files import ADAPTER_CONFIG
from worker.engine.checkpoints.misfits import (
    GIVE_ITS_BASE,
    MisfitError,
    at_fault,
    named_as_saved,
    why_impossible,
)
from worker.engine.errors import AdapterError
from worker.engine.layers.adapted import adapt_rows, why_not_adapted
from worker.engine.layers.lora import MERGE_IT, AdapterRows

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

# Those of them, among others, that PEFT cannot write into the base's weights, and kinds of adapters that it cannot.
_UNMERGEABLE = {"alora_invocation_tokens", "arrow_config", "layer_replication", "use_qalora"}
_UNMERGEABLE_TYPES = {"ADAPTION_PROMPT", "LILY", "POLY", "SHADOW", "XLORA"}

_NAMED = 7
"""How many names of layers a refusal repeats: as many as a block of a transformer usually has."""
TRAIN_LORA = "train a plain LoRA adapter, as PEFT cannot merge this one either"
_UNREADABLE = "its adapter_config.json is none that this version of PEFT reads: save it again, or update PEFT"
_NO_SUCH_LAYERS = "PEFT puts no LoRA on layers of this model by the names it was trained on ({names}): " + GIVE_ITS_BASE
_NOT_JOINED = (
    "it was trained on experts one by one, and PEFT cannot join what it holds to updates of this model's stacks: "
    "merge it with the versions of transformers and PEFT that it was trained with, and give the merged model instead"
)
_OWN_RANKS = (
    "it was trained on experts one by one with ranks or scales of their own (rank_pattern, alpha_pattern), which PEFT "
    f"does not join: train it with one for all, or {MERGE_IT}"
)
_OTHER_TENSORS = (
    "it adapts other tensors (target_parameters) than the adapter beside it, and PEFT stacks only such as adapt the "
    f"same: {MERGE_IT}"
)
_NO_WEIGHTS = "its weights are missing or broken: copy or download it again"
_NOT_FINITE = "its weights hold values that are not finite, such as {key}: copy or download it again"
_OTHER_SIZES = "its matrices are of other sizes than this model's layers: " + GIVE_ITS_BASE


ShareOf: TypeAlias = Callable[[str, str, Tensor], Tensor]
"""Of the path of a layer or tensor, "A" or "B", and an adapter's matrix for it: the part that this device holds."""


def whole(_path: str, _matrix: str, tensor: Tensor) -> Tensor:
    """An adapter's matrix on a model that one device holds."""
    return tensor


def stack_adapters(
    model: PreTrainedModel,
    base: str,
    paths: Mapping[str, str],
    on_adapter: Callable[[int], None] = lambda _: None,
    share_of: ShareOf = whole,
) -> AdapterRows | None:
    """Put adapters (name to path) on the model, in place and in this order; None where there are none.

    `on_adapter` is called with each one's number, 1 for the first, while the model is what PEFT makes of it and that
    adapter: what the stack is to compute can be read off there. `share_of` gives the part of an adapter's matrix that
    belongs to the model's layer.
    """
    if not paths:
        return None
    stack: PeftModel | None = None
    tensors = [name for name, _ in model.named_parameters()]
    for name, path in paths.items():
        try:
            config = _configuration(path)
            weights = _placed(model, config, _weights(path, model.device), name)
            config.target_parameters = tensors_named(tensors, config.target_parameters or ()) or None
            stack = _wrapped(model, stack, name, config, weights)
            _fill(stack, name, weights, share_of)
        except MisfitError as refusal:
            raise AdapterError(path=path, base=base, cause=str(refusal)) from refusal.__cause__
    if stack is not None:
        stack.train(mode=False)
        for number, name in enumerate(paths, 1):
            stack.set_adapter(name)
            on_adapter(number)
    return adapt_rows(model, list(paths))


@contextmanager
def _or(cause: str | Callable[[], str]) -> Iterator[None]:
    """Say this of whatever PEFT's readers and tuners raise."""
    try:
        yield
    except Exception as error:
        raise MisfitError(cause if isinstance(cause, str) else cause()) from error


def _configuration(path: str) -> LoraConfig:
    """What an adapter's folder says; raises where it is more than a low-rank update of layers of its base."""
    with _or(_UNREADABLE):
        stated = PeftConfig.from_json_file(str(Path(path, ADAPTER_CONFIG)))
        cause = _why_not_neutral(stated.get("init_lora_weights", True))
    if cause is not None:  # said first: to read some of these, PEFT wants packages that nobody else needs
        raise MisfitError(cause)
    with _quiet_peft(), _or(_UNREADABLE):
        config: PeftConfig = PeftConfig.from_pretrained(path)
    cause = _why_not_plain(config)
    if cause is not None or not isinstance(config, LoraConfig):
        raise MisfitError(cause)
    config.init_lora_weights = False  # the weights are read next
    config.inference_mode = True
    config.megatron_config = None  # for layers of Megatron's own, of which no model of transformers has one
    config.lora_dropout = 0.0  # of training alone, and more than PEFT puts on experts
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
        kind = PeftType(config.peft_type).value
        advice = TRAIN_LORA if config.is_prompt_learning or kind in _UNMERGEABLE_TYPES else MERGE_IT
        return f"it is of type {kind}, and only LoRA is stacked: {advice}"
    impossible = why_impossible(config)
    if impossible is not None:
        return impossible
    used = [name for name in _BEYOND_LOW_RANK if getattr(config, name, None)]
    if used:
        advice = TRAIN_LORA if _UNMERGEABLE.intersection(used) else MERGE_IT
        return f"it uses {', '.join(used)}, which is more than a low-rank update: {advice}"
    if config.bias != "none":
        return f"it trained biases (bias={config.bias!r}), which is more than a low-rank update: {MERGE_IT}"
    return None


def _weights(path: str, device: torch.device) -> dict[str, Tensor]:
    """What an adapter's folder holds; raises where that is no file of finite numbers."""
    with _or(_NO_WEIGHTS):
        read: dict[str, Tensor] = load_peft_weights(path, device=str(device))
    weights = named_as_saved(read)
    broken = next((key for key, tensor in weights.items() if not tensor.float().isfinite().all()), None)
    if broken is not None:
        raise MisfitError(_NOT_FINITE.format(key=broken))
    return weights


def _placed(model: PreTrainedModel, config: LoraConfig, weights: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """An adapter's weights by the layers and tensors of this model, which its configuration names from now on."""
    if not names_no_stacks(model, config):
        return weights
    updates = _updates(weights)
    one_by_one = are_one_by_one(updates)
    if one_by_one and (config.rank_pattern or config.alpha_pattern):
        raise MisfitError(_OWN_RANKS)
    with _or(_NOT_JOINED if one_by_one else lambda: _why_no_layers(model, config, updates)):
        placed = as_stacks(model, config, updates, name)
    return placed | {key: tensor for key, tensor in weights.items() if key not in updates}


def _updates(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in weights.items() if ".lora_" in key}


def _named(targets: str | Collection[str] | None) -> str:
    names = [targets] if isinstance(targets, str) else sorted(targets or ())
    others = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + others


def _why_no_layers(model: PreTrainedModel, config: LoraConfig, updates: Mapping[str, Tensor]) -> str:
    """What to say where PEFT finds no layers of the names in a configuration."""
    names = _named(config.target_modules or config.target_parameters)
    return at_fault(model, updates, f"target_modules: {names}", _NO_SUCH_LAYERS.format(names=names))


def _wrapped(
    model: PreTrainedModel, stack: PeftModel | None, name: str, config: LoraConfig, weights: Mapping[str, Tensor]
) -> PeftModel:
    """The model with PEFT's layers for one more adapter."""
    if stack is not None and config.target_parameters:
        others = [getattr(other, "target_parameters", None) for other in stack.peft_config.values()]
        if any(other and other != config.target_parameters for other in others):
            raise MisfitError(_OTHER_TENSORS)
    with _quiet_peft(), names_as_they_stand(), _or(lambda: _why_no_layers(model, config, _updates(weights))):
        if stack is None:
            stack = PeftModel(model, config, adapter_name=name, autocast_adapter_dtype=False)
        else:
            stack.add_adapter(name, config, autocast_adapter_dtype=False)
    cause = why_not_adapted(model)
    if cause is not None:
        raise MisfitError(cause)
    return stack


def _fill(stack: PeftModel, name: str, weights: Mapping[str, Tensor], share_of: ShareOf) -> None:
    """Fill the layers of an adapter; raises where the weights do not belong to this base."""
    model: PreTrainedModel = stack.get_base_model()  # type: ignore[assignment]  # PEFT types it as any module
    updates = _updates(weights)
    others = [key for key in weights if key not in updates and not _is_the_models_own(model, key, weights[key])]
    if others:
        what = f"{others[0]} and {len(others) - 1} more tensors that are not low-rank updates"
        raise MisfitError(f"it holds {what}: {MERGE_IT}")
    config = cast("LoraConfig", stack.peft_config[name])
    with _or(_OTHER_SIZES):
        shares = {key: share_of(*_adapted(stack, key), tensor) for key, tensor in updates.items()}
    layers = {path for path, _ in model.named_modules()}
    is_named_so = all(path_of(key) in layers for key in shares)  # other names are older ones, which PEFT may know
    with (
        names_as_they_stand() if is_named_so else nullcontext(),
        _or(lambda: at_fault(model, shares, f"r={config.r}", _OTHER_SIZES)),
    ):
        # PEFT annotates the pair of (missing, unexpected) keys by a word that is no type.
        missing, unexpected = cast("tuple[list[str], list[str]]", set_peft_model_state_dict(stack, shares, name))
    foreign = [*unexpected, *(key for key in missing if f".{name}." in key)]
    if foreign:
        what = f"{foreign[0].replace(f'.{name}.', '.')} and {len(foreign) - 1} more tensors"
        made_for_another = f"it was made for another model, as PEFT reads it: {what} do not match; {GIVE_ITS_BASE}"
        raise MisfitError(at_fault(model, shares, f"by which {what} are missing or too many", made_for_another))


def _adapted(stack: PeftModel, key: str) -> tuple[str, str]:
    """The path of the layer or tensor that a matrix of an adapter is for, and which of the two matrices it is."""
    path, _, matrix = key.partition(".lora_")
    parts = path.split(".")
    try:
        layer = stack.get_submodule(path)
    except AttributeError:
        layer = None  # which PEFT will say
    if isinstance(layer, ParamWrapper):
        parts = [*(part for part in parts if part != "base_layer"), layer.parameter_name]
    return ".".join(parts).removeprefix(PREFIX), matrix[:1]


def _is_the_models_own(model: PreTrainedModel, key: str, tensor: Tensor) -> bool:
    """Whether an adapter only repeats a weight of its base, as PEFT saves embeddings beside an update of the head."""
    name = key.removeprefix(PREFIX)
    parts = dict(model.named_parameters(remove_duplicate=False))
    module, _, last = name.rpartition(".")
    own = next((parts[n] for n in (name, f"{module}.base_layer.{last}") if n in parts), None)
    return own is not None and own.shape == tensor.shape and torch.equal(own, tensor.to(own))


@contextmanager
def _quiet_peft() -> Iterator[None]:
    """Without warnings that whoever loads a model could not act on.

    PEFT reads an attribute that transformers has renamed, and calls ranks and scales ignored that it takes for tensors.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        warnings.filterwarnings("ignore", "The following (rank|alpha)_pattern keys did not match", RuntimeWarning)
        yield
