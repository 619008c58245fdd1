"""Guidance as arithmetic on logits: candidates, scores and token rewards. Pure functions of tensors.

S slots, K candidates, V tokens, M streams: the first is the base stream, and slots with fewer have coefficients 0.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

_BLOCKS = (64, 8)
"""Tokens of a block: the first of these of which there are many more than candidates."""
_SLOTS_WIDENED = 4


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
    values, token_ids = _shortlist(logits, num_candidates)
    finite = values.amax(-1).isfinite()
    token_ids = _token_ids(_total_order(values, token_ids).topk(num_candidates).values)
    return Candidates(token_ids, logits.gather(1, token_ids).float(), finite)


def _shortlist(logits: Tensor, num_candidates: int) -> tuple[Tensor, Tensor]:
    """Logits, float32, and their token ids [S, n], among which the top K are, and NaN if there is any.

    The top K tokens lie in the top K blocks, of equal ones the first: whoever lies in another block has K tokens before
    it, the largest of each of these. So one pass over the vocabulary finds them.
    """
    num_slots, vocab_size = logits.shape
    block = next((size for size in _BLOCKS if vocab_size // size > 2 * num_candidates), None)
    if block is None:
        return logits.float(), torch.arange(vocab_size, device=logits.device).expand(num_slots, -1)
    num_blocks = vocab_size // block
    maxima = _maxima(logits[:, : num_blocks * block].view(num_slots, num_blocks, block))
    maxima = maxima.nan_to_num(torch.inf, torch.inf, -torch.inf)  # the order has two places for NaN
    numbers = torch.arange(num_blocks, device=logits.device)
    blocks = _token_ids(_total_order(maxima, numbers).topk(num_candidates).values)  # [S, K]
    inside = torch.arange(block, device=logits.device)
    rest = torch.arange(num_blocks * block, vocab_size, device=logits.device)
    token_ids = torch.cat([(blocks[..., None] * block + inside).flatten(1), rest.expand(num_slots, -1)], dim=1)
    return logits.gather(1, token_ids).float(), token_ids


def _maxima(blocks: Tensor) -> Tensor:
    """The largest of each block [S, blocks, n], float32."""
    if not blocks.is_cpu or blocks.dtype == torch.float32:
        return blocks.amax(-1).float()
    # A processor compares floats faster than anything narrower; a few slots at a time, they never leave its caches.
    return torch.cat([part.float().amax(-1) for part in torch.split(blocks, _SLOTS_WIDENED)])


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
