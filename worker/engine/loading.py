"""From paths to an engine: which weights share a model, on which device, in which dtype, up to which length."""

from collections.abc import Mapping

import torch
from transformers import PreTrainedModel

from worker.engine.adapters import stack_adapters
from worker.engine.architecture import longest_exact, why_not_exact
from worker.engine.checkpoints import Checkpoint, first_line, no_progress_bars
from worker.engine.engine import Engine, Models
from worker.engine.errors import (
    DeviceError,
    DtypeError,
    LengthError,
    NoLengthError,
    SlotsError,
    UnsupportedModelError,
    VocabularyMismatchError,
)
from worker.engine.runner import Runner, vocabulary_head
from worker.engine.streams import Weights
from worker.engine.validation import Limits

PREFILL_BUDGET = 4096
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_engine(
    base: str,
    policy: str | None = None,
    reference: str | None = None,
    *,
    device: str = "auto",
    dtype: str = "auto",
    num_slots: int = 32,
    max_length: int | None = None,
    prefill_budget: int = PREFILL_BUDGET,
) -> Engine:
    """An engine with the weights "base" and, where given, "policy" and "reference".

    base is a model directory or Hub id; policy and reference are that, too, or LoRA adapters on base, which are
    stacked on it: their rows share its forward passes. `max_length` bounds prompt and completion together; the default
    is the longest for which the models are decoded exactly (their positions, and the smallest attention window).
    `prefill_budget` bounds the prompt tokens of one step. Raises a ModelError that says what to do.
    """
    if num_slots < 1:
        raise SlotsError(num_slots=num_slots)
    torch_device = _device(device)
    torch_dtype = _dtype(dtype, torch_device)
    checkpoints = {"base": base, "policy": policy, "reference": reference}
    with no_progress_bars():
        models = _load(
            {name: Checkpoint(path) for name, path in checkpoints.items() if path is not None},
            torch_device,
            torch_dtype,
            max_length,
        )
    return Engine(models, num_slots=num_slots, prefill_budget=prefill_budget)


def _load(
    checkpoints: Mapping[str, Checkpoint], device: torch.device, dtype: torch.dtype, max_length: int | None
) -> Models:
    for checkpoint in checkpoints.values():
        checkpoint.check_exists()
    base = checkpoints["base"]
    # Two names for one directory are one set of weights.
    others = {c.identity: c for name, c in checkpoints.items() if name != "base" and c.identity != base.identity}
    adapters = {identity: c for identity, c in others.items() if c.is_adapter}
    full = {base.identity: base} | {identity: c for identity, c in others.items() if identity not in adapters}
    configs = {identity: checkpoint.config() for identity, checkpoint in full.items()}
    limit = _max_length(base, [longest_exact(config) for config in configs.values()], max_length)
    loaded = [checkpoint.model(configs[identity], dtype, device) for identity, checkpoint in full.items()]
    vocab_size = _common_vocabulary(list(full.values()), loaded)
    # PEFT names modules after adapters, so paths, which hold dots, cannot name them.
    rows = stack_adapters(loaded[0], base.path, {f"adapter_{i}": c.path for i, c in enumerate(adapters.values(), 1)})
    runners = [Runner(model, rows if model is loaded[0] else None, limit) for model in loaded]
    for checkpoint, model, runner in zip(full.values(), loaded, runners, strict=True):
        _prove(checkpoint, model, runner, vocab_size)
    places = {identity: Weights(index) for index, identity in enumerate(full)}
    places |= {identity: Weights(0, adapter) for adapter, identity in enumerate(adapters, 1)}
    return Models(
        runners=tuple(runners),
        weights={name: places[checkpoint.identity] for name, checkpoint in checkpoints.items()},
        limits=Limits(vocab_size=vocab_size, max_length=limit, weights=tuple(checkpoints)),
        eos_token_ids=_eos_token_ids(loaded[0]),
        device=device,
        dtype=dtype,
    )


def _max_length(base: Checkpoint, limits: list[int | None], wanted: int | None) -> int:
    limit = min((limit for limit in limits if limit is not None), default=None)
    if wanted is None:
        if limit is None:
            raise NoLengthError(path=base.path)
        return limit
    if wanted < 2 or (limit is not None and wanted > limit):  # noqa: PLR2004 (one prompt token, one generated)
        raise LengthError(max_length=wanted, limit=limit or "any length")
    return wanted


def _common_vocabulary(checkpoints: list[Checkpoint], models: list[PreTrainedModel]) -> int:
    """The vocabulary's size, once it is known that a token id means the same to all models."""
    base = checkpoints[0]
    sizes = [len(vocabulary_head(model).weight) for model in models]
    for checkpoint, size in zip(checkpoints, sizes, strict=True):
        if size != sizes[0]:
            raise VocabularyMismatchError(path=checkpoint.path, base=base.path, cause=f"{size} and {sizes[0]} tokens")
    expected = base.vocabulary() if len(checkpoints) > 1 else None
    for checkpoint in checkpoints[1:]:
        vocabulary = checkpoint.vocabulary()
        if expected is not None and vocabulary is not None and vocabulary != expected:
            raise VocabularyMismatchError(path=checkpoint.path, base=base.path, cause="their tokenizers differ")
    return sizes[0]


def _prove(checkpoint: Checkpoint, model: PreTrainedModel, runner: Runner, vocab_size: int) -> None:
    cause = why_not_exact(model, runner, vocab_size)
    if cause is not None:
        raise UnsupportedModelError(path=checkpoint.path, cause=cause)


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
