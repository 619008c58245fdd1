"""From checkpoints to models in memory: which share weights, which adapters lie on them, what they shall compute."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from worker.engine.checkpoints.adapters import stack_adapters, whole
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
from worker.engine.parallel.group import ALONE, Group
from worker.engine.parallel.shards import Shares, take_shares
from worker.engine.proof import Proof, ordinary_token_ids, special_ids_of
from worker.engine.streams import StreamWeights


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
    host: int = 0
    """The model that the adapters are on."""
    crossings: Mapping[int, Crossing] = field(default_factory=dict)
    """How models read what the first one writes, where their tokenizers differ."""
    group: Group = ALONE
    """Of the devices that hold them together."""
    shares: tuple[Shares | None, ...] = ()
    """Of each model, where several devices do: None of those that the first of them holds alone."""


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
    others = {c.identity: c for c in checkpoints.values() if c.identity != base.identity}
    adapters = {identity: c for identity, c in others.items() if c.is_adapter}
    full = {base.identity: base} | {identity: c for identity, c in others.items() if identity not in adapters}
    configs = [checkpoint.config() for checkpoint in full.values()]
    tokenizer = base.tokenizer
    wholes = [*full.values()]
    num_shares = [1 if why_unlike(tokenizer, whole.tokenizer) else group.size for whole in wholes]
    models = [
        whole.model(config, dtype, device, number)
        for whole, config, number in zip(wholes, configs, num_shares, strict=True)
    ]
    sizes = [len(vocabulary_layer(model).weight) for model in models]
    crossings = crossings_between(wholes, sizes, tokenizer, eos_token_ids_of(models[0]) | tokenizer.end_ids)
    tokenizers = [whole.tokenizer if number in crossings else tokenizer for number, whole in enumerate(wholes)]
    host = _host(checkpoints, wholes, crossings)
    for adapter in adapters.values():
        check_adapter(wholes[host], tokenizers[host], adapter)
    limit = longest_of(base.path, configs, max_length)
    proofs = [proof_of(model, own, limit) for model, own in zip(models, tokenizers, strict=True)]
    shares = [take_shares(model, group) if n > 1 else None for model, n in zip(models, num_shares, strict=True)]
    rows = _stacked([*adapters.values()], wholes[host].path, models[host], proofs[host], shares[host])
    places = {identity: StreamWeights(index) for index, identity in enumerate(full)}
    places |= {identity: StreamWeights(host, adapter) for adapter, identity in enumerate(adapters, 1)}
    return LoadedModels(
        models=tuple(models),
        paths=tuple(checkpoint.path for checkpoint in full.values()),
        weights={name: places[checkpoint.identity] for name, checkpoint in checkpoints.items()},
        adapters=rows,
        values=tuple(
            _value_heads(model, [checkpoint, *(adapters.values() if model is models[host] else ())])
            for checkpoint, model in zip(full.values(), models, strict=True)
        ),
        proofs=tuple(proofs),
        end_ids=tokenizer.end_ids,
        warnings=tuple(c.warning for c in (*full.values(), *adapters.values()) if c.warning is not None),
        group=group,
        shares=tuple(shares),
        host=host,
        crossings=crossings,
    )


def _host(checkpoints: Mapping[str, Checkpoint], wholes: Sequence[Checkpoint], crossed: Collection[int]) -> int:
    """The model that adapters are on: the base, or a reference whose tokens differ from the base's."""
    reference = checkpoints.get("reference")
    places = {whole.identity: number for number, whole in enumerate(wholes)}
    place = 0 if reference is None else places.get(reference.identity, 0)
    return place if place in crossed else 0


def _stacked(
    adapters: Sequence[Checkpoint], path: str, model: PreTrainedModel, proof: Proof, shares: Shares | None
) -> AdapterRows | None:
    """The adapters on the model of this path, of each of which the proof notes what the model makes with it."""
    return stack_adapters(
        model,
        path,
        # PEFT names modules after adapters, so paths, which hold dots, cannot name them.
        {f"adapter_{number}": str(adapter.folder) for number, adapter in enumerate(adapters, 1)},
        on_adapter=_expecting(proof, model, shares),
        share_of=whole if shares is None else shares.of_adapter,
    )


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


def _value_heads(model: PreTrainedModel, checkpoints: list[Checkpoint]) -> dict[int, ValueHead]:
    """Of a model's own checkpoint, which comes first, and of its adapters'."""
    heads = {number: checkpoint.value_head(model) for number, checkpoint in enumerate(checkpoints)}
    return {number: head for number, head in heads.items() if head is not None}


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
    """Of the model's configuration and its generation configuration: chat models state their end of turn in either."""
    configs = (model.generation_config, model.config.get_text_config())
    stated = [getattr(config, "eos_token_id", None) for config in configs]  # not every configuration has the entry
    each = (ids if isinstance(ids, list) else [ids] for ids in stated)
    return frozenset(token_id for ids in each for token_id in ids if token_id is not None)
