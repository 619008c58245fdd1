"""From the logits of all rows to one token per slot: steering, then sampling, then one copy to the host."""

from dataclasses import dataclass

import torch
from torch import Tensor

from worker.engine.sampling import gumbel_noise, most_likely, sample
from worker.engine.slots import Slots
from worker.engine.steering import all_finite, propose, scores, token_rewards


@dataclass(frozen=True, slots=True)
class Choice:
    """The next token of every slot [S], still on the device."""

    token_ids: Tensor
    rewards: Tensor
    """float64, in nats."""
    finite: Tensor
    """False where the slot's logits are broken and its token means nothing."""

    def on_host(self) -> list[tuple[int, float, bool]]:
        """(token id, reward, finite) of each slot: the step's only synchronisation."""
        packed = torch.stack([self.token_ids.double(), self.rewards, self.finite.double()], dim=1)
        return [(int(token_id), reward, bool(finite)) for token_id, reward, finite in packed.tolist()]


@torch.inference_mode()
def choose_tokens(logits: tuple[Tensor, ...], slots: Slots) -> Choice:
    """Steer and sample: logits [rows, V] per runner to one token per slot."""
    candidates = propose(slots.base_logits(logits), slots.num_candidates)
    allowed = slots.allowed & (candidates.logits > -torch.inf)
    stream_logits = slots.stream_logits(logits, candidates.token_ids)
    score = scores(stream_logits, slots.coefficients)
    if slots.any_sampled:
        noise = gumbel_noise(slots.seed, slots.num_generated, candidates.token_ids)
        chosen = sample(score, allowed, slots.temperature, slots.top_p, noise)
    else:
        chosen = most_likely(score, allowed)
    if slots.any_guided:
        rewards = token_rewards(stream_logits, slots.rewards, allowed, chosen)
    else:
        rewards = torch.zeros_like(slots.temperature)
    return Choice(
        token_ids=candidates.token_ids.gather(1, chosen[:, None])[:, 0],
        rewards=rewards,
        finite=candidates.finite & all_finite(stream_logits, allowed),
    )
