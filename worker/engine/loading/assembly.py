"""From paths to an engine: on which devices, in which dtype, up to which length, with how many slots."""

from collections.abc import Mapping, Sequence

import torch

from worker.engine.cache.memory import ROWS_PER_SLOT, SHARE_OF_FREE, SHORTEST_USEFUL, bytes_per_token, sizes_within
from worker.engine.checkpoints.checkpoint import Checkpoint, quiet_libraries
from worker.engine.checkpoints.generation import GenerationDefaults
from worker.engine.checkpoints.tokenizer_files import why_unlike
from worker.engine.cross_tokenizer.loading import guide_length
from worker.engine.cross_tokenizer.proof import prove_trees
from worker.engine.cross_tokenizer.runner import TOKENS_PER_TOKEN, TextRunner
from worker.engine.cross_tokenizer.texts import Texts
from worker.engine.engine import Engine
from worker.engine.errors import CacheBytesError, PrefillBudgetError, SlotsError, UnsupportedModelError
from worker.engine.forwards import forward_of
from worker.engine.layers.fused import fuse
from worker.engine.layers.fused_layers import fuse_layers
from worker.engine.layers.head import VocabularyHead, vocabulary_layer
from worker.engine.layers.joined import pack
from worker.engine.loading.devices import devices_of, dtype_of
from worker.engine.loading.reading import LoadedModels, eos_token_ids_of, longest_of, proof_of, read_models
from worker.engine.models import EngineModels
from worker.engine.parallel.followers import lead
from worker.engine.parallel.group import ALONE, Group
from worker.engine.parallel.ranks import Leader
from worker.engine.parallel.shards import why_not_shared
from worker.engine.runner import Runner
from worker.engine.uneven_runner import UnevenRunner
from worker.engine.validation import Limits, OwnTokens

# Prompt tokens of one step, by kind of device: enough to fill its matrix units, and few beside a step's own time.
PREFILL_BUDGETS = {"cpu": 512, "cuda": 4096}
# On a GPU a step that reads prompts is not replayed and costs several that are, so slots are filled in shares.
ADMITTED_SHARE_ON_GPU = 4


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
    stacked on it: their rows share its forward passes. Where reference is a model with another tokenizer, policy is an
    adapter on that, or a model: they judge the texts that the base proposes in their own tokens. `num_slots` is how
    many requests are decoded at once, and `max_length` bounds prompt and completion together; by default both follow
    from the memory there is and from what the models are decoded exactly for. `prefill_budget` bounds the prompt tokens
    of one step, `cache_bytes` what the key-value cache may take: by default, a share of the memory that is free beside
    the models. With `tensor_parallel` above 1, so many devices hold each model and its cache together: those that
    `device` names one by one, or the first of its kind; `cache_bytes` is what each may take. Models that judge texts
    are the first device's alone. Raises a ModelError that says what to do.
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
                read_models(group, devices[0], checkpoints, torch_dtype, max_length),
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
    base = loaded.models[0]
    device = base.model.device
    limit = _longest(loaded, max_length)
    runners = _runners(loaded, limit)
    per_token = _bytes_per_token(runners)
    if cache_bytes is None:
        cache_bytes = int(runners[0].free_bytes() * SHARE_OF_FREE)
    else:
        _check_cache_bytes(cache_bytes, per_token, limit)
    fitting = sizes_within(cache_bytes, per_token, limit, device.type)
    if max_length is None:
        limit = fitting.max_length
    slots = fitting.num_slots if num_slots is None else num_slots
    return Engine(
        _models(loaded, runners, _limits(loaded, runners, limit)),
        num_slots=slots,
        prefill_budget=prefill_budget or PREFILL_BUDGETS.get(device.type, PREFILL_BUDGETS["cpu"]),
        admit_at_least=max(1, slots // ADMITTED_SHARE_ON_GPU) if device.type == "cuda" else 1,
        cache_bytes=fitting.cache_bytes,
    )


def _limits(loaded: LoadedModels, runners: Sequence[Runner], max_length: int) -> Limits:
    guides = {name: runners[weights.model] for name, weights in loaded.weights.items()}
    return Limits(
        vocab_size=min(runner.head.vocab_size for runner in runners if runner.proposes),
        max_length=max_length,
        weights=tuple(loaded.weights),
        own_tokens={
            name: OwnTokens(guide.head.vocab_size, guide.max_length, TOKENS_PER_TOKEN)
            for name, guide in guides.items()
            if not guide.proposes
        },
    )


def _check_cache_bytes(cache_bytes: int, per_token: int, max_length: int) -> None:
    """Raise CacheBytesError where no request of a useful length would fit: each would be refused for its length."""
    num_tokens = min(SHORTEST_USEFUL, max_length)
    if cache_bytes < num_tokens * per_token:
        raise CacheBytesError(cache_bytes=cache_bytes, num_tokens=num_tokens, needed=num_tokens * per_token)


def _bytes_per_token(runners: Sequence[Runner]) -> int:
    """Bytes of all caches for a token of a guided request: two streams of the base, or one of each model."""
    each = [bytes_per_token(runner.bytes_per_token, runner.bytes_per_row) for runner in runners]
    of_streams = [
        size * ROWS_PER_SLOT * TOKENS_PER_TOKEN if isinstance(runner, TextRunner) else size
        for size, runner in zip(each, runners, strict=True)
    ]
    return max(ROWS_PER_SLOT * each[0], sum(of_streams))


def _longest(loaded: LoadedModels, max_length: int | None) -> int:
    return longest_of(loaded.models[0].path, [one.model.config for one in loaded.models], max_length)


def _runners(loaded: LoadedModels, max_length: int) -> list[Runner]:
    """The runners, one per model, proved; raises UnsupportedModelError."""
    proofs = [one.proof or proof_of(one.model, None, max_length) for one in loaded.models]
    runners = _unproved(loaded, max_length)
    for one, runner, proof in zip(loaded.models, runners, proofs, strict=True):
        cause = proof.why_not_exact(one.model, runner)
        if cause is not None:
            raise UnsupportedModelError(path=one.path, cause=cause)
        runner.head.values = one.values
    for number, crossing in loaded.crossings.items():
        guide = runners[number] = TextRunner(runners[number], Texts(crossing))
        on_it = {weights.adapter for weights in loaded.weights.values() if weights.model == number}
        prove_trees(loaded.models[number].path, loaded.models[number].model, guide, on_it)
    proposing = [runner for runner in runners if runner.proposes]
    for runner in proposing:
        if isinstance(runner, UnevenRunner):
            runner.stand_beside(proposing)
    return runners


def _unproved(loaded: LoadedModels, max_length: int) -> list[Runner]:
    """The runners, one per model, as every device makes them; not proved yet."""
    for one in loaded.models:
        fuse(one.model)
        if one.shares is None:  # what a layer adds up among devices lies between its operations
            fuse_layers(one.model)
        pack(one.model)
    own = [one.model for number, one in enumerate(loaded.models) if number not in loaded.crossings]
    are_even = len({len(vocabulary_layer(model).weight) for model in own}) == 1
    runners: list[Runner] = []
    for number, one in enumerate(loaded.models):
        is_crossed = number in loaded.crossings
        kind = Runner if is_crossed or are_even else UnevenRunner
        limit = guide_length(one.model, max_length) if is_crossed else max_length
        runner = kind(forward_of(one.model, one.adapters, limit), VocabularyHead(one.model))
        if one.shares is not None:
            one.shares.sum_in(one.model)
            runner.join(loaded.group, number)
        runners.append(runner)
    return runners


def _models(loaded: LoadedModels, runners: Sequence[Runner], limits: Limits) -> EngineModels:
    base = loaded.models[0]
    ends = eos_token_ids_of(base.model) | loaded.end_ids
    defaults = GenerationDefaults.of(base.model.generation_config)
    warnings = [*loaded.warnings]
    if defaults.unsupported:
        warnings.append(
            f"The generation configuration of {base.path!r} asks for {', '.join(defaults.unsupported)}, "
            "which the engine does not do: texts are decoded without."
        )
    if not ends:
        warnings.append(f"No token ends a text of {base.path!r}: every text runs to max_tokens or a stop.")
    return EngineModels(
        runners=tuple(runners),
        weights=loaded.weights,
        limits=limits,
        eos_token_ids=ends,
        device=base.model.device,
        dtype=base.model.dtype,
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
        loaded = read_models(group, device, checkpoints, dtype, max_length)
        return _unproved(loaded, _longest(loaded, max_length))


def _lead(
    devices: Sequence[torch.device], checkpoints: Mapping[str, Checkpoint], dtype: torch.dtype, max_length: int | None
) -> Leader:
    """The group of these devices, whose followers load the same; raises what can be said without weights."""
    base = checkpoints["base"]
    wholes = {name: checkpoint for name, checkpoint in checkpoints.items() if not checkpoint.is_adapter}
    foreign = {name for name, whole in wholes.items() if why_unlike(base.tokenizer, whole.tokenizer)}
    for name, checkpoint in wholes.items():
        cause = None if name in foreign else why_not_shared(checkpoint.config(), len(devices))
        if cause is not None:
            raise UnsupportedModelError(path=checkpoint.path, cause=cause)
    if foreign:  # guides that judge texts are the leader's alone, with the adapters on them
        max_length = longest_of(base.path, [whole.config() for whole in wholes.values()], max_length)
        checkpoints = {"base": base}
    return lead([*map(str, devices)], checkpoints, dtype, max_length)
