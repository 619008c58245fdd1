"""The slow, obvious decoder: one request at a time, every prefix run from the start, each formula as it is written.

Shares no code with the engine: not the noise, not the choice of candidates, not the adapters, not the cache.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Self, TypeAlias

import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel

from tests.engine.models import EOS, Family, peft_on_newer_transformers, read
from worker.engine import Request

LanguageModel: TypeAlias = Callable[[Tensor], Tensor]
"""Token ids [1, n] to the logits [V] of what comes next."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the oracle decodes."""

    token_ids: tuple[int, ...]
    rewards: tuple[float, ...]


class Oracle:
    """Plain transformers and PEFT, one model per name that streams use."""

    def __init__(self, models: Mapping[str, LanguageModel]) -> None:
        self._models = models
        self._known: dict[tuple[str, tuple[int, ...]], list[float]] = {}

    @classmethod
    def of(cls, family: Family) -> Self:
        """On one family's directories."""
        with peft_on_newer_transformers():
            adapted = PeftModel.from_pretrained(read(family.base), family.policy)
        base, reference = read(family.base), read(family.reference)
        return cls({"base": uncached(base), "policy": uncached(adapted), "reference": uncached(reference)})

    def answer(self, request: Request) -> Answer:
        token_ids: list[int] = []
        rewards: list[float] = []
        while len(token_ids) < request.max_tokens:
            token_id, reward = self._next(request, token_ids)
            rewards.append(reward)
            if token_id == EOS:
                break
            token_ids.append(token_id)
        return Answer(tuple(token_ids), tuple(rewards))

    def _next(self, request: Request, token_ids: list[int]) -> tuple[int, float]:
        logits = [self._logits(stream.weights, [*stream.prompt, *token_ids]) for stream in request.streams]
        candidates = sorted(range(len(logits[0])), key=lambda a: (-logits[0][a], a))[: request.k]
        over_vocabulary = [_log_softmax(z) for z in logits]
        over_candidates = [dict(zip(candidates, _log_softmax([z[a] for a in candidates]), strict=True)) for z in logits]
        coefficients = [stream.reward for stream in request.streams]
        score = {
            a: over_vocabulary[0][a]
            + request.strength * sum(c * lp[a] for c, lp in zip(coefficients, over_vocabulary, strict=True))
            for a in candidates
        }
        chosen = _draw(request, score, len(token_ids))
        return chosen, sum(c * lp[chosen] for c, lp in zip(coefficients, over_candidates, strict=True))

    @torch.no_grad()
    def _logits(self, weights: str, prefix: list[int]) -> list[float]:
        key = (weights, tuple(prefix))
        if key not in self._known:
            self._known[key] = self._models[weights](torch.tensor([prefix])).tolist()
        return self._known[key]


def uncached(model: PreTrainedModel | PeftModel) -> LanguageModel:
    def logits(token_ids: Tensor) -> Tensor:
        of_all: Tensor = model(input_ids=token_ids, use_cache=False).logits
        return of_all[0, -1]

    return logits


def behind_a_value_head(model: PreTrainedModel, weight: Tensor, bias: Tensor | None) -> LanguageModel:
    """`lm_head(V h + v)` of the last hidden state h, as in PAD's released code."""

    def logits(token_ids: Tensor) -> Tensor:
        decoder = model.get_decoder()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
        hidden = decoder(input_ids=token_ids, use_cache=False).last_hidden_state[0, -1]
        valued = weight @ hidden if bias is None else weight @ hidden + bias
        of_all: Tensor = model.get_output_embeddings()(valued)  # type: ignore[no-untyped-call]  # as above
        return of_all

    return logits


@cache
def generate_greedily(path: str, text: tuple[int, ...], max_tokens: int) -> tuple[int, ...]:
    """The model's own `generate`, without the end-of-sequence token."""
    ids = read(path).generate(  # type: ignore[operator]  # transformers types it as a tensor
        torch.tensor([text]),
        attention_mask=torch.ones(1, len(text), dtype=torch.long),
        max_new_tokens=max_tokens,
        do_sample=False,
        pad_token_id=0,
    )
    generated = tuple(ids[0, len(text) :].tolist())
    return generated[: generated.index(EOS)] if EOS in generated else generated


def _draw(request: Request, score: dict[int, float], position: int) -> int:
    if request.temperature == 0:
        return max(score, key=lambda a: score[a])
    scaled = {a: value / request.temperature for a, value in score.items()}
    log_probability = dict(zip(scaled, _log_softmax(list(scaled.values())), strict=True))
    nucleus: list[int] = []
    for a in sorted(scaled, key=lambda a: -scaled[a]):
        nucleus.append(a)
        if sum(math.exp(log_probability[b]) for b in nucleus) >= request.top_p:
            break
    return max(nucleus, key=lambda a: scaled[a] + _gumbel(request.seed, position, a))


def _log_softmax(values: Sequence[float]) -> list[float]:
    largest = max(values)
    total = math.log(sum(math.exp(value - largest) for value in values)) + largest
    return [value - total for value in values]


def _gumbel(seed: int, position: int, token_id: int) -> float:
    state = 0
    for value in (seed, position, token_id):
        state = _splitmix64((state ^ value) % 2**64)
    uniform = (2 * (state >> 12) + 1) / 2**53
    return -math.log(-math.log(uniform))


def _splitmix64(state: int) -> int:
    z = (state + 0x9E3779B97F4A7C15) % 2**64
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
    return z ^ (z >> 31)
