"""From the hidden states of all rows to one token per slot: steering, then sampling, then one copy to the host."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.engine.sampling import gumbel_noise, most_likely, sample
from worker.engine.slots import Rows, Slots
from worker.engine.steering import all_finite, propose, scores, token_rewards


@dataclass(frozen=True, slots=True)
class Choice:
    """The next token of every slot [S], still on the device."""

    token_ids: Tensor
    rewards: Tensor
    """float64, in nats."""
    finite: Tensor
    """False where the slot's logits are broken and its token means nothing."""

    def send(self) -> "Sent":
        """Start the copy to the host."""
        packed = torch.stack([self.token_ids.double(), self.rewards, self.finite.double()], dim=1)
        if not packed.is_cuda:
            return Sent(packed, None)
        on_host = torch.empty(packed.shape, dtype=packed.dtype, pin_memory=True).copy_(packed, non_blocking=True)
        arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        arrived.record()
        return Sent(on_host, arrived)


@dataclass(frozen=True, slots=True)
class Sent:
    """A choice on its way to the host."""

    packed: Tensor
    """[S, 3]."""
    arrived: torch.cuda.Event | None

    def values(self) -> list[tuple[int, float, bool]]:
        """(token id, reward, finite) of each slot; waits for them to arrive, the step's only synchronisation."""
        if self.arrived is not None:
            self.arrived.synchronize()
        return [(int(token_id), reward, bool(finite)) for token_id, reward, finite in self.packed.tolist()]


@torch.inference_mode()
def choose_tokens(runners: Sequence[Rows], hidden: Sequence[Tensor], slots: Slots) -> Choice:
    """Steer and sample: last hidden states [rows, d] per runner to one token per slot."""
    candidates = propose(slots.base_logits(runners, hidden), slots.num_candidates)
    allowed = slots.allowed & (candidates.logits > -torch.inf)
    stream_logits = slots.stream_logits(runners, hidden, candidates.token_ids, candidates.logits)
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
