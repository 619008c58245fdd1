"""From paths to an engine: which weights share a model, on which device, in which dtype, up to which length."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from worker.engine.adapters import stack_adapters
from worker.engine.architecture import longest_exact, why_not_exact
from worker.engine.checkpoints import Checkpoint, first_line, quiet_libraries
from worker.engine.engine import Engine
from worker.engine.errors import (
    DeviceError,
    DtypeError,
    LengthError,
    NoLengthError,
    PrefillBudgetError,
    SlotsError,
    UnsupportedModelError,
    VocabularyMismatchError,
)
from worker.engine.fused import fuse_norms
from worker.engine.head import ValueHead, vocabulary_layer
from worker.engine.lora import AdapterRows
from worker.engine.memory import ROWS_PER_SLOT, free_bytes, room
from worker.engine.models import Models
from worker.engine.packed import can_pack, pack
from worker.engine.runner import Runner
from worker.engine.streams import Weights
from worker.engine.validation import Limits

# Prompt tokens of one step, by kind of device: enough to fill its matrix units, and few beside a step's own time.
PREFILL_BUDGETS = {"cpu": 512, "cuda": 4096}
# On a GPU a step that reads prompts is not replayed and costs several that are, so slots are filled in shares.
ADMITTED_SHARE_ON_GPU = 4
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class LoadedModels:
    """Models in memory, adapters stacked on the first, and what the names of weights stand for."""

    models: tuple[PreTrainedModel, ...]
    paths: tuple[str, ...]
    weights: Mapping[str, Weights]
    adapters: AdapterRows | None = None
    values: tuple[Mapping[int, ValueHead], ...] = ()
    """Of each model (0) and of the adapters on it, where they have one."""


def load_engine(
    base: str,
    policy: str | None = None,
    reference: str | None = None,
    *,
    device: str = "auto",
    dtype: str = "auto",
    num_slots: int | None = None,
    max_length: int | None = None,
    prefill_budget: int | None = None,
) -> Engine:
    """An engine with the weights "base" and, where given, "policy" and "reference".

    base is a model directory or Hub id; policy and reference are that, too, or LoRA adapters on base, which are
    stacked on it: their rows share its forward passes. `num_slots` is how many requests are decoded at once, and
    `max_length` bounds prompt and completion together; by default both follow from the memory there is and from what
    the models are decoded exactly for. `prefill_budget` bounds the prompt tokens of one step. Raises a ModelError that
    says what to do.
    """
    if num_slots is not None and num_slots < 1:
        raise SlotsError(num_slots=num_slots)
    if prefill_budget is not None and prefill_budget < 1:
        raise PrefillBudgetError(prefill_budget=prefill_budget)
    torch_device = _device(device)
    torch_dtype = _dtype(dtype, torch_device)
    checkpoints = {"base": base, "policy": policy, "reference": reference}
    with quiet_libraries():
        loaded = _load(
            {name: Checkpoint(path) for name, path in checkpoints.items() if path is not None},
            torch_device,
            torch_dtype,
        )
        return assemble(loaded, num_slots=num_slots, max_length=max_length, prefill_budget=prefill_budget)


def assemble(
    loaded: LoadedModels,
    *,
    num_slots: int | None = None,
    max_length: int | None = None,
    prefill_budget: int | None = None,
) -> Engine:
    """An engine on models in memory, which must use `attention.NAME`; they are changed in place."""
    first = loaded.models[0]
    limit = _max_length(loaded.paths[0], [longest_exact(model.config) for model in loaded.models], max_length)
    vocab_size = len(vocabulary_layer(first).weight)
    if can_pack(first.dtype, first.device):
        for model in loaded.models:
            pack(model)
    if first.device.type == "cuda":
        for model in loaded.models:
            fuse_norms(model)
    runners = [Runner(model, loaded.adapters if model is first else None, limit) for model in loaded.models]
    for path, model, runner in zip(loaded.paths, loaded.models, runners, strict=True):
        _prove(path, model, runner, vocab_size)
    for runner, values in zip(runners, loaded.values, strict=False):
        runner.head.values = values
    # Two streams of one model, or one of each.
    bytes_per_token = max(ROWS_PER_SLOT * runners[0].bytes_per_token, sum(runner.bytes_per_token for runner in runners))
    fitting = room(free_bytes(first.device), bytes_per_token, limit, first.device.type)
    if max_length is None:
        limit = fitting.max_length
    slots = fitting.num_slots if num_slots is None else num_slots
    is_gpu = first.device.type == "cuda"
    return Engine(
        Models(
            runners=tuple(runners),
            weights=loaded.weights,
            limits=Limits(vocab_size=vocab_size, max_length=limit, weights=tuple(loaded.weights)),
            eos_token_ids=_eos_token_ids(first),
            device=first.device,
            dtype=first.dtype,
        ),
        num_slots=slots,
        prefill_budget=prefill_budget or PREFILL_BUDGETS["cuda" if is_gpu else "cpu"],
        admit_at_least=max(1, slots // ADMITTED_SHARE_ON_GPU) if is_gpu else 1,
    )


def _load(checkpoints: Mapping[str, Checkpoint], device: torch.device, dtype: torch.dtype) -> LoadedModels:
    for checkpoint in checkpoints.values():
        checkpoint.check_exists()
    base = checkpoints["base"]
    # Two names for one directory are one set of weights.
    others = {c.identity: c for name, c in checkpoints.items() if name != "base" and c.identity != base.identity}
    adapters = {identity: c for identity, c in others.items() if c.is_adapter}
    full = {base.identity: base} | {identity: c for identity, c in others.items() if identity not in adapters}
    configs = {identity: checkpoint.config() for identity, checkpoint in full.items()}
    models = [checkpoint.model(configs[identity], dtype, device) for identity, checkpoint in full.items()]
    _check_vocabularies(list(full.values()), models)
    # PEFT names modules after adapters, so paths, which hold dots, cannot name them.
    rows = stack_adapters(models[0], base.path, {f"adapter_{i}": c.path for i, c in enumerate(adapters.values(), 1)})
    places = {identity: Weights(index) for index, identity in enumerate(full)}
    places |= {identity: Weights(0, adapter) for adapter, identity in enumerate(adapters, 1)}
    return LoadedModels(
        models=tuple(models),
        paths=tuple(checkpoint.path for checkpoint in full.values()),
        weights={name: places[checkpoint.identity] for name, checkpoint in checkpoints.items()},
        adapters=rows,
        values=tuple(
            _value_heads(model, [checkpoint, *(adapters.values() if model is models[0] else ())])
            for checkpoint, model in zip(full.values(), models, strict=True)
        ),
    )


def _value_heads(model: PreTrainedModel, checkpoints: list[Checkpoint]) -> dict[int, ValueHead]:
    """Of a model's own checkpoint, which comes first, and of its adapters'."""
    heads = {number: checkpoint.value_head(model) for number, checkpoint in enumerate(checkpoints)}
    return {number: head for number, head in heads.items() if head is not None}


def _max_length(path: str, limits: list[int | None], wanted: int | None) -> int:
    limit = min((limit for limit in limits if limit is not None), default=None)
    if wanted is None:
        if limit is None:
            raise NoLengthError(path=path)
        return limit
    if wanted < 2 or (limit is not None and wanted > limit):  # noqa: PLR2004 (one prompt token, one generated)
        raise LengthError(max_length=wanted, limit=limit or "any length")
    return wanted


def _check_vocabularies(checkpoints: list[Checkpoint], models: list[PreTrainedModel]) -> None:
    """Raise VocabularyMismatchError unless a token id means the same to all models."""
    base = checkpoints[0]
    sizes = [len(vocabulary_layer(model).weight) for model in models]
    for checkpoint, size in zip(checkpoints, sizes, strict=True):
        if size != sizes[0]:
            raise VocabularyMismatchError(path=checkpoint.path, base=base.path, cause=f"{size} and {sizes[0]} tokens")
    expected = base.vocabulary() if len(checkpoints) > 1 else None
    for checkpoint in checkpoints[1:]:
        vocabulary = checkpoint.vocabulary()
        if expected is not None and vocabulary is not None and vocabulary != expected:
            raise VocabularyMismatchError(path=checkpoint.path, base=base.path, cause="their tokenizers differ")


def _prove(path: str, model: PreTrainedModel, runner: Runner, vocab_size: int) -> None:
    cause = why_not_exact(model, runner, vocab_size)
    if cause is not None:
        raise UnsupportedModelError(path=path, cause=cause)


def _eos_token_ids(model: PreTrainedModel) -> frozenset[int]:
    """Of the generation configuration, which chat models extend by their end of turn, else of the model's."""
    stated = getattr(model.generation_config, "eos_token_id", None)
    if stated is None:
        stated = model.config.get_text_config().eos_token_id
    return frozenset(stated if isinstance(stated, list) else () if stated is None else (stated,))


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError) as error:  # a torch built without CUDA asserts
        raise DeviceError(device=name, cause=first_line(error)) from error
    return device


def _dtype(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if name not in _DTYPES:
        raise DtypeError(dtype=name)
    return _DTYPES[name]
