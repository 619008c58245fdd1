"""Choosing one of a slot's candidates: greedy, or sampled with temperature and nucleus. Pure functions of tensors.

The noise is a function of (seed, position in the completion, token id) and of nothing else. A sample therefore does not
depend on the slot, the neighbours, the batch size or on how often a request was restarted.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

# The constants of splitmix64 (Steele, Lea & Flood 2014), as signed integers.
_GAMMA = 0x9E3779B97F4A7C15 - 2**64
_MIX_1 = 0xBF58476D1CE4E5B9 - 2**64
_MIX_2 = 0x94D049BB133111EB - 2**64
_PART_SIZE = {"cpu": 2**18, "cuda": 2**25}
"""Logits of whole vocabularies that are sampled at once: what fits a cache, and what fits beside a model."""


def most_likely(scores: Tensor, allowed: Tensor) -> Tensor:
    """Index [S] of the allowed candidate with the highest score [S, K]; of equal scores the first."""
    return scores.masked_fill(~allowed, -torch.inf).argmax(-1)


@dataclass(frozen=True, slots=True)
class Tail:
    """What of a distribution is not sampled."""

    top_p: Tensor | None
    """[S]; None where it is 1 everywhere and nobody pays for it."""
    min_p: Tensor
    """[S]."""


def sample(scores: Tensor, allowed: Tensor, temperature: Tensor, tail: Tail, noise: Tensor) -> Tensor:
    """Index [S] of a candidate drawn from softmax(score / temperature) without its tail.

    scores, allowed and noise [S, K], temperature [S]. With Gumbel noise g,
    `argmax(score / temperature + g)` is such a draw. Slots with temperature 0 take the most likely candidate.
    """
    scores = scores.masked_fill(~allowed, -torch.inf)
    greedy = temperature == 0
    # Where the best is 0, a tiny temperature sends the others to -inf, and nothing to nan.
    scaled = (scores - scores.amax(-1, keepdim=True)) / torch.where(greedy, 1.0, temperature)[:, None]
    kept = scaled >= tail.min_p.log()[:, None]
    if tail.top_p is not None:
        kept &= in_nucleus(scaled, tail.top_p)
    drawn = (scaled + noise).masked_fill(~kept, -torch.inf).argmax(-1)
    return torch.where(greedy, most_likely(scores, allowed), drawn)


def sample_vocabulary(logits: Tensor, temperature: Tensor, tail: Tail, seed: Tensor, position: Tensor) -> Tensor:
    """Token ids [W] as `sample` draws them with all tokens as candidates: logits [W, V], the others [W]."""
    num_rows = max(1, _PART_SIZE[logits.device.type] // logits.shape[1])
    token_ids = torch.arange(logits.shape[1], device=logits.device)
    drawn = []
    for start in range(0, len(logits), num_rows):
        rows = slice(start, start + num_rows)
        scores = logits[rows].double()
        part = Tail(None if tail.top_p is None else tail.top_p[rows], tail.min_p[rows])
        noise = gumbel_noise(seed[rows], position[rows], token_ids.expand(len(scores), -1))
        drawn.append(sample(scores, scores > -torch.inf, temperature[rows], part, noise))
    return torch.cat(drawn)


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
