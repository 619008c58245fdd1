"""Who is decoded next: waiting requests, slots, the cache and the prefill budget. Decides; holds no tensors, no tokens.

A request is admitted when a slot is free and the cache has room for all that it will need: none is ever thrown out
for another. Its prompt is read in pieces, as many tokens per step as the budget allows, beside the rows that decode. At
any time at most one request is half-read, the newest, so whoever waits behind it waits for nothing else.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from worker.engine.cache.memory import Ledger, Need
from worker.engine.cache.prefixes import PrefixKey, TicketId

MOST_OVERTAKEN = 32
"""Requests that may pass one that waits for more room than there is; then all wait behind it."""
LOOK_AHEAD = 64
"""Waiting requests among which one that fits is looked for."""
SMALLEST_PIECE = 16
"""Prompt tokens of a step that are not halved any further when memory runs out."""
CALM_STEPS = 32
"""Steps after which a part of what was lost to a lack of memory is tried again; twice as many after each new lack."""
MOST_CALM_STEPS = 4096
SHARE_GROWN_BACK = 8
"""Slots come back by an eighth of all."""


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


class PendingPrompts(Protocol):
    """What must be known of prompts at the moment they are admitted."""

    def missing_prefix(self, request_id: TicketId) -> Ticket | None:
        """A shared prefix that is worth reading before this request."""

    def num_tokens(self, request_id: TicketId) -> int:
        """Tokens to be run of its longest stream; from the first call on, its streams are as they are."""

    def need(self, request_id: TicketId) -> Need:
        """What it would take of the cache, in bytes, if it were admitted now."""

    @property
    def kept(self) -> Mapping[int, int]:
        """Bytes of the prefixes that are kept for whoever comes, by their identities."""

    def forget_prefixes(self) -> None:
        """Drop every kept prefix, to make room."""


@dataclass(frozen=True, slots=True)
class PrefillChunk:
    """A part of one request's prompts, in tokens of its longest stream; shorter streams end together with it."""

    request_id: TicketId
    start: int
    end: int
    is_last: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What the next step runs: requests that decode a token, and chunks of prompts that are read."""

    decoding: tuple[int | str, ...]
    """Requests with a pending token, oldest first."""
    chunks: tuple[PrefillChunk, ...]
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
class _Waiting:
    ticket: Ticket
    num_overtaken: int = 0


@dataclass(slots=True)
class _Reading:
    ticket: Ticket
    num_tokens: int
    num_read: int = 0


class Scheduler:
    """First come, first served: a free slot is filled at the next step, within the cache and the prefill budget.

    One slot is one request. `prefill_budget` bounds the prompt tokens that one step runs, so that newcomers do not
    stall those who are being decoded. Where a step costs much whatever it does, `admit_at_least` slots are filled
    together. `ledger` bounds what the requests in slots need; one that has to wait for room is overtaken by
    smaller ones, but not for long. What a lack of memory takes away comes back in time.
    """

    def __init__(
        self, num_slots: int, prefill_budget: int, admit_at_least: int = 1, ledger: Ledger | None = None
    ) -> None:
        self.num_slots = self._most_slots = num_slots
        self.prefill_budget = self._most_read = prefill_budget
        self.ledger = ledger or Ledger()
        self._admit_at_least = admit_at_least
        self._waiting: list[_Waiting] = []
        self._reading: _Reading | None = None
        self._decoding: list[Ticket] = []
        self._is_filling = False
        self._num_full = num_slots
        """Requests in slots when no more could be admitted."""
        self._calm_steps, self._patience = 0, CALM_STEPS

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
        self._waiting.append(_Waiting(ticket))

    def schedule(self, prompts: PendingPrompts) -> Plan:
        """Fill the free slots and say what to run."""
        decoding = [ticket.request_id for ticket in self._decoding if not isinstance(ticket.request_id, PrefixKey)]
        chunks: list[PrefillChunk] = []
        budget = self.prefill_budget
        self._is_filling = self._goes_on_filling()
        while budget > 0:
            self._reading = self._reading or self._next(prompts)
            if self._reading is None:
                break
            chunk, ticket = self._read(self._reading, budget)
            chunks.append(chunk)
            budget -= (chunk.end - chunk.start) * ticket.num_rows
            if not chunk.is_last:
                break
            self._reading = None
            if not ticket.decodes:
                self.ledger.release({ticket.request_id})  # kept for others from now on
                break  # whoever waits for this prefix is admitted once it is there
            self._decoding.append(ticket)
        if len(self._decoding) >= self.num_slots:
            self._is_filling, self._num_full = False, self.num_slots
        return Plan(tuple(decoding), tuple(chunks))

    def _goes_on_filling(self) -> bool:
        """Whether free slots are filled now: begun when enough are free, ended when nobody more can be admitted."""
        free = min(self.num_slots, self._num_full) - len(self._decoding)
        enough = free >= self._admit_at_least or not self._decoding or len(self._waiting) <= free
        return self._is_filling or enough

    def _next(self, prompts: PendingPrompts) -> _Reading | None:
        """Whoever is to be read now: the first that fits, or a prefix that it shares with others."""
        if not self._is_filling or not self._waiting:
            return None
        place = self._first_that_fits(prompts) if len(self._decoding) < self.num_slots else None
        if place is None:
            self._is_filling, self._num_full = False, len(self._decoding)
            return None
        ticket = self._waiting[place].ticket
        prefix = prompts.missing_prefix(ticket.request_id)
        if prefix is not None and self.ledger.fits(prompts.need(prefix.request_id), prompts.kept):
            ticket = prefix
        else:
            for overtaken in self._waiting[:place]:
                overtaken.num_overtaken += 1
            del self._waiting[place]
        num_tokens = prompts.num_tokens(ticket.request_id)
        self.ledger.promise(ticket.request_id, prompts.need(ticket.request_id))
        return _Reading(ticket, num_tokens)

    def _first_that_fits(self, prompts: PendingPrompts) -> int | None:
        """Its place among those who wait; nobody passes one that was overtaken often enough."""
        if not self._decoding and not self.ledger.fits(prompts.need(self._waiting[0].ticket.request_id), prompts.kept):
            prompts.forget_prefixes()
            return 0  # it is alone: less cannot be asked for
        for place, waiting in enumerate(islice(self._waiting, LOOK_AHEAD)):
            if self.ledger.fits(prompts.need(waiting.ticket.request_id), prompts.kept):
                return place
            if waiting.num_overtaken >= MOST_OVERTAKEN:
                return None
        return None

    @staticmethod
    def _read(reading: _Reading, budget: int) -> tuple[PrefillChunk, Ticket]:
        start = reading.num_read
        reading.num_read = min(start + max(1, budget // reading.ticket.num_rows), reading.num_tokens)
        is_last = reading.num_read == reading.num_tokens
        return PrefillChunk(reading.ticket.request_id, start, reading.num_read, is_last), reading.ticket

    def remove(self, request_ids: Collection[TicketId]) -> PrefixKey | None:
        """Forget requests, wherever they are; the half-read prefix that nobody waits for any more goes with them."""
        self._decoding = [ticket for ticket in self._decoding if ticket.request_id not in request_ids]
        self._waiting = [waiting for waiting in self._waiting if waiting.ticket.request_id not in request_ids]
        self.ledger.release(request_ids)
        if self._reading is None:
            return None
        being_read = self._reading.ticket.request_id
        if isinstance(being_read, PrefixKey) and not self._waiting:
            self._reading = None
            self.ledger.release({being_read})
            return being_read
        if being_read in request_ids:
            self._reading = None
        return None

    def succeed(self) -> None:
        """A step has run. After enough of them, a part of what a lack of memory took away is tried again."""
        is_whole = (self.num_slots, self.prefill_budget) == (self._most_slots, self._most_read)
        if is_whole and self._patience == CALM_STEPS:
            return
        self._calm_steps += 1
        if self._calm_steps < self._patience:
            return
        self._calm_steps = 0
        if is_whole:
            self._patience = CALM_STEPS
            return
        more = max(1, self._most_slots // SHARE_GROWN_BACK)
        self.num_slots = self._num_full = min(self._most_slots, self.num_slots + more)
        self.prefill_budget = min(self._most_read, 2 * self.prefill_budget)

    @staticmethod
    def can_read_less(plan: Plan) -> bool:
        """Whether the prompt tokens of this plan can be halved."""
        return sum(chunk.end - chunk.start for chunk in plan.chunks) > SMALLEST_PIECE

    def halve(self, plan: Plan, *, keep_none: bool = False) -> tuple[TicketId, ...]:
        """Halve the slots and the pieces of prompts after this plan ran out of memory.

        Requests that lose their slots wait in front, in their order. Those whose prompts the plan was reading lose
        theirs too, or all where nobody's state is known; a half-read prefix is forgotten.
        """
        active = [*self._decoding, *([self._reading.ticket] if self._reading else [])]
        self.num_slots = self._num_full = max(1, len(active) // 2)
        if self.can_read_less(plan):
            rows = {ticket.request_id: ticket.num_rows for ticket in active}
            num_read = sum((chunk.end - chunk.start) * rows.get(chunk.request_id, 1) for chunk in plan.chunks)
            self.prefill_budget = max(SMALLEST_PIECE, min(self.prefill_budget, num_read) // 2)
        self._calm_steps, self._patience = 0, min(2 * self._patience, MOST_CALM_STEPS)
        safe = set() if keep_none else set(plan.decoding[: self.num_slots])
        evicted = [ticket for ticket in active if ticket.request_id not in safe]
        evicted_ids = {ticket.request_id for ticket in evicted} | {chunk.request_id for chunk in plan.chunks}
        self._decoding = [ticket for ticket in self._decoding if ticket.request_id in safe]
        self._reading = None
        self.ledger.release(evicted_ids)
        self._waiting[:0] = [_Waiting(ticket) for ticket in evicted if ticket.decodes]
        return tuple(evicted_ids)
