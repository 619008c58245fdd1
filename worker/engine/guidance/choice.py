"""From the hidden states of all rows to one token per slot: steering, then sampling, then one copy to the host."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from worker.engine.guidance.budget import divergence, strength_within
from worker.engine.guidance.processors import applied
from worker.engine.guidance.sampling import Draw, Tail, gumbel_noise, most_likely, sample, sample_vocabulary
from worker.engine.guidance.steering import Candidates, all_finite, possible, propose, scores, token_rewards
from worker.engine.sequence import Chosen
from worker.engine.slots import Slots


class LogitsRunner(Protocol):
    """What is asked of a runner: logits of hidden states [rows, d] that it has made."""

    def logits(self, hidden: Tensor, rows: Tensor) -> Tensor:
        """Logits [m, V] of the rows [m] over the whole vocabulary; they are the caller's, to be written to."""

    def columns(self, hidden: Tensor, rows: Tensor, token_ids: Tensor) -> Tensor:
        """Logits [m, K] of the rows [m] for candidates [m, K] alone."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The next token of every slot [S], still on the device."""

    token_ids: Tensor
    rewards: Tensor
    """float64, in nats."""
    kls: Tensor
    """float64, in nats."""
    finite: Tensor
    """False where the slot's logits are broken and its token means nothing."""

    def send(self) -> "Sent":
        """Start the copy to the host."""
        packed = torch.stack([self.token_ids.double(), self.rewards, self.kls, self.finite.double()], dim=1)
        if not packed.is_cuda:
            return Sent(packed, None)
        on_host = torch.empty(packed.shape, dtype=packed.dtype, pin_memory=True).copy_(packed, non_blocking=True)
        arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        arrived.record()
        return Sent(on_host, arrived)


@dataclass(frozen=True, slots=True)
class Sent:
    """A choice whose copy to the host has begun; `values` waits for it."""

    packed: Tensor
    """[S, 4], float64: token id, reward, KL, and 1 where the logits are finite."""
    arrived: torch.cuda.Event | None

    def values(self) -> list[Chosen]:
        """The choice of each slot; waits for the copy to arrive, the step's only synchronisation."""
        if self.arrived is not None:
            self.arrived.synchronize()
        return [
            Chosen(int(token_id), reward, kl, bool(finite)) for token_id, reward, kl, finite in self.packed.tolist()
        ]


@torch.inference_mode()
def choose_tokens(runners: Sequence[LogitsRunner], hidden: Sequence[Tensor], slots: Slots) -> Choice:
    """Steer and sample: last hidden states [rows, d] per runner to one token per slot."""
    logits = _base_logits(runners, hidden, slots)
    with applied(slots.processors, logits, slots.num_generated) as processed:
        candidates = propose(processed, slots.num_candidates)
        drawn = _drawn_from_all(slots, processed)
    steered = _steer(runners, hidden, slots, candidates, logits)
    chosen = _choose(slots, candidates, steered)
    token_ids = candidates.token_ids.gather(1, chosen[:, None])[:, 0]
    for some, of_some in drawn:
        token_ids[some] = of_some
    rewards = kls = torch.zeros_like(slots.temperature)
    if slots.any_guided:
        rewards = token_rewards(steered.stream_logits, slots.rewards, steered.allowed, chosen)
        kls = divergence(steered.scores, candidates.logits.double(), steered.allowed)
    return Choice(token_ids, rewards, kls, all_finite(candidates, steered.stream_logits, steered.allowed))


def _base_logits(runners: Sequence[LogitsRunner], hidden: Sequence[Tensor], slots: Slots) -> Tensor:
    """[S, V]: of the base streams alone, all of the vocabulary."""
    proposing = [
        (runner.logits(states, base.rows), base.slots)
        for runner, states, base in zip(runners, hidden, slots.bases, strict=True)
        if len(base.rows)
    ]
    if len(proposing) == 1:
        return proposing[0][0]  # base rows are listed by slot
    logits, of_slots = (torch.cat(parts) for parts in zip(*proposing, strict=True))
    return logits[of_slots.argsort()]


@dataclass(frozen=True, slots=True)
class _Steered:
    """Logits of all M streams for the K candidates, and the guided scores that they add up to."""

    stream_logits: Tensor
    """[S, M, K], float64, as no processor has seen them."""
    scores: Tensor
    """[S, K], float64."""
    allowed: Tensor
    """[S, K], those among the slot's own k that are possible."""


def _steer(
    runners: Sequence[LogitsRunner], hidden: Sequence[Tensor], slots: Slots, candidates: Candidates, logits: Tensor
) -> _Steered:
    """Scores of the candidates, of whose base logits [S, V] the rewards are made."""
    unprocessed = logits.gather(1, candidates.token_ids).float() if slots.processors else candidates.logits
    stream_logits = _stream_logits(runners, hidden, slots, candidates.token_ids, unprocessed)
    allowed = slots.allowed & possible(candidates, stream_logits)
    base = candidates.logits.double()
    coefficients = slots.coefficients
    if slots.budgeted is not None:
        coefficients = _within_budget(slots, slots.budgeted, base, stream_logits, allowed)
    score = scores(stream_logits, coefficients)
    if slots.processors:
        score = score + (base - unprocessed.double())
    return _Steered(stream_logits, score, allowed)


def _stream_logits(
    runners: Sequence[LogitsRunner], hidden: Sequence[Tensor], slots: Slots, token_ids: Tensor, base_logits: Tensor
) -> Tensor:
    """[S, M, K] float64: every stream's logits of its slot's candidates [S, K]; its base's where it has fewer.

    Behind its own k, a slot asks for its first candidate again: what others ask for is nothing to run a guide for.
    """
    token_ids = token_ids.where(slots.allowed, token_ids[:, :1])
    logits = base_logits.double()[:, None].repeat(1, slots.coefficients.shape[1], 1)
    for runner, states, other in zip(runners, hidden, slots.others, strict=True):
        if len(other.rows):
            columns = runner.columns(states, other.rows, token_ids[other.slots])
            logits[other.slots, other.streams] = columns.double()
    return logits


def _within_budget(slots: Slots, budgeted: Tensor, base: Tensor, stream_logits: Tensor, allowed: Tensor) -> Tensor:
    """[S, M], the coefficients as far as the budgets of some slots [B] allow them in this step.

    base [S, K] is where the divergence starts, stream_logits [S, M, K] are what rewards are made of.
    """
    rewards = slots.rewards[budgeted]
    strength = slots.strength[budgeted]
    direction = scores(stream_logits[budgeted], rewards)
    used = strength_within(base[budgeted], direction, allowed[budgeted], strength, slots.max_kl[budgeted])
    reduced = used[:, None] * rewards
    reduced[:, 0] += 1
    # Where nothing is cut, the coefficients stay what they are without a budget, to the last bit.
    reduced = torch.where((used == strength)[:, None], slots.coefficients[budgeted], reduced)
    return slots.coefficients.index_copy(0, budgeted, reduced)


def _choose(slots: Slots, candidates: Candidates, steered: _Steered) -> Tensor:
    """Index [S] of the chosen candidate of each slot: the likeliest, or one drawn where the slot samples."""
    if not slots.any_sampled:
        return most_likely(steered.scores, steered.allowed)
    noise = gumbel_noise(slots.seed, slots.num_generated, candidates.token_ids)
    return sample(steered.scores, steered.allowed, slots.temperature, Tail(slots.top_p, slots.min_p), noise)


def _drawn_from_all(slots: Slots, logits: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Slots [W] that are sampled by their base logits, of all [S, V], alone, and their token ids [W]."""
    asked = ((slots.whole, None), (slots.whole_nucleus, slots.top_p))
    return [(some, _sample_from_all(slots, some, logits, top_p)) for some, top_p in asked if some is not None]


def _sample_from_all(slots: Slots, some: Tensor, logits: Tensor, top_p: Tensor | None) -> Tensor:
    tail = Tail(top_p, slots.min_p).of(some)
    draw = Draw(slots.seed, slots.num_generated).of(some)
    return sample_vocabulary(logits[some].float(), slots.temperature[some], tail, draw)
