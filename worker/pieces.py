"""Texts on their way to who listens while they grow. A hint beside the queue: what is lost comes with the result.

Redis carries pieces to whoever is subscribed at the moment and keeps none of them. Here are their form on the wire and
the sender; `api.streams.hearing` hears them.
"""

import json
import threading
import uuid
from collections import defaultdict
from collections.abc import Iterable

import redis
import structlog

from domain.text_pieces import Piece
from telemetry.metrics import REDIS_FAULTS
from worker.queue import REST_SECONDS, redis_client

MOST_PENDING = 512
"""Answers of which pieces wait for a Redis that is away."""
_PREFIX = "padserve:pieces:"

log = structlog.get_logger(__name__)


def listener_of(process: uuid.UUID, name: uuid.UUID) -> str:
    """How one who listens in a process is named in the item."""
    return f"{process.hex}.{name.hex}"


def channel_of(listener: str) -> str:
    """Where Redis carries what is for this listener's process."""
    return _PREFIX + listener.partition(".")[0]


def packed(pieces: Iterable[Piece]) -> str:
    """Pieces as one message for Redis."""
    return json.dumps(list(pieces))


def unpacked(message: bytes) -> list[Piece]:
    """The pieces of a message; ValueError where it is none."""
    try:
        return [Piece(*piece) for piece in json.loads(message)]
    except TypeError as error:
        raise ValueError from error


class PieceSender:
    """Sends pieces from one thread of its own, so that nobody who decodes ever waits for Redis.

    What Redis does not take is tried again after a rest, joined with what has come meanwhile; of too much, the newest.
    """

    def __init__(self, redis_url: str, *, rest_seconds: float = REST_SECONDS) -> None:
        self._redis_url = redis_url
        self._rest_seconds = rest_seconds
        self._pending: dict[tuple[str, int, int], Piece] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def send(self, pieces: Iterable[Piece]) -> None:
        """Have them sent. Returns at once."""
        with self._changed:
            for piece in pieces:
                self._add(piece)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="pieces", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self, seconds: float) -> bool:
        """Wait until everything is sent, at most so long; whether it was."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._pending, seconds)

    def close(self) -> None:
        """End the sending thread; what is not sent yet is dropped."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _add(self, piece: Piece) -> None:
        key = (piece.listener, piece.attempt, piece.choice)
        waiting = self._pending.get(key)
        if waiting is not None and waiting.offset + len(waiting.text) == piece.offset:
            piece = waiting._replace(text=waiting.text + piece.text)
        self._pending[key] = piece
        if len(self._pending) > MOST_PENDING:
            del self._pending[next(iter(self._pending))]

    def _run(self) -> None:
        is_failing = False
        with redis_client(self._redis_url) as client:
            while pieces := self._next():
                error = _publish(client, pieces)
                if error is not None:
                    REDIS_FAULTS.inc()
                if error is not None and not is_failing:
                    log.warning("pieces_not_sent", error=type(error).__name__)
                is_failing = error is not None
                with self._changed:
                    if is_failing:
                        self._changed.wait_for(lambda: self._is_closed, self._rest_seconds)
                    else:
                        self._forget(pieces)
                        self._changed.notify_all()

    def _next(self) -> list[Piece]:
        """All that waits, once there is something; nothing at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._pending or self._is_closed)
            return [] if self._is_closed else list(self._pending.values())

    def _forget(self, sent: list[Piece]) -> None:
        """These have been sent; what was joined to them meanwhile has not."""
        for piece in sent:
            key = (piece.listener, piece.attempt, piece.choice)
            waiting = self._pending.get(key)
            if waiting == piece:
                del self._pending[key]
            elif waiting is not None and waiting.offset == piece.offset and waiting.text.startswith(piece.text):
                num_sent = len(piece.text)
                self._pending[key] = waiting._replace(offset=piece.offset + num_sent, text=waiting.text[num_sent:])


def _publish(client: redis.Redis, pieces: list[Piece]) -> Exception | None:
    """Send them, one message for each process that listens; why they were not."""
    by_channel = defaultdict(list)
    for piece in pieces:
        by_channel[channel_of(piece.listener)].append(piece)
    try:
        with client.pipeline(transaction=False) as pipeline:
            for channel, its_pieces in by_channel.items():
                pipeline.publish(channel, packed(its_pieces))
            pipeline.execute()
    except Exception as error:  # noqa: BLE001 - this thread outlives every error: without it nothing is heard
        return error
    return None
