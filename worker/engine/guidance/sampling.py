"""Choosing one of a slot's candidates, or of all tokens: greedy, or sampled. Pure functions of tensors.

The noise is a function of (seed, position in the completion, token id) and of nothing else. A sample therefore does not
depend on the slot, the neighbours, the batch size or on how often a request was restarted.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from worker.engine.guidance.steering import propose

# The constants of splitmix64 (Steele, Lea & Flood 2014), as signed integers.
_GAMMA = 0x9E3779B97F4A7C15 - 2**64
_MIX_1 = 0xBF58476D1CE4E5B9 - 2**64
_MIX_2 = 0x94D049BB133111EB - 2**64
_PART_SIZE = {"cpu": 2**18, "cuda": 2**25}
"""Logits of whole vocabularies that are sampled at once: what fits a cache, and what fits beside a model."""
_HEAD_SIZE = 1024
"""Most likely tokens in which a nucleus is looked for, before all are sorted."""


def most_likely(scores: Tensor, allowed: Tensor) -> Tensor:
    """Index [S] of the allowed candidate with the highest score [S, K]; of equal scores the first."""
    return scores.masked_fill(~allowed, -torch.inf).argmax(-1)


@dataclass(frozen=True, slots=True)
class Tail:
    """Which unlikely candidates of each slot are never drawn: those outside top_p, and those below min_p."""

    top_p: Tensor | None
    """[S]; None where it is 1 everywhere and nobody pays for it."""
    min_p: Tensor
    """[S]."""

    def of(self, slots: Tensor) -> "Tail":
        """The same, of the slots [m] that are named by their indices."""
        return Tail(None if self.top_p is None else self.top_p[slots], self.min_p[slots])


@dataclass(frozen=True, slots=True)
class Draw:
    """What the noise of a draw is made from: each slot's seed and the position of its token, int64 [S] each."""

    seed: Tensor
    position: Tensor

    def of(self, slots: Tensor) -> "Draw":
        """The same, of the slots [m] that are named by their indices."""
        return Draw(self.seed[slots], self.position[slots])


def sample(scores: Tensor, allowed: Tensor, temperature: Tensor, tail: Tail, noise: Tensor) -> Tensor:
    """Index [S] of a candidate drawn from softmax(score / temperature) without its tail.

    scores, allowed and noise [S, K], temperature [S]. With Gumbel noise g, `argmax(score / temperature + g)` is such a
    draw. Slots with temperature 0 take the most likely candidate.
    """
    greedy = temperature == 0
    scaled = _scaled(scores.masked_fill(~allowed, -torch.inf), torch.where(greedy, 1.0, temperature))
    return torch.where(greedy, most_likely(scores, allowed), _perturbed(scaled, tail, noise).argmax(-1))


def sample_vocabulary(logits: Tensor, temperature: Tensor, tail: Tail, draw: Draw) -> Tensor:
    """Token ids [W] as `sample` draws them with all tokens as candidates: logits [W, V], temperature [W], not 0."""
    if tail.top_p is None or not logits.is_cpu:  # looking at values costs a synchronisation elsewhere
        return _sample_all(logits, temperature, tail, draw)
    heads = [_sample_head(logits[rows], temperature[rows], tail.of(rows), draw.of(rows)) for rows in _parts(logits)]
    token_ids, is_inside = (torch.cat(parts) for parts in zip(*heads, strict=True))
    wide = (~is_inside).nonzero()[:, 0]
    if len(wide):
        token_ids[wide] = _sample_all(logits[wide], temperature[wide], tail.of(wide), draw.of(wide))
    return token_ids


def _parts(logits: Tensor) -> tuple[Tensor, ...]:
    """Indices of rows that are sampled at once."""
    size = max(1, _PART_SIZE[logits.device.type] // logits.shape[1])
    return torch.split(torch.arange(len(logits), device=logits.device), size)


def _sample_all(logits: Tensor, temperature: Tensor, tail: Tail, draw: Draw) -> Tensor:
    token_ids = torch.arange(logits.shape[1], device=logits.device)
    drawn = []
    for rows in _parts(logits):
        scaled = _scaled(logits[rows].double(), temperature[rows])
        part = draw.of(rows)
        noise = gumbel_noise(part.seed, part.position, token_ids.expand(len(rows), -1))
        drawn.append(_perturbed(scaled, tail.of(rows), noise).argmax(-1))
    return torch.cat(drawn)


def _sample_head(logits: Tensor, temperature: Tensor, tail: Tail, draw: Draw) -> tuple[Tensor, Tensor]:
    """Token ids [W] by the most likely tokens alone, and whether [W] the nucleus lies within them.

    Most nuclei do, and then neither the vocabulary is sorted nor noise made for all of it.
    """
    head = propose(logits, min(_HEAD_SIZE, logits.shape[1])).token_ids
    scaled = _scaled(logits.double(), temperature)
    total = scaled.logsumexp(-1, keepdim=True)
    scaled = scaled.gather(1, head)  # [W, head]
    until = (scaled - total).exp().cumsum(-1)
    top_p = torch.ones_like(temperature) if tail.top_p is None else tail.top_p
    noise = gumbel_noise(draw.seed, draw.position, head)
    perturbed = _perturbed(scaled, Tail(None, tail.min_p), noise)
    perturbed[:, 1:].masked_fill_(until[:, :-1] >= top_p[:, None], -torch.inf)
    return head.gather(1, perturbed.argmax(-1, keepdim=True))[:, 0], until[:, -1] >= top_p


def _perturbed(scaled: Tensor, tail: Tail, noise: Tensor) -> Tensor:
    """[S, K], the largest of a slot is its sample; -inf in the tail."""
    kept = scaled >= tail.min_p.log()[:, None]
    if tail.top_p is not None:
        kept &= in_nucleus(scaled, tail.top_p)
    return (scaled + noise).masked_fill_(~kept, -torch.inf)


def _scaled(scores: Tensor, temperature: Tensor) -> Tensor:
    """[S, K], the best of each slot 0: a tiny temperature then sends the others to -inf, and nothing to nan."""
    return (scores - scores.amax(-1, keepdim=True)) / temperature[:, None]


def in_nucleus(scaled: Tensor, top_p: Tensor) -> Tensor:
    """[S, K], the fewest candidates that add up to a probability of top_p [S]: less than that lies before each."""
    descending, order = scaled.softmax(-1).sort(stable=True, dim=-1, descending=True)
    before = descending.cumsum(-1) - descending
    inside = (before < top_p[:, None]) | (top_p[:, None] >= 1)  # rounding must not cut the tail of a whole distribution
    return torch.empty_like(inside).scatter_(-1, order, inside)


def gumbel_noise(seed: Tensor, position: Tensor, token_ids: Tensor) -> Tensor:
    """Standard Gumbel noise [S, K], float64, for seeds [S], positions [S] and token ids [S, K]."""
    return -(-uniforms(seed, position, token_ids).log()).log()


def uniforms(seed: Tensor, position: Tensor, token_ids: Tensor) -> Tensor:
    """Numbers [S, K] strictly between 0 and 1, float64: odd multiples of 2**-53, so neither end can be reached."""
    state = _absorb(_absorb(torch.zeros_like(seed), seed), position)
    bits = _absorb(state[:, None], token_ids)
    return ((_shift_right(bits, 12) << 1) + 1).double() * 2.0**-53


def _absorb(state: Tensor, value: Tensor) -> Tensor:
    """Hash a value into the state: one step of splitmix64, integers modulo 2**64."""
    z = (state ^ value) + _GAMMA
    z = (z ^ _shift_right(z, 30)) * _MIX_1
    z = (z ^ _shift_right(z, 27)) * _MIX_2
    return z ^ _shift_right(z, 31)


def _shift_right(value: Tensor, places: int) -> Tensor:
    """Logical shift; `>>` copies the sign bit."""
    return (value >> places) & ((1 << (64 - places)) - 1)
