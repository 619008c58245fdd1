"""The Celery side: what a message starts, and what starting and ending the worker means. Logic lives elsewhere."""

import threading
import uuid
from typing import Any

import structlog
from celery import bootsteps
from celery.signals import worker_shutting_down
from celery.worker import state
from celery.worker.components import Hub

from telemetry.metrics import REDIS_FAULTS
from worker.pipeline.turns import Turns
from worker.queue import DECODE, LEARN, Queue, enqueue, enqueue_fit, queue_name

# Threads: a busy worker still answers, and SIGTERM waits for the task, which sees `stopping` and gives its leases back.
CELERY_ARGUMENTS = (
    "--quiet",
    "worker",
    "--pool=threads",
    "--concurrency=1",
    "--loglevel=WARNING",
    "--without-gossip",
    "--without-mingle",
    "--without-heartbeat",
)
RESTART_SECONDS = 1.0
LOOK_SECONDS = 0.02

log = structlog.get_logger(__name__)


def register_tasks(app: Queue, model_digest: str, turns: Turns, stopping: threading.Event) -> None:
    """Say what the messages for this model's workers start, and that the process ends when it is told to.

    A message is followed by one at most, so they never pile up.
    """

    def decode(job_id: str) -> None:
        if turns.take():
            enqueue(app, uuid.UUID(job_id), model_digest)

    def learn(fit_id: str) -> None:
        if turns.take():
            enqueue_fit(app, uuid.UUID(fit_id), model_digest)

    def stop(**_: object) -> None:
        stopping.set()

    app.task(name=DECODE)(decode)
    app.task(name=LEARN)(learn)
    worker_shutting_down.connect(stop, weak=False)


class LookOften(bootsteps.StartStopStep):  # type: ignore[misc] # Celery's, untyped
    """Has the consumer ask for its next message as soon as the last one is done.

    Celery without prefetching asks when its loop comes round, which a task that ends in another thread does not make
    it do: a message that came meanwhile lay there for up to a second.
    """

    requires = (Hub,)

    def start(self, parent: Any) -> None:  # noqa: ANN401 - Celery's, untyped
        """Add a timer that does nothing to Celery's loop, so that it comes round."""
        parent.hub.call_repeatedly(LOOK_SECONDS, lambda: None)


def consume(app: Queue, model_digest: str, stopping: threading.Event) -> None:
    """Consume the messages for this model's workers until the process is told to end. Blocks.

    Celery waits out a Redis that is away or refuses. Whatever ends its consumer all the same, a new one is begun: the
    model stays loaded.
    """
    app.steps["worker"].add(LookOften)
    while not stopping.is_set():
        try:
            app.worker_main(argv=[*CELERY_ARGUMENTS, f"--queues={queue_name(model_digest)}"])
        except (Exception, SystemExit):
            log.exception("consumer_failed")
        if is_told_to_end():
            stopping.set()
        if not stopping.is_set():
            REDIS_FAULTS.inc()
            log.error("consumer_ended", restart_seconds=RESTART_SECONDS)
            stopping.wait(RESTART_SECONDS)


def is_told_to_end() -> bool:
    """Whether a signal has told Celery to end: no consumer of this process lives for long from then on.

    `worker_shutting_down` says so as well, but not where Celery's own handler of SIGQUIT fails halfway: it ends
    what the consumer was just doing.
    """
    return any(told is not None and told is not False for told in (state.should_stop, state.should_terminate))
