"""Who works now: heavy requests of one tenant wait for each other, and all of them leave threads for light ones.

A thread of the pool, once taken, cannot be asked to wait; so requests wait here, on the event loop, before they take
one. Lanes are safe to use from several event loops.
"""

import asyncio
import threading
import uuid
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager

from api.http.errors import OverloadedError, TooManyRequestsError

LIGHT_BYTES = 2**16
"""A body of that size is read and checked in milliseconds."""
PATIENCE_SECONDS = 120.0
RETRY_SECONDS = 5


class Lane:
    """At most `most` at once, and `most_of_tenant` of one tenant. Tenants take turns; of one, the first comes first."""

    def __init__(self, *, most_of_tenant: int, most: int, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._most_of_tenant = most_of_tenant
        self._most = most
        self._patience_seconds = patience_seconds
        self._lock = threading.Lock()
        self._inside: Counter[uuid.UUID] = Counter()
        self._waiting: OrderedDict[uuid.UUID, deque[Future[None]]] = OrderedDict()  # whose turn is next, first

    @asynccontextmanager
    async def slot(self, tenant_id: uuid.UUID) -> AsyncIterator[None]:
        """Wait for a slot and keep it for the block.

        Raises, after `patience_seconds`, `TooManyRequestsError` where the tenant's own requests are in the way and
        `OverloadedError` where others' are.
        """
        ticket = self._ask(tenant_id)
        try:
            if not ticket.done():
                await asyncio.wait([asyncio.wrap_future(ticket)], timeout=self._patience_seconds)
            if not ticket.done():
                raise self._refusal(tenant_id)
            yield
        finally:
            self._leave(tenant_id, ticket)

    def _ask(self, tenant_id: uuid.UUID) -> Future[None]:
        ticket: Future[None] = Future()
        with self._lock:
            self._waiting.setdefault(tenant_id, deque()).append(ticket)
            self._admit()
        return ticket

    def _leave(self, tenant_id: uuid.UUID, ticket: Future[None]) -> None:
        with self._lock:
            if ticket.cancel() or ticket.cancelled():  # it never had its turn
                self._forget(tenant_id, ticket)
            else:
                self._inside[tenant_id] -= 1
                self._inside += Counter()  # without the tenants that have nothing inside
                self._admit()

    def _admit(self) -> None:
        """Give out every free slot, to the tenants in turn."""
        while self._inside.total() < self._most:
            free = (tenant for tenant in self._waiting if self._inside[tenant] < self._most_of_tenant)
            tenant_id = next(free, None)
            if tenant_id is None:
                return
            ticket = self._waiting[tenant_id][0]
            self._forget(tenant_id, ticket)
            if ticket.set_running_or_notify_cancel():
                self._inside[tenant_id] += 1
                ticket.set_result(None)

    def _forget(self, tenant_id: uuid.UUID, ticket: Future[None]) -> None:
        """Take a ticket out of those that wait; the tenant's others wait behind the other tenants' next ones."""
        tickets = self._waiting.get(tenant_id)
        if tickets is None or ticket not in tickets:
            return
        tickets.remove(ticket)
        if tickets:
            self._waiting.move_to_end(tenant_id)
        else:
            del self._waiting[tenant_id]

    def _refusal(self, tenant_id: uuid.UUID) -> Exception:
        headers = {"Retry-After": str(RETRY_SECONDS)}
        with self._lock:
            is_own = self._inside[tenant_id] >= self._most_of_tenant
        return TooManyRequestsError(headers=headers) if is_own else OverloadedError(headers=headers)


class Lanes:
    """The lanes of one process. Together they take fewer threads than the pool has (40), and fewer connections (20)."""

    def __init__(self) -> None:
        self.receiving = Lane(most_of_tenant=64, most=256, patience_seconds=0)
        """Bulk requests from their first byte to their answer: they hold a file, and no thread."""
        self.heavy = Lane(most_of_tenant=2, most=4)
        """Bodies beyond `LIGHT_BYTES`, campaigns, imports: Python's time, for seconds."""
        self.light = Lane(most_of_tenant=4, most=8)
        """Small submissions: on SQLite they may have to wait for the one writer."""
        self.streams = Lane(most_of_tenant=2, most=4)
        """Exports, for as long as a chunk takes: a slow reader holds nothing."""
