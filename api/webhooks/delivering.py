"""Delivers events as they become due, beside the requests of this process: any number of processes share the work.

One thread with an event loop of its own. What is under way is bounded for each webhook and each tenant, so that slow
receivers hold up nobody's events but their own; the database is asked in threads.
"""

import asyncio
import random
import threading
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import structlog

from api import metrics
from api.webhooks.retries import Answer, Delivered, GivenUp, Postponed, decide
from api.webhooks.sending import MAX_CONNECTIONS, Sender
from db.faults import describe, is_passing
from db.queries import deliveries
from db.queries.deliveries import ClaimedDelivery, DueWebhook
from db.session import Database

LOOK_SECONDS = 1.0
PATIENCE = 5
"""How much longer than between two looks it is waited after one that failed."""
DATABASE_THREADS = 4
"""As many connections at most are taken from the requests."""
MAX_PER_WEBHOOK = 4
MAX_PER_TENANT = 16
FORGET_SECONDS = 3600.0
STOP_SECONDS = 5.0
"""How long attempts that are under way at the end are waited for; what has no answer then is sent again by others."""

log = structlog.get_logger(__name__)


class Deliverer:
    """Sends what is due until it is closed. `start` returns at once."""

    def __init__(self, database: Database, *, allow_private: bool, look_seconds: float = LOOK_SECONDS) -> None:
        self._database = database
        self._allow_private = allow_private
        self._look_seconds = look_seconds
        self._is_stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)
        self._per_webhook: Counter[uuid.UUID] = Counter()
        self._per_tenant: Counter[uuid.UUID] = Counter()
        self._under_way: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._next_forgetting = 0.0

    def start(self) -> None:
        """Start the thread that claims due deliveries and makes them."""
        self._thread.start()

    def close(self, seconds: float = STOP_SECONDS) -> None:
        """Claim nothing more, and wait for so long for what is under way."""
        self._is_stopping = True
        if self._loop is not None:
            with suppress(RuntimeError):  # it has ended already
                self._loop.call_soon_threadsafe(self._wake.set)
        self._thread.join(seconds + self._look_seconds)

    def _run(self) -> None:
        try:
            asyncio.run(self._deliver())
        except Exception:
            log.exception("webhooks_died")

    async def _deliver(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_default_executor(ThreadPoolExecutor(DATABASE_THREADS, thread_name_prefix="webhooks"))
        async with Sender(allow_private=self._allow_private) as sender:
            while not self._is_stopping:
                self._wake.clear()
                pause = self._look_seconds
                try:
                    await self._round(sender)
                except Exception as error:
                    if is_passing(error):
                        log.warning("webhooks_postponed", **describe(error))
                    else:
                        log.exception("webhooks_failed")
                    pause *= PATIENCE
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), pause)
            if self._under_way:
                await asyncio.wait(self._under_way, timeout=STOP_SECONDS)

    async def _round(self, sender: Sender) -> None:
        """Claim and begin what is due, as much of it as there is room for."""
        found = await asyncio.to_thread(self._due)
        random.shuffle(found)  # where there is not room for all, none is always the last
        for due in found:
            room = min(
                MAX_PER_WEBHOOK - self._per_webhook[due.id],
                MAX_PER_TENANT - self._per_tenant[due.tenant_id],
                MAX_CONNECTIONS - len(self._under_way),
            )
            if room > 0:
                for claimed in await asyncio.to_thread(self._claim, due.id, room):
                    self._begin(sender, claimed)
        if time.monotonic() >= self._next_forgetting:
            self._next_forgetting = time.monotonic() + FORGET_SECONDS
            await asyncio.to_thread(self._forget)

    def _begin(self, sender: Sender, claimed: ClaimedDelivery) -> None:
        self._per_webhook[claimed.webhook_id] += 1
        self._per_tenant[claimed.tenant_id] += 1
        task = asyncio.create_task(self._attempt(sender, claimed))
        self._under_way.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._under_way.discard(task)
            if self._per_webhook[claimed.webhook_id] >= MAX_PER_WEBHOOK:
                self._wake.set()  # more may be due
            self._per_webhook -= Counter({claimed.webhook_id: 1})  # an empty count is dropped
            self._per_tenant -= Counter({claimed.tenant_id: 1})

        task.add_done_callback(ended)

    async def _attempt(self, sender: Sender, claimed: ClaimedDelivery) -> None:
        answer = await sender.send(claimed)
        try:
            await asyncio.to_thread(self._note, claimed, answer)
        except Exception as error:
            if not is_passing(error):  # else it counts as lost, and is made again
                log.exception("webhook_attempt_not_noted")
                return
            log.warning("webhook_attempt_not_noted", **describe(error))

    def _due(self) -> list[DueWebhook]:
        with self._database.reading() as session:
            return deliveries.due_webhooks(session)

    def _claim(self, webhook_id: uuid.UUID, room: int) -> list[ClaimedDelivery]:
        with self._database.transaction() as session:
            return deliveries.claim(session, webhook_id, limit=room)

    def _note(self, claimed: ClaimedDelivery, answer: Answer) -> None:
        decision = decide(answer, claimed.num_tries)
        said = {"webhook_id": str(claimed.webhook_id), "delivery_id": claimed.id, "status": answer.status_code}
        status_code, fault, disabled = answer.status_code, answer.said, None
        with self._database.transaction() as session:
            match decision:
                case Delivered():
                    deliveries.succeed(session, claimed, status_code or 0)
                case Postponed(seconds):
                    deliveries.postpone(session, claimed, status_code=status_code, fault=fault, seconds=seconds)
                case GivenUp(disables):
                    disabled = deliveries.give_up(
                        session, claimed, status_code=status_code, fault=fault, disables=disables
                    )
        metrics.count_webhook(decision, is_disabled=disabled is not None)
        if not isinstance(decision, Delivered):
            log.info("webhook_attempt_failed", **said, num_tries=claimed.num_tries)
        if disabled is not None:
            log.warning("webhook_disabled", **said)

    def _forget(self) -> None:
        is_left = True
        while is_left:
            with self._database.transaction() as session:
                is_left = deliveries.forget_old(session)
