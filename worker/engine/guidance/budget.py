"""How much of the strength a budget of divergence allows. Pure functions of tensors; knows no streams.

Guidance tilts the base distribution b over a slot's candidates by its reward r: g_s(a) ~ b(a) exp(s r(a)). Along s,
KL(g_s || b) has the derivative s Var_s(r): it only grows, so the largest s within a budget can be searched for.
"""

import torch
from torch import Tensor

_NUM_POINTS = 64
_NUM_ROUNDS = 9
"""Together they narrow the logarithm of s to 1 / 64**9 of the widest range of float64: below 1e-13."""


def divergence(scores: Tensor, base: Tensor, allowed: Tensor) -> Tensor:
    """KL(softmax(scores) || softmax(base)) over the allowed candidates, in nats: [S, K] each -> [S]."""
    log_base = base.masked_fill(~allowed, -torch.inf).log_softmax(-1)
    return _divergence(scores.masked_fill(~allowed, -torch.inf).log_softmax(-1), log_base)


def strength_within(base: Tensor, reward: Tensor, allowed: Tensor, strength: Tensor, max_kl: Tensor) -> Tensor:
    """[S], the strengths, or what of them keeps KL(softmax(base + s reward) || softmax(base)) <= max_kl.

    base, reward and allowed [S, K]; strength, not 0, and max_kl, above 0, [S]; float64. Each round looks at many s at
    once rather than at one: few kernels, and never a look at a value on the host.
    """
    log_base = base.masked_fill(~allowed, -torch.inf).log_softmax(-1)
    # The largest reward becomes 0, so that nothing can overflow to +inf.
    reward = (reward * strength.sign()[:, None]).masked_fill(~allowed, -torch.inf)
    reward = reward - reward.amax(-1, keepdim=True)
    extent = reward.masked_fill(~allowed, 0).abs().amax(-1)  # of equal rewards +0: -0 would turn the bound around
    most = strength.abs()
    # Hoeffding: KL <= (s * extent)**2 / 8, so this much is always allowed.
    low, high = torch.minimum((8 * max_kl).sqrt() / extent, most).log(), most.log()
    fractions = torch.linspace(0, 1, _NUM_POINTS + 1, dtype=torch.float64, device=base.device)
    for _ in range(_NUM_ROUNDS):
        points = low[:, None] + (high - low)[:, None] * fractions  # [S, points], ascending
        kept = (_tilted(log_base, reward, points.exp()) <= max_kl[:, None]).long().cumprod(-1).sum(-1, keepdim=True)
        low = points.gather(1, (kept - 1).clamp(min=0))[:, 0]
        high = points.gather(1, kept.clamp(max=_NUM_POINTS))[:, 0]
    fits = _tilted(log_base, reward, most[:, None])[:, 0] <= max_kl
    return torch.where(fits, strength, torch.minimum(low.exp(), most) * strength.sign())


def _tilted(log_base: Tensor, reward: Tensor, strengths: Tensor) -> Tensor:
    """[S, points], the divergence of each slot's base [S, K] tilted by its reward [S, K] times its strengths."""
    log_base = log_base[:, None]
    return _divergence((log_base + strengths[..., None] * reward[:, None]).log_softmax(-1), log_base)


def _divergence(log_guided: Tensor, log_base: Tensor) -> Tensor:
    """KL(guided || base) [...] of log-probabilities [..., K], -inf where a candidate is not allowed."""
    terms = log_guided.exp() * (log_guided - log_base)
    return torch.where(log_guided > -torch.inf, terms, 0).sum(-1).clamp(min=0)
