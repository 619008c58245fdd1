"""The slow, obvious decoder: one request at a time, every prefix run from the start, each formula as it is written.

Where many requests ask one model, a test may say what it expects: transformers' forward over that text gives what its
forwards over every prefix give, since no token sees a later one. The formulas are applied to it all the same, and where
the text is another, to what its own prefixes give.

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
from worker.engine import Request, Stream

LanguageModel: TypeAlias = Callable[[Tensor], Tensor]
"""Token ids [1, n] to the logits [n, V] of what comes behind each."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the oracle decodes."""

    token_ids: tuple[int, ...]
    rewards: tuple[float, ...]
    kls: tuple[float, ...]
    """KL(guided || base) over the candidates, at each token."""


@dataclass(frozen=True, slots=True)
class Place:
    """What guides one token of a text that is given."""

    token_id: int
    log_probability: float
    reward: float
    strength: float
    kl: float
    candidates: dict[int, tuple[float, float, float]]
    """Log-probability under the base, reward, log-probability under guidance; the most likely first."""


class Oracle:
    """Plain transformers and PEFT, one model per name that streams use."""

    def __init__(self, models: Mapping[str, LanguageModel], end: int = EOS) -> None:
        self._models = models
        self._end = end
        self._known: dict[tuple[str, tuple[int, ...]], list[float]] = {}

    @classmethod
    def of(cls, family: Family) -> Self:
        """On one family's directories."""
        with peft_on_newer_transformers():
            adapted = PeftModel.from_pretrained(read(family.base), family.policy)
        base, reference = read(family.base), read(family.reference)
        return cls({"base": uncached(base), "policy": uncached(adapted), "reference": uncached(reference)})

    def answer(self, request: Request, guess: Sequence[int] = ()) -> Answer:
        """As far as the answer begins like `guess`, it is not every prefix that is run, but all of them at once."""
        if guess:
            for stream in request.streams:
                self._read(stream, guess)
        token_ids: list[int] = []
        rewards: list[float] = []
        kls: list[float] = []
        while len(token_ids) < request.max_tokens:
            token_id, reward, kl = self._next(request, token_ids)
            rewards.append(reward)
            kls.append(kl)
            if token_id == self._end:
                break
            token_ids.append(token_id)
        return Answer(tuple(token_ids), tuple(rewards), tuple(kls))

    def _next(self, request: Request, token_ids: list[int]) -> tuple[int, float, float]:
        logits = [self.logits(stream, token_ids) for stream in request.streams]
        proposed = _processed(request, logits[0], token_ids, self._end)
        candidates = sorted(proposed, key=lambda a: (-proposed[a], a))[: request.k]
        over_candidates = [dict(zip(candidates, _log_softmax([z[a] for a in candidates]), strict=True)) for z in logits]
        coefficients = [stream.reward for stream in request.streams]
        base = dict(zip(candidates, _log_softmax([proposed[a] for a in candidates]), strict=True))
        reward = {a: sum(c * z[a] for c, z in zip(coefficients, logits, strict=True)) for a in candidates}
        strength = _affordable(request, base, reward)
        score = {a: base[a] + strength * reward[a] for a in candidates}
        chosen = _draw(request, score, len(token_ids))
        token_reward = sum(c * lp[chosen] for c, lp in zip(coefficients, over_candidates, strict=True))
        return chosen, token_reward, _kl(score, base)

    def place(self, request: Request, before: Sequence[int], token_id: int) -> Place:
        """What guides a token behind these."""
        logits = [self.logits(stream, before) for stream in request.streams]
        proposed = _processed(request, logits[0], list(before), self._end)
        candidates = sorted(proposed, key=lambda a: (-proposed[a], a))[: request.k]
        norms = [_log_sum([z[a] for a in candidates]) for z in logits]

        def reward(a: int) -> float:
            streams = zip(request.streams, logits, norms, strict=True)
            return sum(stream.reward * (z[a] - norm) for stream, z, norm in streams)

        base = dict(zip(candidates, _log_softmax([proposed[a] for a in candidates]), strict=True))
        rewards = {a: reward(a) for a in candidates}
        guides = any(stream.reward for stream in request.streams)
        strength = _affordable(request, base, rewards) if guides else 0.0
        score = {a: base[a] + strength * rewards[a] for a in candidates}
        guided = dict(zip(score, _log_softmax(list(score.values())), strict=True))
        return Place(
            token_id,
            logits[0][token_id] - _log_sum(logits[0]),
            reward(token_id),
            strength,
            _kl(score, base),
            {a: (base[a], rewards[a], guided[a]) for a in candidates},
        )

    @torch.no_grad()
    def logits(self, stream: Stream, token_ids: Sequence[int]) -> Sequence[float]:
        """Of every token that may follow these."""
        prefix = (*stream.prompt, *token_ids)
        key = (stream.weights, prefix)
        if key not in self._known:
            self._known[key] = self._models[stream.weights](torch.tensor([prefix]))[-1].tolist()
        return self._known[key]

    @torch.no_grad()
    def _read(self, stream: Stream, text: Sequence[int]) -> None:
        """Know the logits of what may follow each beginning of a text."""
        behind_each = self._models[stream.weights](torch.tensor([[*stream.prompt, *text]]))[len(stream.prompt) - 1 :]
        for length, logits in enumerate(behind_each.tolist()):
            self._known[stream.weights, (*stream.prompt, *text[:length])] = logits


def uncached(model: PreTrainedModel | PeftModel) -> LanguageModel:
    def logits(token_ids: Tensor) -> Tensor:
        of_all: Tensor = model(input_ids=token_ids, use_cache=False).logits
        return of_all[0]

    return logits


def behind_a_value_head(model: PreTrainedModel, weight: Tensor, bias: Tensor | None) -> LanguageModel:
    """`lm_head(V h + v)` of each last hidden state h, as in PAD's released code."""

    def logits(token_ids: Tensor) -> Tensor:
        decoder = model.get_decoder()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
        hidden = decoder(input_ids=token_ids, use_cache=False).last_hidden_state[0]
        valued = hidden @ weight.T if bias is None else hidden @ weight.T + bias
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


def _processed(request: Request, logits: Sequence[float], token_ids: list[int], end: int) -> dict[int, float]:
    """The logits of the tokens that may come."""
    bias = dict(request.logit_bias)
    seen = {*request.streams[0].prompt, *token_ids}
    processed = {}
    for a, raw in enumerate(logits):
        z = raw + bias.get(a, 0.0)
        if a in seen:
            z = z / request.repetition_penalty if z > 0 else z * request.repetition_penalty
        z -= request.frequency_penalty * token_ids.count(a)
        z -= request.presence_penalty * (a in token_ids)
        if a != end or len(token_ids) >= request.min_tokens:
            processed[a] = z
    return processed


def _affordable(request: Request, base: dict[int, float], reward: dict[int, float]) -> float:
    """The most of the strength that the budget allows, by halving: the divergence grows with it."""

    def costs(strength: float) -> float:
        return _kl({a: base[a] + strength * reward[a] for a in base}, base)

    if request.max_kl is None or costs(request.strength) <= request.max_kl:
        return request.strength
    low, high = 0.0, request.strength
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break  # no number lies between them
        low, high = (middle, high) if costs(middle) <= request.max_kl else (low, middle)
    return low


def _kl(score: dict[int, float], base: dict[int, float]) -> float:
    guided, unguided = _log_softmax(list(score.values())), _log_softmax(list(base.values()))
    return math.fsum(math.exp(g) * (g - b) for g, b in zip(guided, unguided, strict=True))


def _draw(request: Request, score: dict[int, float], position: int) -> int:
    if request.temperature == 0:
        return max(score, key=lambda a: score[a])
    largest = max(score.values())
    scaled = {a: (value - largest) / request.temperature for a, value in score.items()}
    log_probability = dict(zip(scaled, _log_softmax(list(scaled.values())), strict=True))
    nucleus: list[int] = []
    mass = 0.0
    for a in sorted(scaled, key=lambda a: -scaled[a]):
        nucleus.append(a)
        mass += math.exp(log_probability[a])
        if mass >= request.top_p:
            break
    likely = [a for a in nucleus if math.exp(scaled[a]) >= request.min_p]
    return max(likely, key=lambda a: scaled[a] + _gumbel(request.seed, position, a))


def _log_sum(values: Sequence[float]) -> float:
    largest = max(values)
    return math.log(sum(math.exp(value - largest) for value in values)) + largest


def _log_softmax(values: Sequence[float]) -> list[float]:
    total = _log_sum(values)
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
