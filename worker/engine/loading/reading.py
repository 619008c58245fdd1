"""From checkpoints to models in memory: which share weights, which adapters lie on them, what they shall compute."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from worker.engine.checkpoints.adapters import stack_adapters
from worker.engine.checkpoints.adapters import whole as undivided
from worker.engine.checkpoints.architecture import longest_exact
from worker.engine.checkpoints.checkpoint import Checkpoint
from worker.engine.checkpoints.tokenizer_files import TokenizerFiles, why_unlike
from worker.engine.checkpoints.vocabularies import check_adapter
from worker.engine.cross_tokenizer.loading import crossings_between
from worker.engine.cross_tokenizer.texts import Crossing
from worker.engine.errors import (
    LengthError,
    NoLengthError,
)
from worker.engine.layers.head import ValueHead, vocabulary_layer
from worker.engine.layers.lora import AdapterRows
from worker.engine.layers.uneven_experts import loop_over_uneven_experts
from worker.engine.loading.proof import Proof, ordinary_token_ids, special_ids_of
from worker.engine.parallel.group import ALONE, Group
from worker.engine.parallel.shards import Shares, take_shares
from worker.engine.streams import StreamWeights


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """One set of shared weights in memory, what lies on it, and what is known of it."""

    path: str
    model: PreTrainedModel
    adapters: AdapterRows | None = None
    values: Mapping[int, ValueHead] = field(default_factory=dict)
    """Value heads of the model (0) and of the adapters on it, where they have one."""
    proof: Proof | None = None
    """What its own forward made of some texts; without one, that is asked when it is assembled."""
    shares: Shares | None = None
    """How it is divided; None where one device holds it."""


@dataclass(frozen=True, slots=True)
class LoadedModels:
    """The models of one engine, the base first, and what the names of weights stand for."""

    models: tuple[LoadedModel, ...]
    weights: Mapping[str, StreamWeights]
    end_ids: frozenset[int] = frozenset()
    """Tokens that end a completion besides those that the base's configurations name."""
    warnings: tuple[str, ...] = ()
    crossings: Mapping[int, Crossing] = field(default_factory=dict)
    """How models, by number, read what the base writes, where their tokenizers differ."""
    group: Group = ALONE
    """The devices that hold them together."""


def read_models(
    group: Group,
    device: torch.device,
    checkpoints: Mapping[str, Checkpoint],
    dtype: torch.dtype,
    max_length: int | None,
) -> LoadedModels:
    """The models of these checkpoints, with their adapters on them; raises a ModelError."""
    base = checkpoints["base"]
    # Two names for one folder are one set of weights.
    distinct = {checkpoint.identity: checkpoint for checkpoint in checkpoints.values()} | {base.identity: base}
    wholes = [checkpoint for checkpoint in distinct.values() if not checkpoint.is_adapter]
    adapters = [checkpoint for checkpoint in distinct.values() if checkpoint.is_adapter]
    configs = [whole.config() for whole in wholes]
    tokenizer = base.tokenizer
    groups = [ALONE if why_unlike(tokenizer, whole.tokenizer) else group for whole in wholes]
    models = [
        whole.model(config, dtype, device, holders.size)
        for whole, config, holders in zip(wholes, configs, groups, strict=True)
    ]
    for model in models:
        loop_over_uneven_experts(model)
    sizes = [len(vocabulary_layer(model).weight) for model in models]
    crossings = crossings_between(wholes, sizes, tokenizer, eos_token_ids_of(models[0]) | tokenizer.end_ids)
    tokenizers = [whole.tokenizer if number in crossings else tokenizer for number, whole in enumerate(wholes)]
    host = _host(checkpoints, wholes, crossings)
    for adapter in adapters:
        check_adapter(wholes[host], tokenizers[host], adapter)
    limit = longest_of(base.path, configs, max_length)
    proofs = [proof_of(model, own, limit) for model, own in zip(models, tokenizers, strict=True)]
    places = {whole.identity: StreamWeights(number) for number, whole in enumerate(wholes)}
    places |= {adapter.identity: StreamWeights(host, number) for number, adapter in enumerate(adapters, 1)}
    return LoadedModels(
        models=tuple(
            _finished(model, [wholes[number], *(adapters if number == host else [])], proofs[number], groups[number])
            for number, model in enumerate(models)
        ),
        crossings=crossings,
        weights={name: places[checkpoint.identity] for name, checkpoint in checkpoints.items()},
        end_ids=tokenizer.end_ids,
        warnings=tuple(each.warning for each in (*wholes, *adapters) if each.warning is not None),
        group=group,
    )


def _host(checkpoints: Mapping[str, Checkpoint], wholes: Sequence[Checkpoint], crossed: Collection[int]) -> int:
    """The number of the model that adapters are on: the base, or a reference whose tokens differ from the base's."""
    reference = checkpoints.get("reference")
    places = {whole.identity: number for number, whole in enumerate(wholes)}
    place = 0 if reference is None else places.get(reference.identity, 0)
    return place if place in crossed else 0


def _finished(model: PreTrainedModel, checkpoints: Sequence[Checkpoint], proof: Proof, group: Group) -> LoadedModel:
    """A model as this device holds it, with the adapters that come behind its own checkpoint.

    What it makes of each adapter is noted for the proof.
    """
    whole, *adapters = checkpoints
    shares = None if group is ALONE else take_shares(model, group)
    rows = stack_adapters(
        model,
        whole.path,
        # PEFT names modules after adapters, so paths, which hold dots, cannot name them.
        {f"adapter_{number}": str(adapter.folder) for number, adapter in enumerate(adapters, 1)},
        on_adapter=_expecting(proof, model, shares),
        share_of=undivided if shares is None else shares.of_adapter,
    )
    heads = enumerate(checkpoint.value_head(model) for checkpoint in checkpoints)
    values = {number: head for number, head in heads if head is not None}
    return LoadedModel(whole.path, model, rows, values, proof, shares)


def _expecting(proof: Proof, model: PreTrainedModel, shares: Shares | None) -> Callable[[int], None]:
    """Notes what the model makes of an adapter."""

    def expect(number: int) -> None:
        with nullcontext() if shares is None else shares.summed(model):
            proof.expect(model, number)

    return expect


def proof_of(model: PreTrainedModel, tokenizer: TokenizerFiles | None, max_length: int) -> Proof:
    """What the model's own forward makes of ordinary tokens; `tokenizer` says which those are."""
    size, special = len(vocabulary_layer(model).weight), special_ids_of(model.config)
    if tokenizer is not None:
        special |= tokenizer.special_ids
        size = min(size, tokenizer.vocabulary.size if tokenizer.vocabulary else size)
    proof = Proof(ordinary_token_ids(size, special), max_length)
    proof.expect(model)
    return proof


def longest_of(path: str, configs: Sequence[PreTrainedConfig], wanted: int | None) -> int:
    """Most tokens of prompt and completion: as wanted, or else all for which each model is decoded exactly."""
    exact = [longest_exact(config) for config in configs]
    limit = min((limit for limit in exact if limit is not None), default=None)
    if wanted is None:
        if limit is None:
            raise NoLengthError(path=path)
        return limit
    if wanted < 2 or (limit is not None and wanted > limit):  # noqa: PLR2004 (one prompt token, one generated)
        raise LengthError(max_length=wanted, limit=limit or "any length")
    return wanted


def eos_token_ids_of(model: PreTrainedModel) -> frozenset[int]:
    """The end tokens that its configuration and its generation configuration name: chat models state them in either."""
    configs = (model.generation_config, model.config.get_text_config())
    stated = [getattr(config, "eos_token_id", None) for config in configs]  # not every configuration has the entry
    each = (ids if isinstance(ids, list) else [ids] for ids in stated)
    return frozenset(token_id for ids in each for token_id in ids if token_id is not None)
