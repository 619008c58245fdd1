"""The Celery side: what a message starts, and what starting and ending the worker means. Logic lives elsewhere."""

import os
import signal
import threading
import uuid
from collections.abc import Callable

import structlog
from celery.signals import worker_shutting_down

from worker.decoding import Decoding
from worker.protocol import DecoderUnavailableError
from worker.queue import DECODE, Queue, enqueue

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


def serve(app: Queue, decoding: Decoding, on_failure: Callable[[str], None]) -> None:
    """Consume messages until the process is told to end. Blocks."""
    busy = threading.Lock()

    def decode(job_id: str) -> None:
        with busy:
            try:
                work_is_left = decoding.run()
            except DecoderUnavailableError as error:
                on_failure(str(error))
                os.kill(os.getpid(), signal.SIGTERM)
                return
        if work_is_left and not decoding.stopping.is_set():
            enqueue(app, uuid.UUID(job_id))

    def stop(**_: object) -> None:
        decoding.stopping.set()

    app.task(name=DECODE)(decode)
    worker_shutting_down.connect(stop, weak=False)
    app.worker_main(argv=list(CELERY_ARGUMENTS))
