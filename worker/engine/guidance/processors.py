"""What requests ask to be changed in the logits of their base stream: bias, penalties, no end before a length.

Per slot, and before candidates are proposed. The order is that of Hugging Face and of vLLM: bias, repetition,
frequency and presence penalty, then the end-of-sequence tokens that may not come yet. Tensors and requests only; what
was generated is counted on the device, because the host has not seen the last token when the next is chosen.
"""

from collections import abc
from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.engine.request import Request
from worker.engine.sequence import Sequence

_IN_PROMPT = 1
GENERATED = 2
"""What a history holds of a token: 1 if it is in the prompt, plus 2 for each time that it was chosen."""


@dataclass(frozen=True, slots=True)
class Penalties:
    """P slots whose logits depend on the tokens before."""

    slots: Tensor
    """[P]."""
    histories: Tensor
    """[P, V], int32. Each row is its sequence's own history, too: it outlives these slots."""
    repetition: Tensor | None
    """[P, 1], float32, as the others; None where nobody asks for it, and nobody pays."""
    frequency: Tensor | None
    presence: Tensor | None

    def applied(self, logits: Tensor) -> Tensor:
        """The logits [P, V], float32, after the penalties."""
        if self.repetition is not None:
            repeated = torch.where(logits > 0, logits / self.repetition, logits * self.repetition)
            logits = torch.where(self.histories > 0, repeated, logits)
        if self.frequency is not None:
            logits = logits - self.frequency * (self.histories >> 1)
        if self.presence is not None:
            logits = logits - self.presence * (self.histories >= GENERATED)
        return logits

    def count(self, token_ids: Tensor) -> None:
        """Take note of what was chosen for all slots [S]."""
        self.histories.scatter_add_(
            1, token_ids[self.slots][:, None], torch.full_like(self.histories[:, :1], GENERATED)
        )


@dataclass(frozen=True, slots=True)
class Bias:
    """Numbers added to single logits, [n] each."""

    slots: Tensor
    token_ids: Tensor
    values: Tensor


@dataclass(frozen=True, slots=True)
class Minimum:
    """E tokens that end a completion, and the slots in which they may not come at once."""

    slots: Tensor
    """[n]."""
    min_tokens: Tensor
    """[n]."""
    eos_token_ids: Tensor
    """[E]."""

    def applied(self, logits: Tensor, num_generated: Tensor) -> None:
        """In place, of logits [S, V] after so many tokens [S]."""
        held = num_generated[self.slots] < self.min_tokens  # [n]
        where = (self.slots[:, None], self.eos_token_ids)
        logits[where] = logits[where].masked_fill(held[:, None], -torch.inf)


@dataclass(frozen=True, slots=True)
class Processors:
    """What is to be done to the logits of some of the slots."""

    bias: Bias | None
    penalties: Penalties | None
    minimum: Minimum | None

    def applied(self, logits: Tensor, num_generated: Tensor) -> Tensor:
        """[S, V] float32 of the base streams' logits [S, V], which stay as they are."""
        logits = logits.to(torch.float32, copy=True)
        if self.bias:
            logits[self.bias.slots, self.bias.token_ids] += self.bias.values
        if self.penalties:
            logits[self.penalties.slots] = self.penalties.applied(logits[self.penalties.slots])
        if self.minimum:
            self.minimum.applied(logits, num_generated)
        return logits


def build_processors(
    sequences: abc.Sequence[Sequence], num_logits: int, eos_token_ids: Collection[int], device: torch.device
) -> Processors | None:
    """The processors of the sequences, one per slot, for logits [S, num_logits]; None where nobody asks for any."""
    requests = [sequence.request for sequence in sequences]
    processors = Processors(
        _bias(requests, device), _penalties(sequences, num_logits, device), _minimum(requests, eos_token_ids, device)
    )
    return processors if processors.bias or processors.penalties or processors.minimum else None


def _bias(requests: abc.Sequence[Request], device: torch.device) -> Bias | None:
    entries = [(slot, *entry) for slot, request in enumerate(requests) for entry in request.logit_bias]
    if not entries:
        return None
    slots, token_ids, values = zip(*entries, strict=True)
    return Bias(
        torch.tensor(slots, device=device),
        torch.tensor(token_ids, device=device),
        torch.tensor(values, dtype=torch.float32, device=device),
    )


def _penalties(sequences: abc.Sequence[Sequence], num_logits: int, device: torch.device) -> Penalties | None:
    slots = [slot for slot, sequence in enumerate(sequences) if _is_penalised(sequence.request)]
    if not slots:
        return None
    histories = torch.stack([_history(sequences[slot], num_logits, device) for slot in slots])
    for slot, history in zip(slots, histories, strict=True):
        sequences[slot].history = history
    asked = [sequences[slot].request for slot in slots]

    def column(values: list[float], unchanged: float) -> Tensor | None:
        """[P, 1]."""
        if all(value == unchanged for value in values):
            return None
        return torch.tensor(values, dtype=torch.float32, device=device)[:, None]

    return Penalties(
        torch.tensor(slots, device=device),
        histories,
        repetition=column([request.repetition_penalty for request in asked], 1.0),
        frequency=column([request.frequency_penalty for request in asked], 0.0),
        presence=column([request.presence_penalty for request in asked], 0.0),
    )


def _is_penalised(request: Request) -> bool:
    return request.repetition_penalty != 1 or request.frequency_penalty != 0 or request.presence_penalty != 0


def _history(sequence: Sequence, num_logits: int, device: torch.device) -> Tensor:
    """[V], as far as it has come; of a sequence that begins, the prompt of its base stream."""
    if sequence.history is not None:
        return sequence.history
    prompt = torch.tensor(sequence.streams[0].prompt, device=device)
    return torch.zeros(num_logits, dtype=torch.int32, device=device).index_fill_(0, prompt, _IN_PROMPT)


def _minimum(requests: abc.Sequence[Request], eos_token_ids: Collection[int], device: torch.device) -> Minimum | None:
    found = [(slot, request.min_tokens) for slot, request in enumerate(requests) if request.min_tokens]
    if not found or not eos_token_ids:
        return None
    slots, min_tokens = zip(*found, strict=True)
    return Minimum(
        torch.tensor(slots, device=device),
        torch.tensor(min_tokens, device=device),
        torch.tensor(sorted(eos_token_ids), device=device),
    )
