"""Hearing texts while they grow: one subscription in Redis for everybody in this process who waits for an answer.

A Redis that is away or hangs costs nobody more than a moment: what is not heard comes with the result.
"""

import asyncio
import threading
import uuid
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import structlog
from starlette.concurrency import run_in_threadpool

from domain.text_pieces import Piece
from telemetry.metrics import REDIS_FAULTS
from worker.pieces import channel_of, listener_of, unpacked
from worker.queue import redis_client

READY_SECONDS = 1.0
"""So long the first who listens waits for the subscription; nobody does while Redis is away."""
LOOK_SECONDS = 1.0
REST_SECONDS = 0.25

log = structlog.get_logger(__name__)


@dataclass(eq=False)
class Hearing:
    """A client that listens to the growing texts of one item, in one event loop."""

    listener: str
    """The name under which the item's pieces are addressed to this client."""
    loop: asyncio.AbstractEventLoop
    _heard: list[Piece] = field(default_factory=list)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def something(self) -> None:
        """Return once `take` has pieces to give."""
        await self._changed.wait()

    def take(self) -> list[Piece]:
        """The pieces that came since the last call, oldest first."""
        self._changed.clear()
        taken, self._heard = self._heard, []
        return taken

    def hear(self, pieces: Sequence[Piece]) -> None:
        """Add pieces and wake the listener; to be called in its event loop."""
        self._heard += pieces
        self._changed.set()


class Ear:
    """Listens for a process, in a thread of its own that begins with the first who wants to hear."""

    def __init__(self, redis_url: str) -> None:
        self._redis_url = redis_url
        self._process = uuid.uuid4()
        self._hearings: dict[str, Hearing] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_closed = threading.Event()
        self._tried = threading.Event()
        """Set once it is known whether Redis can be listened to."""
        self._is_failing = False

    async def ready(self) -> None:
        """Return once what is said is heard, or Redis is known to be away, or a moment has passed."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="ear", daemon=True)
                self._thread.start()
        if not self._tried.is_set():
            await run_in_threadpool(self._tried.wait, READY_SECONDS)
            self._tried.set()

    @contextmanager
    def hearing(self) -> Iterator[Hearing]:
        """A new listener, addressed until the block ends; to be entered within an event loop."""
        hearing = Hearing(listener_of(self._process, uuid.uuid4()), asyncio.get_running_loop())
        self._hearings[hearing.listener] = hearing
        try:
            yield hearing
        finally:
            del self._hearings[hearing.listener]

    def close(self) -> None:
        """End the subscription; whoever still listens hears nothing more."""
        self._is_closed.set()

    def _run(self) -> None:
        while not self._is_closed.is_set():
            try:
                self._listen()
            except Exception as error:  # noqa: BLE001 - this thread outlives every error: without it nobody hears
                REDIS_FAULTS.inc()
                if not self._is_failing:
                    log.warning("not_listening", error=type(error).__name__)
                self._is_failing = True
                self._tried.set()
                self._is_closed.wait(REST_SECONDS)

    def _listen(self) -> None:
        """Hand on what is published until the ear is closed; raises what Redis raises when it is lost."""
        with redis_client(self._redis_url) as client, client.pubsub() as subscription:
            subscription.subscribe(channel_of(listener_of(self._process, self._process)))
            while not self._is_closed.is_set():
                message = subscription.get_message(timeout=LOOK_SECONDS)
                if message is None:
                    continue
                if message["type"] == "subscribe":
                    self._tried.set()
                    self._is_failing = False
                elif message["type"] == "message":
                    self._deliver(message["data"])

    def _deliver(self, message: bytes) -> None:
        try:
            pieces = unpacked(message)
        except ValueError:
            log.warning("pieces_not_understood")  # from another version, say
            return
        by_listener = defaultdict(list)
        for piece in pieces:
            by_listener[piece.listener].append(piece)
        for listener, its_pieces in by_listener.items():
            hearing = self._hearings.get(listener)
            if hearing is not None:
                with suppress(RuntimeError):  # its loop has just been closed
                    hearing.loop.call_soon_threadsafe(hearing.hear, its_pieces)
