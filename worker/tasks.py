"""The Celery side: what a message starts, and what starting and ending the worker means. Logic lives elsewhere."""

import os
import signal
import threading
import uuid
from collections.abc import Callable
from typing import TypeVar

import structlog
from celery.signals import worker_shutting_down

from worker.decoding import Decoding
from worker.learning import Learning
from worker.protocol import DecoderUnavailableError
from worker.queue import DECODE, LEARN, Queue, enqueue, enqueue_fit

T = TypeVar("T")

log = structlog.get_logger(__name__)

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


def serve(app: Queue, decoding: Decoding, learning: Learning, on_failure: Callable[[str], None]) -> None:
    """Consume messages until the process is told to end. Blocks."""
    busy = threading.Lock()

    def use_engine(act: Callable[[], T]) -> T | None:
        """One after the other; None where the model cannot be loaded again, and the worker ends."""
        with busy:
            try:
                return act()
            except DecoderUnavailableError as error:
                on_failure(str(error))
                os.kill(os.getpid(), signal.SIGTERM)
                return None

    def decode(job_id: str) -> None:
        work_is_left = use_engine(decoding.run)
        if work_is_left and not decoding.stopping.is_set():
            waiting_fit = learning.next_waiting()
            if waiting_fit is not None:
                enqueue_fit(app, waiting_fit)  # comes first; where its own message is there, too, one finds nothing
            enqueue(app, uuid.UUID(job_id))

    def learn(_fit_id: str) -> None:
        """At the end of a time slice at the latest: what decoding puts back into the queue comes behind this."""
        following = use_engine(learning.run)
        if following is not None and not decoding.stopping.is_set():
            enqueue_fit(app, following)

    def stop(**_: object) -> None:
        decoding.stopping.set()

    app.task(name=DECODE)(decode)
    app.task(name=LEARN)(learn)
    worker_shutting_down.connect(stop, weak=False)
    app.worker_main(argv=list(CELERY_ARGUMENTS))
