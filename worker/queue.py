"""The Celery application and the messages it carries: "there is work". All of the worker that the API may import.

SQL is the queue of record. A message holds an id and may be lost, doubled or late without harm, so publishing is
best effort and bounded in time: what it misses, the reconciler publishes again. Each model has a queue of its own, so
that a message wakes a worker that can do the work; it is for whoever publishes to see that somebody reads it.
"""

import uuid
from typing import TypeAlias

import redis
import structlog
from celery import Celery
from kombu.exceptions import OperationalError

Queue: TypeAlias = Celery  # for signatures elsewhere: only this module and `worker.tasks` know that it is Celery

DECODE = "padserve.decode"
LEARN = "padserve.learn"
PUBLISH_TIMEOUT_SECONDS = 2.0
# A worker that comes back after that long finds its work without being told, and need not hear all that was said.
MESSAGE_SECONDS = 3600

log = structlog.get_logger(__name__)


class QueueUnreachableError(Exception):
    """Redis does not answer."""


def check_queue(redis_url: str) -> None:
    """Raise `QueueUnreachableError`, in one line without credentials, when Redis does not answer."""
    try:
        with redis.Redis.from_url(redis_url, socket_connect_timeout=PUBLISH_TIMEOUT_SECONDS) as client:
            client.ping()
    except (redis.RedisError, ValueError) as error:
        where = redis_url.rpartition("@")[2]
        raise QueueUnreachableError(f"Cannot reach Redis at {where}: {str(error).rstrip('.')}.") from error


def create_queue(redis_url: str) -> Queue:
    """The Celery application on one Redis. Makes no connection."""
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
        broker_transport_options={
            "global_keyprefix": "padserve:",
            "socket_connect_timeout": PUBLISH_TIMEOUT_SECONDS,
            "socket_timeout": 30.0,
            "socket_keepalive": True,
            "health_check_interval": 25,
            "retry_on_timeout": True,
        },
    )
    return app


def queue_name(model_digest: str) -> str:
    """Where the messages for a model's workers lie."""
    return f"model:{model_digest}"


def enqueue(queue: Queue, job_id: uuid.UUID, model_digest: str) -> bool:
    """Wake a worker for a job that is committed. False when Redis does not answer: the reconciler will try again."""
    return _send(queue, DECODE, model_digest, job_id=job_id)


def enqueue_fit(queue: Queue, fit_id: uuid.UUID, model_digest: str) -> bool:
    """Wake a worker for a fit that is committed. False when Redis does not answer: the reconciler will try again."""
    return _send(queue, LEARN, model_digest, fit_id=fit_id)


def _send(queue: Queue, task: str, model_digest: str, **ids: uuid.UUID) -> bool:
    try:
        queue.send_task(
            task,
            args=[str(one) for one in ids.values()],
            queue=queue_name(model_digest),
            expires=MESSAGE_SECONDS,
            retry=False,
        )
    except OperationalError:
        log.warning("enqueue_failed", **{name: str(one) for name, one in ids.items()})
        return False
    return True
