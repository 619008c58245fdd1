"""The requests in decode as tensors: which rows are whose streams, with which coefficients.

Built on the host whenever a request joins or leaves, then used on the device unchanged until the next does.
"""

from collections.abc import Sequence as Values
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from worker.engine.layout import RowKey
from worker.engine.scheduler import TicketId
from worker.engine.sequence import Sequence


class Rows(Protocol):
    """A runner, as the slots see it."""

    def logits(self, hidden: Tensor, rows: Tensor) -> Tensor:
        """[m, V] of some of its rows."""

    def columns(self, hidden: Tensor, rows: Tensor, token_ids: Tensor) -> Tensor:
        """[m, K] of candidates [m, K]."""


@dataclass(frozen=True, slots=True)
class StreamRows:
    """Rows of one runner, and the streams of slots that they are: [m] each."""

    rows: Tensor
    slots: Tensor
    streams: Tensor


@dataclass(frozen=True, slots=True)
class Slots:
    """S slots with up to M streams and K candidates."""

    num_candidates: int
    """K, the largest k."""
    any_sampled: bool
    any_guided: bool
    allowed: Tensor
    """[S, K], which candidates are among the slot's own k."""
    temperature: Tensor
    """[S], float64, as top_p, coefficients and rewards."""
    top_p: Tensor
    seed: Tensor
    """[S], int64, as num_generated."""
    num_generated: Tensor
    coefficients: Tensor
    """[S, M], 0 where a slot has fewer streams."""
    rewards: Tensor
    """[S, M]."""
    bases: tuple[StreamRows, ...]
    """Per runner, the base streams."""
    others: tuple[StreamRows, ...]
    """Per runner, the streams that only judge what the base proposes."""
    slot_of_row: tuple[Tensor, ...]
    """Per runner [rows]."""

    def base_logits(self, runners: Values[Rows], hidden: Values[Tensor]) -> Tensor:
        """[S, V]: of the base streams alone, all of the vocabulary."""
        proposing = [
            (runner.logits(states, base.rows), base.slots)
            for runner, states, base in zip(runners, hidden, self.bases, strict=True)
            if len(base.rows)
        ]
        if len(proposing) == 1:
            return proposing[0][0]  # base rows are listed by slot
        logits, slots = (torch.cat(parts) for parts in zip(*proposing, strict=True))
        return logits[slots.argsort()]

    def stream_logits(
        self, runners: Values[Rows], hidden: Values[Tensor], token_ids: Tensor, base_logits: Tensor
    ) -> Tensor:
        """[S, M, K] float64: every stream's logits of its slot's candidates [S, K]; its base's where it has fewer."""
        logits = base_logits.double()[:, None].repeat(1, self.coefficients.shape[1], 1)
        for runner, states, other in zip(runners, hidden, self.others, strict=True):
            if len(other.rows):
                columns = runner.columns(states, other.rows, token_ids[other.slots])
                logits[other.slots, other.streams] = columns.double()
        return logits

    def advanced(self) -> "Slots":
        """The same slots one token later."""
        return replace(self, num_generated=self.num_generated + 1)


def build_slots(sequences: list[Sequence], rows: list[list[RowKey]], device: torch.device) -> Slots:
    """Lay out the sequences over the rows that decode, given as one list of keys per runner."""
    requests = [sequence.request for sequence in sequences]
    num_candidates = max(request.k for request in requests)
    num_streams = max(len(sequence.streams) for sequence in sequences)
    slot_of: dict[TicketId, int] = {request.request_id: slot for slot, request in enumerate(requests)}

    def integers(values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=device)

    def stream_rows(keys: list[RowKey], *, bases: bool) -> StreamRows:
        found = sorted(
            (slot_of[request_id], stream, row)
            for row, (request_id, stream) in enumerate(keys)
            if (stream == 0) == bases
        )
        slots, streams, of_rows = zip(*found, strict=True) if found else ((), (), ())
        return StreamRows(integers(list(of_rows)), integers(list(slots)), integers(list(streams)))

    # One copy to the device for everything that is a float.
    floats = torch.tensor(
        [
            [
                sequence.request.temperature,
                sequence.request.top_p,
                *_padded([stream.coefficient for stream in sequence.streams], num_streams),
                *_padded([stream.reward for stream in sequence.streams], num_streams),
            ]
            for sequence in sequences
        ],
        dtype=torch.float64,
        device=device,
    )
    return Slots(
        num_candidates=num_candidates,
        any_sampled=any(request.temperature > 0 for request in requests),
        any_guided=any(sequence.is_guided for sequence in sequences),
        allowed=torch.arange(num_candidates, device=device) < integers([request.k for request in requests])[:, None],
        temperature=floats[:, 0],
        top_p=floats[:, 1],
        seed=integers([_signed(request.seed) for request in requests]),
        num_generated=integers([sequence.num_chosen for sequence in sequences]),
        coefficients=floats[:, 2 : 2 + num_streams],
        rewards=floats[:, 2 + num_streams :],
        bases=tuple(stream_rows(keys, bases=True) for keys in rows),
        others=tuple(stream_rows(keys, bases=False) for keys in rows),
        slot_of_row=tuple(integers([slot_of[request_id] for request_id, _ in keys]) for keys in rows),
    )


def _padded(values: list[float], length: int) -> list[float]:
    return [*values, *[0.0] * (length - len(values))]


def _signed(seed: int) -> int:
    """The seed modulo 2**64, as a signed integer."""
    return (seed + 2**63) % 2**64 - 2**63
