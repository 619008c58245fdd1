"""Who is decoded next: waiting requests, slots and the prefill budget. Decides; holds no tensors and no tokens."""

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ticket:
    """What the scheduler knows of a request."""

    request_id: int | str
    num_rows: int
    """Its streams: the rows it takes in the forward passes."""
    num_prompt_tokens: int
    """Of its longest stream."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the next step decodes, oldest first."""

    active: tuple[int | str, ...]
    admitted: frozenset[int | str]
    """Those of the active requests whose prompts are to be run first."""


class Scheduler:
    """First come, first served: a free slot is filled at the next step, within the prefill budget.

    One slot is one request. `prefill_budget` bounds the padded prompt tokens that one step runs, so that newcomers
    do not stall those who are being decoded; one request is admitted in any case.
    """

    def __init__(self, num_slots: int, prefill_budget: int) -> None:
        self.num_slots = num_slots
        self._prefill_budget = prefill_budget
        self._waiting: deque[Ticket] = deque()
        self._active: list[Ticket] = []

    @property
    def num_active(self) -> int:
        """Requests in a slot."""
        return len(self._active)

    @property
    def num_waiting(self) -> int:
        """Requests without a slot."""
        return len(self._waiting)

    def add(self, ticket: Ticket) -> None:
        """Queue a request."""
        self._waiting.append(ticket)

    def schedule(self) -> Plan:
        """Fill the free slots and say what to decode."""
        admitted: list[Ticket] = []
        while self._waiting and len(self._active) < self.num_slots:
            if admitted and _num_padded_tokens([*admitted, self._waiting[0]]) > self._prefill_budget:
                break
            ticket = self._waiting.popleft()
            admitted.append(ticket)
            self._active.append(ticket)
        return Plan(
            active=tuple(ticket.request_id for ticket in self._active),
            admitted=frozenset(ticket.request_id for ticket in admitted),
        )

    def remove(self, request_ids: Collection[int | str]) -> None:
        """Forget requests that have ended, wherever they are."""
        self._active = [ticket for ticket in self._active if ticket.request_id not in request_ids]
        self._waiting = deque(ticket for ticket in self._waiting if ticket.request_id not in request_ids)

    def halve(self, admitted: Collection[int | str]) -> tuple[int | str, ...]:
        """Halve the slots after a step ran out of memory; the requests that lose theirs wait in front, in their order.

        `admitted` are the requests of that step's plan whose prompts may not have been run: they lose theirs too.
        """
        self.num_slots = max(1, len(self._active) // 2)
        kept = [ticket for ticket in self._active[: self.num_slots] if ticket.request_id not in admitted]
        evicted = [ticket for ticket in self._active if ticket not in kept]
        self._active = kept
        self._waiting.extendleft(reversed(evicted))
        return tuple(ticket.request_id for ticket in evicted)


def _num_padded_tokens(tickets: list[Ticket]) -> int:
    """Tokens of a prefill in which every row is as long as the longest."""
    return sum(ticket.num_rows for ticket in tickets) * max(ticket.num_prompt_tokens for ticket in tickets)
