"""Puts right what crashes and lost messages leave behind. Each step is idempotent, so any number may run at once."""

import threading
from collections.abc import Callable

import structlog
from sqlalchemy.exc import OperationalError

from db.queries import claims, fits, idempotency
from db.queries.jobs import finalise
from db.session import Database
from worker.queue import Queue, enqueue, enqueue_fit

log = structlog.get_logger(__name__)


class Reconciler:
    """Expires leases, finalises jobs, and wakes this worker when there is work that no message told it of."""

    def __init__(
        self, database: Database, queue: Queue, *, model_digest: str, max_attempts: int, is_idle: Callable[[], bool]
    ) -> None:
        self._database = database
        self._queue = queue
        self._model_digest = model_digest
        self._max_attempts = max_attempts
        self._is_idle = is_idle

    def sweep(self) -> None:
        """One round. Each part is a transaction of its own, so that none waits for another's locks."""
        self._expire()
        self._finalise()
        self._republish()
        self._forget()

    def run(self, seconds: float, stopping: threading.Event) -> None:
        """Sweep at once and every `seconds` until `stopping` is set; an unreachable database is waited for."""
        while not stopping.is_set():
            try:
                self.sweep()
            except OperationalError as error:
                log.warning("sweep_failed", reason=type(error.orig).__name__)
            stopping.wait(seconds)

    def _expire(self) -> None:
        with self._database.transaction() as session:
            num_items = claims.expire(session, max_attempts=self._max_attempts)
        with self._database.transaction() as session:
            num_fits = fits.expire(session, max_attempts=self._max_attempts)
        if num_items or num_fits:
            log.warning("leases_expired", num_items=num_items, num_fits=num_fits)

    def _finalise(self) -> None:
        with self._database.reading() as session:
            ended = claims.ended_jobs(session)
        for job_id in ended:
            with self._database.transaction() as session:
                finalise(session, job_id)

    def _forget(self) -> None:
        with self._database.transaction() as session:
            idempotency.forget_expired(session)

    def _republish(self) -> None:
        """Wake a worker of this model for the oldest job with queued items and the oldest queued fit.

        Only an idle worker asks, so messages never pile up.
        """
        if not self._is_idle():
            return
        with self._database.reading() as session:
            claimable = claims.claimable_jobs(session, model_digest=self._model_digest)
            waiting_fit = fits.next_waiting(session, model_digest=self._model_digest)
        if claimable:
            enqueue(self._queue, claimable[0], self._model_digest)
            log.info("work_republished", job_id=str(claimable[0]))
        if waiting_fit is not None:
            enqueue_fit(self._queue, waiting_fit, self._model_digest)
            log.info("work_republished", fit_id=str(waiting_fit))
