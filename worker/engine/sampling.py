"""Choosing one of a slot's candidates: greedy, or sampled with temperature and nucleus. Pure functions of tensors.

The noise is a function of (seed, position in the completion, token id) and of nothing else. A sample therefore does not
depend on the slot, the neighbours, the batch size or on how often a request was restarted.
"""

import torch
from torch import Tensor

# The constants of splitmix64 (Steele, Lea & Flood 2014), as signed integers.
_GAMMA = 0x9E3779B97F4A7C15 - 2**64
_MIX_1 = 0xBF58476D1CE4E5B9 - 2**64
_MIX_2 = 0x94D049BB133111EB - 2**64


def most_likely(scores: Tensor, allowed: Tensor) -> Tensor:
    """Index [S] of the allowed candidate with the highest score [S, K]; of equal scores the first."""
    return scores.masked_fill(~allowed, -torch.inf).argmax(-1)


def sample(scores: Tensor, allowed: Tensor, temperature: Tensor, top_p: Tensor, noise: Tensor) -> Tensor:
    """Index [S] of a candidate drawn from the nucleus of softmax(score / temperature).

    scores, allowed and noise [S, K], temperature and top_p [S]. With Gumbel noise g, `argmax(score / temperature + g)`
    is such a draw. Slots with temperature 0 take the most likely candidate.
    """
    greedy = temperature == 0
    scaled = scores.masked_fill(~allowed, -torch.inf) / torch.where(greedy, 1.0, temperature)[:, None]
    drawn = (scaled + noise).masked_fill(~in_nucleus(scaled, top_p), -torch.inf).argmax(-1)
    return torch.where(greedy, most_likely(scores, allowed), drawn)


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
