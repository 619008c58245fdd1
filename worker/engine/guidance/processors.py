"""What requests ask to be changed in the logits of their base stream: bias, penalties, no end before a length.

Per slot, and before candidates are proposed. The order is that of Hugging Face and of vLLM: bias, repetition,
frequency and presence penalty, then the end-of-sequence tokens that may not come yet. Each names the few logits that it
changes, and no others are read or copied. Tensors and requests only; what was generated is counted on the device,
because the host has not seen the last token when the next is chosen.
"""

from collections import abc
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from worker.engine.request import Request
from worker.engine.sequence import History, Sequence

_IN_PROMPT = 1
GENERATED = 2
"""What a history counts of a token: 1 if it is in the prompt, plus 2 for each time that it was chosen."""


Entries: TypeAlias = tuple[Tensor, Tensor]
"""Slots and token ids, of one shape when broadcast: which of the logits [S, V]."""


@dataclass(frozen=True, slots=True)
class Bias:
    """Numbers added to single logits, [n] each."""

    entries: Entries
    values: Tensor

    def applied(self, logits: Tensor, _num_generated: Tensor) -> Tensor:
        """The logits [n], float32, after the bias."""
        return logits + self.values


@dataclass(frozen=True, slots=True)
class Penalties:
    """P slots whose logits depend on the tokens before."""

    slots: Tensor
    """[P]."""
    counts: Tensor
    """[P, V], int32. Each row is its sequence's own history, too, as that of `seen`: it outlives these slots."""
    seen: Tensor
    """[P, L], all tokens whose count is not 0, and others, which nothing changes."""
    num_seen: Tensor
    """[P, 1], how many of these each slot has."""
    most_seen: int
    """How many the host knows that it has to look at."""
    repetition: Tensor | None
    """[P, 1], float32, as the others; None where nobody asks for it, and nobody pays."""
    frequency: Tensor | None
    presence: Tensor | None

    @property
    def entries(self) -> Entries:
        """[P, most_seen]."""
        return self.slots[:, None], self.seen[:, : self.most_seen]

    def applied(self, logits: Tensor, _num_generated: Tensor) -> Tensor:
        """The logits [P, most_seen], float32, after the penalties."""
        counts = self.counts.gather(1, self.seen[:, : self.most_seen])
        if self.repetition is not None:
            repeated = torch.where(logits > 0, logits / self.repetition, logits * self.repetition)
            logits = torch.where(counts > 0, repeated, logits)
        if self.frequency is not None:
            logits = logits - self.frequency * (counts >> 1)
        if self.presence is not None:
            logits = logits - self.presence * (counts >= GENERATED)
        return logits

    def advanced(self, token_ids: Tensor) -> "Penalties":
        """One token later, the chosen ones [S]: counts and seen take note of them in place, these slots' too."""
        chosen = token_ids[self.slots][:, None]  # [P, 1]
        self.counts.scatter_add_(1, chosen, torch.full_like(chosen, GENERATED, dtype=self.counts.dtype))
        # Whoever has reached the end runs once more before the host has noticed.
        self.seen.scatter_(1, self.num_seen.clamp(max=self.seen.shape[1] - 1), chosen)
        return replace(self, num_seen=self.num_seen + 1, most_seen=self.most_seen + 1)


@dataclass(frozen=True, slots=True)
class Minimum:
    """Slots in which the tokens that end a completion may not come at once."""

    entries: Entries
    """[n, E], slots [n, 1] and E tokens."""
    min_tokens: Tensor
    """[n]."""

    def applied(self, logits: Tensor, num_generated: Tensor) -> Tensor:
        """Logits [n, E], of any dtype, after so many tokens [S]."""
        held = num_generated[self.entries[0]] < self.min_tokens[:, None]  # [n, 1]
        return logits.masked_fill(held, -torch.inf)


@dataclass(frozen=True, slots=True)
class Processors:
    """What is to be done to the logits of some of the slots."""

    bias: Bias | None
    penalties: Penalties | None
    minimum: Minimum | None

    @property
    def _in_order(self) -> list[Bias | Penalties | Minimum]:
        return [one for one in (self.bias, self.penalties, self.minimum) if one is not None]

    def advanced(self, token_ids: Tensor) -> "Processors":
        """One token later, the chosen ones [S]."""
        return replace(self, penalties=self.penalties.advanced(token_ids)) if self.penalties else self

    @contextmanager
    def applied(self, logits: Tensor, num_generated: Tensor) -> Iterator[Tensor]:
        """Meanwhile the base streams' logits [S, V] as they are asked for; afterwards they are what they were.

        Float32 logits are changed in place and put back, to the last bit: a copy of them all would cost more than all
        that is done to them. Narrower ones are widened, unless all that is asked for is that tokens do not come.
        """
        processed = logits.float() if self.bias or self.penalties else logits
        changes: list[tuple[Entries, Tensor]] = []
        try:
            for processor in self._in_order:
                before = processed[processor.entries]
                changes.append((processor.entries, before))
                processed[processor.entries] = processor.applied(before, num_generated)
            yield processed
        finally:
            for entries, before in reversed(changes):
                processed[entries] = before


def applied(processors: Processors | None, logits: Tensor, num_generated: Tensor) -> AbstractContextManager[Tensor]:
    """`Processors.applied`; the logits themselves where nobody asks for anything."""
    return processors.applied(logits, num_generated) if processors else nullcontext(logits)


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
        (torch.tensor(slots, device=device), torch.tensor(token_ids, device=device)),
        torch.tensor(values, dtype=torch.float32, device=device),
    )


def _penalties(sequences: abc.Sequence[Sequence], num_logits: int, device: torch.device) -> Penalties | None:
    slots = [slot for slot, sequence in enumerate(sequences) if _is_penalised(sequence.request)]
    if not slots:
        return None
    histories = [_history(sequences[slot], num_logits, device) for slot in slots]
    counts = torch.stack([history.counts for history in histories])
    seen = pad_sequence([history.seen for history in histories], batch_first=True)
    for row, (slot, history) in enumerate(zip(slots, histories, strict=True)):
        sequences[slot].history = History(counts[row], seen[row, : len(history.seen)], history.num_of_prompt)
    num_seen = [sequences[slot].num_chosen + one.num_of_prompt for slot, one in zip(slots, histories, strict=True)]
    asked = [sequences[slot].request for slot in slots]

    def column(values: list[float], unchanged: float) -> Tensor | None:
        """[P, 1]."""
        if all(value == unchanged for value in values):
            return None
        return torch.tensor(values, dtype=torch.float32, device=device)[:, None]

    return Penalties(
        torch.tensor(slots, device=device),
        counts,
        seen,
        torch.tensor(num_seen, device=device)[:, None],
        max(num_seen),
        repetition=column([request.repetition_penalty for request in asked], 1.0),
        frequency=column([request.frequency_penalty for request in asked], 0.0),
        presence=column([request.presence_penalty for request in asked], 0.0),
    )


def _is_penalised(request: Request) -> bool:
    return request.repetition_penalty != 1 or request.frequency_penalty != 0 or request.presence_penalty != 0


def _history(sequence: Sequence, num_logits: int, device: torch.device) -> History:
    """As far as it has come; of a sequence that begins, the prompt of its base stream."""
    if sequence.history is not None:
        return sequence.history
    prompt = torch.tensor(sorted(set(sequence.streams[0].prompt)), device=device)
    counts = torch.zeros(num_logits, dtype=torch.int32, device=device).index_fill_(0, prompt, _IN_PROMPT)
    return History(counts, torch.nn.functional.pad(prompt, (0, sequence.request.max_tokens)), len(prompt))


def _minimum(requests: abc.Sequence[Request], eos_token_ids: Collection[int], device: torch.device) -> Minimum | None:
    found = [(slot, request.min_tokens) for slot, request in enumerate(requests) if request.min_tokens]
    if not found or not eos_token_ids:
        return None
    slots, min_tokens = zip(*found, strict=True)
    return Minimum(
        (torch.tensor(slots, device=device)[:, None], torch.tensor(sorted(eos_token_ids), device=device)),
        torch.tensor(min_tokens, device=device),
    )
