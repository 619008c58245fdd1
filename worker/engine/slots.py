"""The requests in decode as tensors: which rows are whose streams, with which coefficients.

Built on the host whenever a request joins or leaves, then used on the device unchanged until the next does.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from worker.engine.runner import RowKey
from worker.engine.sequence import Sequence


@dataclass(frozen=True, slots=True)
class Slots:
    """S slots with up to M streams and K candidates; row numbers count the rows of all runners, one after another."""

    num_candidates: int
    """K, the largest k."""
    any_sampled: bool
    any_guided: bool
    first_runner_proposes: bool
    """Whether all base streams are rows of the first runner, as they are unless a request asks for other weights."""
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
    stream_rows: Tensor
    """[S, M], the row of each stream; where a slot has fewer, that of its base stream."""
    slot_of_row: tuple[Tensor, ...]
    """Per runner [rows]."""

    def base_logits(self, logits: tuple[Tensor, ...]) -> Tensor:
        """[S, V], from each runner's [rows, V]."""
        rows = logits[0] if self.first_runner_proposes else torch.cat(logits)
        return rows.index_select(0, self.stream_rows[:, 0])

    def stream_logits(self, logits: tuple[Tensor, ...], token_ids: Tensor) -> Tensor:
        """[S, M, K] float64: every stream's logits of its slot's candidates [S, K]."""
        of_rows = [
            rows.gather(1, token_ids[slots]).double() for rows, slots in zip(logits, self.slot_of_row, strict=True)
        ]
        return torch.cat(of_rows)[self.stream_rows]

    def advanced(self) -> "Slots":
        """The same slots one token later."""
        return replace(self, num_generated=self.num_generated + 1)


def build_slots(sequences: list[Sequence], rows: list[list[RowKey]], device: torch.device) -> Slots:
    """Lay out the sequences over the runners' rows, given as one list of keys per runner."""
    requests = [sequence.request for sequence in sequences]
    num_candidates = max(request.k for request in requests)
    num_streams = max(len(sequence.streams) for sequence in sequences)
    row_of = {key: row for row, key in enumerate(key for keys in rows for key in keys)}
    slot_of = {request.request_id: slot for slot, request in enumerate(requests)}

    def per_slot(values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64, device=device)

    def integers(values: list[int] | list[list[int]]) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=device)

    def per_stream(values: list[list[float]]) -> Tensor:
        padded = [[*row, *[0.0] * (num_streams - len(row))] for row in values]
        return torch.tensor(padded, dtype=torch.float64, device=device)

    return Slots(
        num_candidates=num_candidates,
        any_sampled=any(request.temperature > 0 for request in requests),
        any_guided=any(sequence.is_guided for sequence in sequences),
        first_runner_proposes=all(row_of[request.request_id, 0] < len(rows[0]) for request in requests),
        allowed=torch.arange(num_candidates, device=device) < integers([request.k for request in requests])[:, None],
        temperature=per_slot([request.temperature for request in requests]),
        top_p=per_slot([request.top_p for request in requests]),
        seed=integers([_signed(request.seed) for request in requests]),
        num_generated=integers([sequence.num_generated for sequence in sequences]),
        coefficients=per_stream([[stream.coefficient for stream in sequence.streams] for sequence in sequences]),
        rewards=per_stream([[stream.reward for stream in sequence.streams] for sequence in sequences]),
        stream_rows=integers([_rows_of(sequence, row_of, num_streams) for sequence in sequences]),
        slot_of_row=tuple(integers([slot_of[request_id] for request_id, _ in keys]) for keys in rows),
    )


def _rows_of(sequence: Sequence, row_of: dict[RowKey, int], num_streams: int) -> list[int]:
    request_id = sequence.request.request_id
    rows = [row_of[request_id, stream] for stream in range(len(sequence.streams))]
    return [*rows, *[rows[0]] * (num_streams - len(rows))]


def _signed(seed: int) -> int:
    """The seed modulo 2**64, as a signed integer."""
    return (seed + 2**63) % 2**64 - 2**63
