"""The Celery side: what a message starts, and what starting and ending the worker means. Logic lives elsewhere."""

import os
import signal
import threading
import uuid
from collections.abc import Callable

from celery.signals import worker_shutting_down

from worker.decoding import Decoding
from worker.learning import Learning
from worker.protocol import DecoderUnavailableError
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


def serve(
    app: Queue, model_digest: str, decoding: Decoding, learning: Learning, on_failure: Callable[[str], None]
) -> None:
    """Consume the messages for this model's workers until the process is told to end. Blocks."""
    busy = threading.Lock()

    def take_turns() -> bool:
        """A time slice of decoding, then the fit that has waited longest; True when work may be left.

        Both, whatever the message was of: the other's may be lost, or far behind in the queue. A message is followed by
        one at most, so they never pile up.
        """
        with busy:
            try:
                items_are_left = decoding.run()
                if decoding.stopping.is_set():
                    return False
                next_fit = learning.run()
            except DecoderUnavailableError as error:  # the model cannot be loaded again, and the worker ends
                on_failure(str(error))
                os.kill(os.getpid(), signal.SIGTERM)
                return False
        return (items_are_left or next_fit is not None) and not decoding.stopping.is_set()

    def decode(job_id: str) -> None:
        if take_turns():
            enqueue(app, uuid.UUID(job_id), model_digest)

    def learn(fit_id: str) -> None:
        if take_turns():
            enqueue_fit(app, uuid.UUID(fit_id), model_digest)

    def stop(**_: object) -> None:
        decoding.stopping.set()

    app.task(name=DECODE)(decode)
    app.task(name=LEARN)(learn)
    worker_shutting_down.connect(stop, weak=False)
    app.worker_main(argv=[*CELERY_ARGUMENTS, f"--queues={queue_name(model_digest)}"])
