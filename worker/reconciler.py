"""Puts right what crashes and lost messages leave behind. Each step is idempotent, so any number may run at once."""

import threading
import time
import uuid
from collections.abc import Callable

import structlog
from sqlalchemy.exc import OperationalError

from db.queries import audit, cancelling, claims, fits, idempotency, losses
from db.session import Database
from worker.queue import Queue, enqueue, enqueue_fit

AUDIT_SECONDS = 30.0
"""Between audits of jobs that look well: each counts the items of a few jobs."""

log = structlog.get_logger(__name__)


class Reconciler:
    """Expires leases, winds up cancelled jobs, audits counters, and wakes this worker where no message did."""

    def __init__(
        self, database: Database, queue: Queue, *, model_digest: str, max_attempts: int, is_idle: Callable[[], bool]
    ) -> None:
        self._database = database
        self._queue = queue
        self._model_digest = model_digest
        self._max_attempts = max_attempts
        self._is_idle = is_idle
        self._audited: uuid.UUID | None = None
        self._next_audit = 0.0

    def sweep(self) -> None:
        """One round. Each part is a transaction of its own, so that none waits for another's locks."""
        self._expire()
        self._wind_up()
        self._audit()
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
            num_items = losses.expire(session)
        with self._database.transaction() as session:
            num_fits = fits.expire(session, max_attempts=self._max_attempts)
        if num_items or num_fits:
            log.warning("leases_expired", num_items=num_items, num_fits=num_fits)

    def _wind_up(self) -> None:
        """Let the items of cancelled jobs follow, each batch in a transaction of its own."""
        with self._database.reading() as session:
            winding_up = cancelling.winding_up(session)
        for job_id in winding_up:
            is_left = True
            while is_left:
                with self._database.transaction() as session:
                    is_left = cancelling.follow(session, job_id)

    def _audit(self) -> None:
        """Compare counters with items: of jobs that are plainly wrong at once, of a few others in turn."""
        with self._database.reading() as session:
            job_ids = audit.unbalanced_jobs(session)
            if time.monotonic() >= self._next_audit:
                in_turn = audit.next_jobs(session, after=self._audited)
                self._audited = in_turn[-1] if in_turn else None
                self._next_audit = time.monotonic() + AUDIT_SECONDS
                job_ids += in_turn
            differing = audit.differing(session, job_ids)
        if not differing:
            return
        with self._database.transaction() as session:
            mended = audit.audit(session, differing)
        for job in mended:
            log.error("counters_mended", job_id=str(job.job_id), before=job.before, after=job.after)

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
            claimable = next(claims.claimable_jobs(session, model_digest=self._model_digest), None)
            waiting_fit = fits.next_waiting(session, model_digest=self._model_digest)
        if claimable is not None:
            enqueue(self._queue, claimable.id, self._model_digest)
            log.info("work_republished", job_id=str(claimable.id))
        if waiting_fit is not None:
            enqueue_fit(self._queue, waiting_fit, self._model_digest)
            log.info("work_republished", fit_id=str(waiting_fit))
