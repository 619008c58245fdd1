"""The Celery application and the messages it carries: "there is work". All of the worker that the API may import.

SQL is the queue of record. A message holds an id and may be lost, doubled or late without harm, so publishing is
best effort and bounded in time: what it misses, workers find in their sweeps. Each model has a queue of its own, so
that a message wakes a worker that can do the work; it is for whoever publishes to see that somebody reads it.
"""

import socket
import threading
import uuid
from typing import NamedTuple, TypeAlias

import redis
import structlog
from celery import Celery
from kombu.exceptions import OperationalError
from redis.backoff import NoBackoff
from redis.retry import Retry

from telemetry.metrics import REDIS_FAULTS

Queue: TypeAlias = Celery  # for signatures elsewhere: only this module and `worker.tasks` know that it is Celery

DECODE = "padserve.decode"
LEARN = "padserve.learn"
PUBLISH_TIMEOUT_SECONDS = 2.0
CONSUME_TIMEOUT_SECONDS = 30.0  # a consumer waits in Redis for its next message
REST_SECONDS = 1.0
MOST_PENDING = 100
# A worker that comes back after that long finds its work without being told, and need not hear all that was said.
MESSAGE_SECONDS = 3600
# A Redis that is gone without a word is noticed within half a minute, by probes or by what is not acknowledged.
_PROBES = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 15_000}
DEAD_PEER = {getattr(socket, name): value for name, value in _PROBES.items() if hasattr(socket, name)}

log = structlog.get_logger(__name__)


class QueueUnreachableError(Exception):
    """Redis does not answer."""


class QueueUrlError(QueueUnreachableError):
    """What is given is not the URL of a Redis."""


def check_queue(redis_url: str) -> None:
    """Raise `QueueUnreachableError`, in one line without credentials, when Redis does not answer."""
    try:
        with redis_client(redis_url) as client:
            client.ping()
    except redis.RedisError as error:
        raise QueueUnreachableError(_cannot_reach(redis_url, error)) from error


def check_queue_url(redis_url: str) -> None:
    """Raise `QueueUrlError`, in one line without credentials, for what no Redis can be reached by. Asks nobody."""
    redis_client(redis_url).close()


def redis_client(redis_url: str) -> redis.Redis:
    """A client that waits for Redis no longer than a message may take. Makes no connection."""
    if not redis_url.startswith(("redis://", "rediss://")):  # redis-py takes others, and Celery does not
        raise QueueUrlError(_cannot_reach(redis_url, ValueError("write redis:// or rediss://")))
    try:
        return redis.Redis.from_url(
            redis_url,
            socket_connect_timeout=PUBLISH_TIMEOUT_SECONDS,
            socket_timeout=PUBLISH_TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
            socket_keepalive=True,
            socket_keepalive_options=DEAD_PEER,
        )
    except ValueError as error:
        raise QueueUrlError(_cannot_reach(redis_url, error)) from error


def _cannot_reach(redis_url: str, error: Exception) -> str:
    where = redis_url.rpartition("@")[2]
    return f"Cannot reach Redis at {where} (PADSERVE_REDIS_URL): {str(error).rstrip('.')}."


def create_queue(redis_url: str, *, timeout_seconds: float = CONSUME_TIMEOUT_SECONDS) -> Queue:
    """The Celery application on one Redis; `timeout_seconds` is how long Redis may be silent. Makes no connection."""
    app = Celery("padserve", broker=redis_url)
    app.conf.update(
        task_acks_late=False,  # the lease in SQL is what survives a crash, not the message
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_channel_error_retry=True,  # MISCONF, OOM and READONLY are answers, not lost connections: they pass, too
        broker_transport_options={
            "global_keyprefix": "padserve:",
            "socket_connect_timeout": PUBLISH_TIMEOUT_SECONDS,
            "socket_timeout": timeout_seconds,
            "socket_keepalive": True,
            "socket_keepalive_options": DEAD_PEER,
            "health_check_interval": 10,
            "retry_on_timeout": True,
        },
    )
    return app


def queue_name(model_digest: str) -> str:
    """Where the messages for a model's workers lie."""
    return f"model:{model_digest}"


def enqueue(queue: Queue, job_id: uuid.UUID, model_digest: str) -> bool:
    """Wake a worker for a job that is committed. False when Redis does not take it: the reconciler will try again."""
    return _send(queue, Wakeup(DECODE, model_digest, job_id))


def enqueue_fit(queue: Queue, fit_id: uuid.UUID, model_digest: str) -> bool:
    """Wake a worker for a fit that is committed. False when Redis does not take it: the reconciler will try again."""
    return _send(queue, Wakeup(LEARN, model_digest, fit_id))


class Wakeup(NamedTuple):
    """One message: which task, for whose workers, and of what."""

    task: str
    model_digest: str
    id: uuid.UUID


class Publisher:
    """Sends messages from one thread of its own, so that a request never waits for Redis, whatever ails it.

    What Redis does not take is tried again after a rest. At most `MOST_PENDING` messages wait; of more, the newest.
    """

    def __init__(self, queue: Queue, *, rest_seconds: float = REST_SECONDS) -> None:
        self._queue = queue
        self._rest_seconds = rest_seconds
        self._pending: dict[Wakeup, None] = {}  # in the order of asking, each once
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self.is_failing = False
        """Whether Redis did not take the last message that was tried."""

    def wake(self, job_id: uuid.UUID, model_digest: str) -> None:
        """Have a worker woken for a job that is committed. Returns at once."""
        self._add(Wakeup(DECODE, model_digest, job_id))

    def wake_for_fit(self, fit_id: uuid.UUID, model_digest: str) -> None:
        """Have a worker woken for a fit that is committed. Returns at once."""
        self._add(Wakeup(LEARN, model_digest, fit_id))

    def flush(self, seconds: float) -> bool:
        """Wait until everything is sent, at most so long; whether it was."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._pending, seconds)

    def close(self, seconds: float) -> None:
        """Send what can be sent in that time, and end. Of what is left workers find out by themselves."""
        self.flush(seconds)
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _add(self, wakeup: Wakeup) -> None:
        with self._changed:
            self._pending.setdefault(wakeup)
            if len(self._pending) > MOST_PENDING:
                del self._pending[next(iter(self._pending))]
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def _run(self) -> None:
        while (wakeup := self._next()) is not None:
            is_sent = self._try(wakeup)
            with self._changed:
                self.is_failing = not is_sent
                if is_sent:
                    self._pending.pop(wakeup, None)
                    self._changed.notify_all()
                else:
                    self._changed.wait_for(lambda: self._is_closed, self._rest_seconds)

    def _next(self) -> Wakeup | None:
        """What has waited longest, once there is something; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._pending or self._is_closed)
            return None if self._is_closed else next(iter(self._pending))

    def _try(self, wakeup: Wakeup) -> bool:
        try:
            return _send(self._queue, wakeup)
        except Exception as error:  # noqa: BLE001 - this thread outlives every error: without it nobody is woken
            log.error("enqueue_failed", error=type(error).__name__)  # noqa: TRY400 - messages may quote values
            return False


def _send(queue: Queue, wakeup: Wakeup) -> bool:
    try:
        queue.send_task(
            wakeup.task,
            args=[str(wakeup.id)],
            queue=queue_name(wakeup.model_digest),
            expires=MESSAGE_SECONDS,
            retry=False,
        )
    except (OperationalError, redis.RedisError, OSError) as error:
        REDIS_FAULTS.inc()
        log.warning("enqueue_failed", task=wakeup.task, id=str(wakeup.id), error=type(error).__name__)
        return False
    return True
