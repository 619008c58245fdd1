"""The requests in decode as tensors: which rows are whose streams, with which coefficients.

Built on the host whenever a request joins or leaves, then used on the device unchanged until the next does.
"""

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from worker.engine.cache.prefixes import TicketId
from worker.engine.guidance.processors import Processors, build_processors
from worker.engine.request import Request
from worker.engine.rows import RowKey
from worker.engine.sequence import Sequence


@dataclass(frozen=True, slots=True)
class StreamRows:
    """Rows of one runner, and the streams of slots that they are: [m] each."""

    rows: Tensor
    slots: Tensor
    streams: Tensor


@dataclass(frozen=True, slots=True)
class Slots:
    """What the S active requests ask of a step, as tensors on the device: up to M streams and K candidates each."""

    num_candidates: int
    """K, the largest k."""
    any_sampled: bool
    any_guided: bool
    budgeted: Tensor | None
    """[B], the slots with a budget; None where there are none, so that nobody pays for them."""
    whole: Tensor | None
    """[W], the slots that are sampled from the whole vocabulary; as budgeted, so that only they pay for it."""
    whole_nucleus: Tensor | None
    """The same of those with a top_p below 1: only there the vocabulary must be sorted."""
    processors: Processors | None
    """Penalties and biases on the base streams' logits; None where no slot has any."""
    allowed: Tensor
    """[S, K], which candidates are among the slot's own k."""
    temperature: Tensor
    """[S], float64, as all that are not said to be integers."""
    top_p: Tensor
    min_p: Tensor
    strength: Tensor
    max_kl: Tensor
    """[S], inf where there is no budget."""
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

    def advanced(self, token_ids: Tensor) -> "Slots":
        """The same slots one token later, the chosen ones [S]; histories count them in place, these slots' too."""
        processors = self.processors.advanced(token_ids) if self.processors else None
        return replace(self, num_generated=self.num_generated + 1, processors=processors)


def build_slots(
    sequences: list[Sequence],
    rows: list[list[RowKey]],
    device: torch.device,
    *,
    num_logits: int,
    eos_token_ids: Collection[int],
) -> Slots:
    """Lay out the sequences over the rows that decode, given as one list of keys per runner."""
    requests = [sequence.request for sequence in sequences]
    num_candidates = [_num_candidates(request) for request in requests]
    num_streams = max(len(sequence.streams) for sequence in sequences)
    floats = _floats(sequences, num_streams, device)
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

    return Slots(
        num_candidates=max(num_candidates),
        any_sampled=any(request.temperature > 0 for request in requests),
        any_guided=any(sequence.is_guided for sequence in sequences),
        budgeted=_slots_where((one.is_guided and one.request.max_kl is not None for one in sequences), device),
        whole=_slots_where((_samples_all(request) and request.top_p >= 1 for request in requests), device),
        whole_nucleus=_slots_where((_samples_all(request) and request.top_p < 1 for request in requests), device),
        processors=build_processors(sequences, num_logits, eos_token_ids, device),
        allowed=torch.arange(max(num_candidates), device=device) < integers(num_candidates)[:, None],
        temperature=floats[:, 0],
        top_p=floats[:, 1],
        min_p=floats[:, 2],
        strength=floats[:, 3],
        max_kl=floats[:, 4],
        coefficients=floats[:, 5 : 5 + num_streams],
        rewards=floats[:, 5 + num_streams :],
        seed=integers([_signed(request.seed) for request in requests]),
        num_generated=integers([sequence.num_chosen for sequence in sequences]),
        bases=tuple(stream_rows(keys, bases=True) for keys in rows),
        others=tuple(stream_rows(keys, bases=False) for keys in rows),
        slot_of_row=tuple(integers([slot_of[request_id] for request_id, _ in keys]) for keys in rows),
    )


def _num_candidates(request: Request) -> int:
    """Where the whole vocabulary is sampled or its most likely token taken, one shows whether the logits are finite."""
    return 1 if request.k is None else request.k


def _floats(sequences: list[Sequence], num_streams: int, device: torch.device) -> Tensor:
    """[S, 5 + 2 M], one copy to the device for everything that is a float."""
    rows = []
    for sequence in sequences:
        request, streams = sequence.request, sequence.streams
        max_kl = math.inf if request.max_kl is None else request.max_kl
        coefficients = _padded([stream.coefficient for stream in streams], num_streams)
        rewards = _padded([stream.reward for stream in streams], num_streams)
        numbers = (request.temperature, request.top_p, request.min_p, request.strength, max_kl)
        rows.append([*numbers, *coefficients, *rewards])
    return torch.tensor(rows, dtype=torch.float64, device=device)


def _slots_where(asked: Iterable[bool], device: torch.device) -> Tensor | None:
    slots = [slot for slot, is_asked in enumerate(asked) if is_asked]
    return torch.tensor(slots, device=device) if slots else None


def _samples_all(request: Request) -> bool:
    """Whoever takes the most likely token needs no more than one candidate for it."""
    return request.k is None and request.temperature > 0


def _padded(values: list[float], length: int) -> list[float]:
    return [*values, *[0.0] * (length - len(values))]


def _signed(seed: int) -> int:
    """The seed modulo 2**64, as a signed integer."""
    return (seed + 2**63) % 2**64 - 2**63
