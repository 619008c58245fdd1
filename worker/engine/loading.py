"""From paths to an engine: which weights share a model, on which device, in which dtype, up to which length."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from worker.engine.adapters import stack_adapters, whole
from worker.engine.architecture import longest_exact
from worker.engine.checkpoints import Checkpoint, quiet_libraries
from worker.engine.devices import devices_of, dtype_of
from worker.engine.engine import Engine
from worker.engine.errors import (
    LengthError,
    NoLengthError,
    PrefillBudgetError,
    SlotsError,
    UnsupportedModelError,
)
from worker.engine.followers import lead
from worker.engine.fused import fuse
from worker.engine.generation import GenerationDefaults
from worker.engine.group import ALONE, Group
from worker.engine.head import ValueHead, vocabulary_layer
from worker.engine.joined import pack
from worker.engine.lora import AdapterRows
from worker.engine.memory import ROWS_PER_SLOT, SHARE_OF_FREE, bytes_per_token, room
from worker.engine.models import EngineModels
from worker.engine.proof import Proof, ordinary_token_ids, special_ids_of
from worker.engine.ranks import Leader
from worker.engine.runner import Runner
from worker.engine.shards import Shares, take_shares, why_not_shared
from worker.engine.streams import StreamWeights
from worker.engine.tokenizer_files import TokenizerFiles
from worker.engine.uneven import UnevenRunner
from worker.engine.validation import Limits
from worker.engine.vocabularies import check_adapter, check_vocabularies

# Prompt tokens of one step, by kind of device: enough to fill its matrix units, and few beside a step's own time.
PREFILL_BUDGETS = {"cpu": 512, "cuda": 4096}
# On a GPU a step that reads prompts is not replayed and costs several that are, so slots are filled in shares.
ADMITTED_SHARE_ON_GPU = 4


@dataclass(frozen=True, slots=True)
class LoadedModels:
    """Models in memory, adapters stacked on the first, and what the names of weights stand for."""

    models: tuple[PreTrainedModel, ...]
    paths: tuple[str, ...]
    weights: Mapping[str, StreamWeights]
    adapters: AdapterRows | None = None
    values: tuple[Mapping[int, ValueHead], ...] = ()
    """Of each model (0) and of the adapters on it, where they have one."""
    proofs: tuple[Proof, ...] = ()
    """Of each model, what its own forward made of some texts; without them, that is asked when it is assembled."""
    end_ids: frozenset[int] = frozenset()
    """Tokens that end a completion besides those that the first model's configurations name."""
    warnings: tuple[str, ...] = ()
    group: Group = ALONE
    """Of the devices that hold them together."""
    shares: tuple[Shares, ...] = ()
    """Of each model, where several devices do."""


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
    cache_bytes: int | None = None,
    tensor_parallel: int = 1,
) -> Engine:
    """An engine with the weights "base" and, where given, "policy" and "reference".

    base is a model directory or Hub id; policy and reference are that, too, or LoRA adapters on base, which are
    stacked on it: their rows share its forward passes. `num_slots` is how many requests are decoded at once, and
    `max_length` bounds prompt and completion together; by default both follow from the memory there is and from what
    the models are decoded exactly for. `prefill_budget` bounds the prompt tokens of one step, `cache_bytes` what the
    key-value cache may take: by default, a share of the memory that is free beside the models. With `tensor_parallel`
    above 1, so many devices hold each model and its cache together: those that `device` names one by one, or the first
    of its kind; `cache_bytes` is what each may take. Raises a ModelError that says what to do.
    """
    if num_slots is not None and num_slots < 1:
        raise SlotsError(num_slots=num_slots)
    if prefill_budget is not None and prefill_budget < 1:
        raise PrefillBudgetError(prefill_budget=prefill_budget)
    devices = devices_of(device, tensor_parallel)
    torch_dtype = dtype_of(dtype, devices[0])
    paths = {"base": base, "policy": policy, "reference": reference}
    with quiet_libraries():
        checkpoints = {
            name: Checkpoint.find(path, is_base=name == "base") for name, path in paths.items() if path is not None
        }
        group = ALONE if len(devices) == 1 else _lead(devices, checkpoints, torch_dtype, max_length)
        try:
            return assemble(
                _load(group, devices[0], checkpoints, torch_dtype, max_length),
                num_slots=num_slots,
                max_length=max_length,
                prefill_budget=prefill_budget,
                cache_bytes=cache_bytes,
            )
        except BaseException:
            group.close()
            raise


def assemble(
    loaded: LoadedModels,
    *,
    num_slots: int | None = None,
    max_length: int | None = None,
    prefill_budget: int | None = None,
    cache_bytes: int | None = None,
) -> Engine:
    """An engine on models in memory, which must use `attention.NAME`; they are changed in place."""
    first = loaded.models[0]
    is_gpu = first.device.type == "cuda"
    limit = _max_length(loaded.paths[0], loaded.models, max_length)
    runners = _runners(loaded, limit)
    # Two streams of one model, or one of each.
    each = [bytes_per_token(runner.bytes_per_token, runner.bytes_per_row) for runner in runners]
    if cache_bytes is None:
        cache_bytes = int(runners[0].free_bytes() * SHARE_OF_FREE)
    fitting = room(cache_bytes, max(ROWS_PER_SLOT * each[0], sum(each)), limit, first.device.type)
    if max_length is None:
        limit = fitting.max_length
    slots = fitting.num_slots if num_slots is None else num_slots
    num_tokens = min(runner.head.vocab_size for runner in runners)
    return Engine(
        _models(loaded, runners, Limits(vocab_size=num_tokens, max_length=limit, weights=tuple(loaded.weights))),
        num_slots=slots,
        prefill_budget=prefill_budget or PREFILL_BUDGETS["cuda" if is_gpu else "cpu"],
        admit_at_least=max(1, slots // ADMITTED_SHARE_ON_GPU) if is_gpu else 1,
        cache_bytes=fitting.cache_bytes,
    )


def _runners(loaded: LoadedModels, max_length: int) -> list[Runner]:
    """One per model, proved; raises UnsupportedModelError."""
    proofs = loaded.proofs or [_proof(model, None, max_length) for model in loaded.models]
    runners = _unproved(loaded, max_length)
    for path, model, runner, proof in zip(loaded.paths, loaded.models, runners, proofs, strict=True):
        cause = proof.why_not_exact(model, runner)
        if cause is not None:
            raise UnsupportedModelError(path=path, cause=cause)
    for runner, values in zip(runners, loaded.values, strict=False):
        runner.head.values = values
    for runner in runners:
        if isinstance(runner, UnevenRunner):
            runner.stand_beside(runners)
    return runners


def _unproved(loaded: LoadedModels, max_length: int) -> list[Runner]:
    """One per model, on every device alike."""
    for model in loaded.models:
        fuse(model)
        pack(model)
    are_even = len({len(vocabulary_layer(model).weight) for model in loaded.models}) == 1
    kind = Runner if are_even else UnevenRunner
    first = loaded.models[0]
    runners = [kind(model, loaded.adapters if model is first else None, max_length) for model in loaded.models]
    for number, (runner, shares) in enumerate(zip(runners, loaded.shares, strict=False)):
        shares.sum_in(loaded.models[number])
        runner.join(loaded.group, number)
    return runners


def _models(loaded: LoadedModels, runners: Sequence[Runner], limits: Limits) -> EngineModels:
    first = loaded.models[0]
    ends = _eos_token_ids(first) | loaded.end_ids
    defaults = GenerationDefaults.of(first.generation_config)
    warnings = [*loaded.warnings]
    if defaults.unsupported:
        warnings.append(
            f"The generation configuration of {loaded.paths[0]!r} asks for {', '.join(defaults.unsupported)}, "
            "which the engine does not do: texts are decoded without."
        )
    if not ends:
        warnings.append(f"No token ends a text of {loaded.paths[0]!r}: every text runs to max_tokens or a stop.")
    return EngineModels(
        runners=tuple(runners),
        weights=loaded.weights,
        limits=limits,
        eos_token_ids=ends,
        device=first.device,
        dtype=first.dtype,
        generation_defaults=defaults,
        warnings=tuple(warnings),
    )


def load_shares(
    group: Group,
    device: torch.device,
    checkpoints: Mapping[str, Checkpoint],
    dtype: torch.dtype,
    max_length: int | None,
) -> list[Runner]:
    """The runners of a follower."""
    with quiet_libraries():
        loaded = _load(group, device, checkpoints, dtype, max_length)
        return _unproved(loaded, _max_length(loaded.paths[0], loaded.models, max_length))


def _lead(
    devices: Sequence[torch.device], checkpoints: Mapping[str, Checkpoint], dtype: torch.dtype, max_length: int | None
) -> Leader:
    """The group of these devices, whose followers load the same; raises what can be said without weights."""
    for checkpoint in checkpoints.values():
        cause = None if checkpoint.is_adapter else why_not_shared(checkpoint.config(), len(devices))
        if cause is not None:
            raise UnsupportedModelError(path=checkpoint.path, cause=cause)
    return lead([*map(str, devices)], checkpoints, dtype, max_length)


def _load(
    group: Group,
    device: torch.device,
    checkpoints: Mapping[str, Checkpoint],
    dtype: torch.dtype,
    max_length: int | None,
) -> LoadedModels:
    base = checkpoints["base"]
    # Two names for one folder are one set of weights.
    others = {c.identity: c for c in checkpoints.values() if c.identity != base.identity}
    adapters = {identity: c for identity, c in others.items() if c.is_adapter}
    full = {base.identity: base} | {identity: c for identity, c in others.items() if identity not in adapters}
    configs = [checkpoint.config() for checkpoint in full.values()]
    models = [c.model(config, dtype, device, group.size) for c, config in zip(full.values(), configs, strict=True)]
    tokenizer = base.tokenizer
    check_vocabularies(base, tokenizer, [*full.values()][1:], [len(vocabulary_layer(model).weight) for model in models])
    for adapter in adapters.values():
        check_adapter(base, tokenizer, adapter)
    limit = _max_length(base.path, models, max_length)
    proofs = [_proof(model, tokenizer, limit) for model in models]
    shares = [take_shares(model, group) for model in models] if group.size > 1 else []
    rows = stack_adapters(
        models[0],
        base.path,
        # PEFT names modules after adapters, so paths, which hold dots, cannot name them.
        {f"adapter_{i}": str(c.folder) for i, c in enumerate(adapters.values(), 1)},
        on_adapter=_expecting(proofs[0], models[0], shares),
        share_of=shares[0].of_adapter if shares else whole,
    )
    places = {identity: StreamWeights(index) for index, identity in enumerate(full)}
    places |= {identity: StreamWeights(0, adapter) for adapter, identity in enumerate(adapters, 1)}
    return LoadedModels(
        models=tuple(models),
        paths=tuple(checkpoint.path for checkpoint in full.values()),
        weights={name: places[checkpoint.identity] for name, checkpoint in checkpoints.items()},
        adapters=rows,
        values=tuple(
            _value_heads(model, [checkpoint, *(adapters.values() if model is models[0] else ())])
            for checkpoint, model in zip(full.values(), models, strict=True)
        ),
        proofs=tuple(proofs),
        end_ids=tokenizer.end_ids,
        warnings=tuple(c.warning for c in (*full.values(), *adapters.values()) if c.warning is not None),
        group=group,
        shares=tuple(shares),
    )


def _expecting(proof: Proof, model: PreTrainedModel, shares: Sequence[Shares]) -> Callable[[int], None]:
    """Notes what the model makes of an adapter."""

    def expect(number: int) -> None:
        with shares[0].summed(model) if shares else nullcontext():
            proof.expect(model, number)

    return expect


def _proof(model: PreTrainedModel, tokenizer: TokenizerFiles | None, max_length: int) -> Proof:
    """What the model's own forward makes of ordinary tokens; `tokenizer` says which those are."""
    size, special = len(vocabulary_layer(model).weight), special_ids_of(model.config)
    if tokenizer is not None:
        special |= tokenizer.special_ids
        size = min(size, tokenizer.vocabulary.size if tokenizer.vocabulary else size)
    proof = Proof(ordinary_token_ids(size, special), max_length)
    proof.expect(model)
    return proof


def _value_heads(model: PreTrainedModel, checkpoints: list[Checkpoint]) -> dict[int, ValueHead]:
    """Of a model's own checkpoint, which comes first, and of its adapters'."""
    heads = {number: checkpoint.value_head(model) for number, checkpoint in enumerate(checkpoints)}
    return {number: head for number, head in heads.items() if head is not None}


def _max_length(path: str, models: Sequence[PreTrainedModel], wanted: int | None) -> int:
    exact = [longest_exact(model.config) for model in models]
    limit = min((limit for limit in exact if limit is not None), default=None)
    if wanted is None:
        if limit is None:
            raise NoLengthError(path=path)
        return limit
    if wanted < 2 or (limit is not None and wanted > limit):  # noqa: PLR2004 (one prompt token, one generated)
        raise LengthError(max_length=wanted, limit=limit or "any length")
    return wanted


def _eos_token_ids(model: PreTrainedModel) -> frozenset[int]:
    """Of the model's configuration and its generation configuration: chat models state their end of turn in either."""
    stated = [getattr(model.generation_config, "eos_token_id", None), model.config.get_text_config().eos_token_id]
    each = (ids if isinstance(ids, list) else [ids] for ids in stated)
    return frozenset(token_id for ids in each for token_id in ids if token_id is not None)
