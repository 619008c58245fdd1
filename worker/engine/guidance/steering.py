"""Guidance as arithmetic on logits: candidates, scores and token rewards. Pure functions of tensors.

S slots, K candidates, V tokens, M streams: the first is the base stream, and slots with fewer have coefficients 0.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

_LOWEST = -(2**63)
_BLOCK = 64


@dataclass(frozen=True, slots=True)
class Candidates:
    """What the base streams propose, the most likely first; of equal logits the smaller token id first."""

    token_ids: Tensor
    """[S, K]."""
    logits: Tensor
    """[S, K], float32."""
    finite: Tensor
    """[S], false where the base logits hold NaN or +inf, or nothing else than -inf."""


def propose(logits: Tensor, num_candidates: int) -> Candidates:
    """The top K of base logits [S, V], in an order that does not depend on K, the device or the batch."""
    vocab_size = logits.shape[-1]
    logits = logits.float()
    # One more than asked for shows whether the last candidate has equals that topk left out.
    values, token_ids = _largest(logits, min(num_candidates + 1, vocab_size))
    finite = values[:, 0].isfinite()
    keys = _total_order(values[:, :num_candidates], token_ids[:, :num_candidates])
    tied = _tied(values) if num_candidates < vocab_size else token_ids.new_empty(0)
    if tied is None or len(tied):
        rows = slice(None) if tied is None else tied
        last = values[rows, num_candidates - 1, None]  # [tied, 1]
        above = keys[rows].masked_fill(values[rows, :num_candidates] == last, _LOWEST)
        among = torch.cat([above, _ties(logits[rows], last, num_candidates)], dim=1)
        keys[rows] = among.topk(num_candidates).values
    token_ids = _token_ids(keys.topk(num_candidates).values).clamp_(0, vocab_size - 1)
    return Candidates(token_ids, logits.gather(1, token_ids), finite)


def _tied(values: Tensor) -> Tensor | None:
    """The slots whose last candidate may have equals that were left out; None: all are taken for such.

    Looking at the values [S, K + 1] costs nothing on the CPU and a synchronisation elsewhere.
    """
    return (values[:, -1] == values[:, -2]).nonzero()[:, 0] if values.is_cpu else None


def _largest(logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """`logits.topk(count)`, found among the `count` blocks with the largest maxima: one pass over the vocabulary."""
    num_blocks = logits.shape[-1] // _BLOCK
    if num_blocks <= 2 * count:
        return logits.topk(count)
    blocks = logits[:, : num_blocks * _BLOCK].view(-1, num_blocks, _BLOCK)
    best = blocks.amax(-1).topk(count).indices  # [S, count]
    inside = torch.arange(_BLOCK, device=logits.device)
    token_ids = (best[..., None] * _BLOCK + inside).flatten(1)
    rest = torch.arange(num_blocks * _BLOCK, logits.shape[-1], device=logits.device)
    token_ids = torch.cat([token_ids, rest.expand(len(logits), -1)], dim=1)
    values, order = logits.gather(1, token_ids).topk(count)
    return values, token_ids.gather(1, order)


def _ties(logits: Tensor, value: Tensor, count: int) -> Tensor:
    """[S, count] keys of the first tokens whose logit equals the value [S, 1]; the lowest key where there are fewer."""
    vocab_size = logits.shape[-1]
    countdown = torch.arange(vocab_size, 0, -1, device=logits.device, dtype=torch.float32)  # exact below 2**24
    found, token_ids = torch.where(logits == value, countdown, 0).topk(count)
    return _total_order(value.expand(-1, count), token_ids).masked_fill(found == 0, _LOWEST)


def _total_order(logits: Tensor, token_ids: Tensor) -> Tensor:
    """Distinct integers in the order (logit ascending, token id descending): a float's bits are nearly its rank."""
    bits = (logits + 0.0).contiguous().view(torch.int32)  # + 0.0: -0.0 equals 0.0
    ascending = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return (ascending.long() << 32) + (0x7FFFFFFF - token_ids)


def _token_ids(keys: Tensor) -> Tensor:
    return 0x7FFFFFFF - (keys & 0xFFFFFFFF)


def scores(stream_logits: Tensor, coefficients: Tensor) -> Tensor:
    """`sum_s c_s * z_s(a)` of each candidate: [S, M, K] and [S, M] -> [S, K].

    This is `log pi_0(a) + strength * r_t(a)` up to a number that is the same for all candidates of a slot, and
    therefore changes no choice. The streams are added one by one, so that another slot's M changes no rounding.
    """
    total = stream_logits[:, 0] * coefficients[:, :1]
    for stream in range(1, stream_logits.shape[1]):
        total = total + stream_logits[:, stream] * coefficients[:, stream, None]
    return total


def token_rewards(stream_logits: Tensor, rewards: Tensor, allowed: Tensor, chosen: Tensor) -> Tensor:
    """`r_t(a) = sum_s reward_s * log pi_s(a)` of the chosen candidates, in nats: [S].

    stream_logits [S, M, K], rewards [S, M], allowed [S, K], chosen [S]. pi_s is normalised over the slot's own
    candidates only, not over the vocabulary, as in PAD's released code.
    """
    log_probabilities = stream_logits.masked_fill(~allowed[:, None], -torch.inf).log_softmax(-1)
    of_chosen = log_probabilities.gather(2, chosen[:, None, None].expand(-1, stream_logits.shape[1], 1))[..., 0]
    total = of_chosen[:, 0] * rewards[:, 0]
    for stream in range(1, rewards.shape[1]):
        total = total + of_chosen[:, stream] * rewards[:, stream]
    return total


def possible(candidates: Candidates, stream_logits: Tensor) -> Tensor:
    """[S, K], whether the base and every stream give the candidate a probability: a policy may rule some out."""
    return (candidates.logits > -torch.inf) & (stream_logits != -torch.inf).all(1)


def all_finite(candidates: Candidates, stream_logits: Tensor, allowed: Tensor) -> Tensor:
    """[S], whether there is a candidate to choose, and all logits [S, M, K] of those allowed [S, K] are finite."""
    of_streams = (stream_logits.isfinite() | ~allowed[:, None]).all(-1).all(-1)
    return candidates.finite & allowed.any(-1) & of_streams
