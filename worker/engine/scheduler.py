"""Who is decoded next: waiting requests, slots and the prefill budget. Decides; holds no tensors and no tokens.

The one idea: a prompt is read in pieces, as many tokens per step as the budget allows, beside the rows that decode. At
any time at most one request is half-read, the newest, so whoever waits behind it waits for nothing else.
"""

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from worker.engine.prefixes import PrefixKey

TicketId: TypeAlias = "int | str | PrefixKey"


@dataclass(frozen=True, slots=True)
class Ticket:
    """What the scheduler knows of a request, or of a prefix that is read for several."""

    request_id: TicketId
    num_rows: int
    """Its streams: the rows it takes in the forward passes."""

    @property
    def decodes(self) -> bool:
        """Whether tokens are to be chosen once it is read."""
        return not isinstance(self.request_id, PrefixKey)


class Prompts(Protocol):
    """What must be known of prompts at the moment they are admitted."""

    def missing_prefix(self, request_id: TicketId) -> Ticket | None:
        """A shared prefix that is worth reading before this request."""

    def num_tokens(self, request_id: TicketId) -> int:
        """Tokens to be run of its longest stream; from the first call on, its streams are as they are."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of one request's prompts, in tokens of its longest stream; shorter streams end together with it."""

    request_id: TicketId
    start: int
    end: int
    is_last: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What the next step runs."""

    decoding: tuple[int | str, ...]
    """Requests with a pending token, oldest first."""
    chunks: tuple[Chunk, ...]
    """Prompts to be read, oldest first."""

    @property
    def joining(self) -> tuple[int | str, ...]:
        """Requests that decode from this step on."""
        return tuple(
            chunk.request_id for chunk in self.chunks if chunk.is_last and not isinstance(chunk.request_id, PrefixKey)
        )

    @property
    def active(self) -> tuple[int | str, ...]:
        """Requests for which a token is chosen."""
        return self.decoding + self.joining

    @property
    def is_smallest(self) -> bool:
        """Whether it runs one request only: less cannot be run. A request can do without a prefix read before it."""
        requests = [*self.decoding, *(chunk for chunk in self.chunks if not isinstance(chunk.request_id, PrefixKey))]
        return len(requests) == 1 and len(self.decoding) + len(self.chunks) == 1


@dataclass(slots=True)
class _Reading:
    ticket: Ticket
    num_tokens: int
    num_read: int = 0


class Scheduler:
    """First come, first served: a free slot is filled at the next step, within the prefill budget.

    One slot is one request. `prefill_budget` bounds the prompt tokens that one step runs, so that newcomers do not
    stall those who are being decoded. Where a step costs much whatever it does, `admit_at_least` slots are filled
    together.
    """

    def __init__(self, num_slots: int, prefill_budget: int, admit_at_least: int = 1) -> None:
        self.num_slots = num_slots
        self._prefill_budget = prefill_budget
        self._admit_at_least = admit_at_least
        self._waiting: deque[Ticket] = deque()
        self._reading: _Reading | None = None
        self._decoding: list[Ticket] = []
        self._is_filling = False

    @property
    def num_active(self) -> int:
        """Requests in a slot."""
        return len(self._decoding) + (self._reading is not None)

    @property
    def num_waiting(self) -> int:
        """Requests without a slot."""
        return len(self._waiting)

    def add(self, ticket: Ticket) -> None:
        """Queue a request."""
        self._waiting.append(ticket)

    def schedule(self, prompts: Prompts) -> Plan:
        """Fill the free slots and say what to run."""
        decoding = [ticket.request_id for ticket in self._decoding if not isinstance(ticket.request_id, PrefixKey)]
        chunks: list[Chunk] = []
        budget = self._prefill_budget
        self._is_filling = self._goes_on_filling()
        while budget > 0:
            if self._reading is None:
                if not self._is_filling or not self._waiting or len(self._decoding) >= self.num_slots:
                    break
                self._reading = self._next(prompts)
            chunk, ticket = self._read(self._reading, budget)
            chunks.append(chunk)
            budget -= (chunk.end - chunk.start) * ticket.num_rows
            if not chunk.is_last:
                break
            self._reading = None
            if not ticket.decodes:
                break  # whoever waits for this prefix is admitted once it is there
            self._decoding.append(ticket)
        self._is_filling = self._is_filling and len(self._decoding) < self.num_slots
        return Plan(tuple(decoding), tuple(chunks))

    def _goes_on_filling(self) -> bool:
        """Whether free slots are filled now: begun when enough are free, ended when none is."""
        free = self.num_slots - len(self._decoding)
        enough = free >= self._admit_at_least or not self._decoding or len(self._waiting) <= free
        return self._is_filling or enough

    def _next(self, prompts: Prompts) -> _Reading:
        ticket = prompts.missing_prefix(self._waiting[0].request_id)
        if ticket is None:
            ticket = self._waiting.popleft()
        return _Reading(ticket, prompts.num_tokens(ticket.request_id))

    @staticmethod
    def _read(reading: _Reading, budget: int) -> tuple[Chunk, Ticket]:
        start = reading.num_read
        reading.num_read = min(start + max(1, budget // reading.ticket.num_rows), reading.num_tokens)
        is_last = reading.num_read == reading.num_tokens
        return Chunk(reading.ticket.request_id, start, reading.num_read, is_last), reading.ticket

    def remove(self, request_ids: Collection[TicketId]) -> PrefixKey | None:
        """Forget requests, wherever they are; the half-read prefix that nobody waits for any more goes with them."""
        self._decoding = [ticket for ticket in self._decoding if ticket.request_id not in request_ids]
        self._waiting = deque(ticket for ticket in self._waiting if ticket.request_id not in request_ids)
        if self._reading is None:
            return None
        being_read = self._reading.ticket.request_id
        if isinstance(being_read, PrefixKey) and not self._waiting:
            self._reading = None
            return being_read
        if being_read in request_ids:
            self._reading = None
        return None

    def halve(self, plan: Plan, *, keep_none: bool = False) -> tuple[TicketId, ...]:
        """Halve the slots after this plan ran out of memory; requests that lose theirs wait in front, in their order.

        Those whose prompts the plan was reading lose theirs too, or all where nobody's state is known; a half-read
        prefix is forgotten.
        """
        active = [*self._decoding, *([self._reading.ticket] if self._reading else [])]
        self.num_slots = max(1, len(active) // 2)
        safe = set() if keep_none else set(plan.decoding[: self.num_slots])
        evicted = [ticket for ticket in active if ticket.request_id not in safe]
        evicted_ids = {ticket.request_id for ticket in evicted} | {chunk.request_id for chunk in plan.chunks}
        self._decoding = [ticket for ticket in self._decoding if ticket.request_id in safe]
        self._reading = None
        self._waiting.extendleft(reversed([ticket for ticket in evicted if ticket.decodes]))
        return tuple(evicted_ids)
