"""Puts right what crashes and lost messages leave behind. Each step is idempotent, so any number may run at once."""

import threading
import time
import uuid
from collections.abc import Callable

import structlog

from db.faults import describe, is_passing
from db.queries import audit, cancelling, claims, deadlines, deleting, files, fits, idempotency, losses, preferences
from db.session import Database
from worker import metrics

AUDIT_SECONDS = 30.0
"""Between audits of jobs that look well: each counts the items of a few jobs."""
UNUSED_PREFERENCES_SECONDS = 600.0
"""Between looks for preferences that no job has any more, and before the first: each looks at all preferences."""
JOBS_LISTED_PER_SWEEP = 100
"""The rest, after an upgrade or a rush, waits for the next sweep: leases must not wait for it."""

log = structlog.get_logger(__name__)


class Reconciler:
    """Expires leases, enforces deadlines, lets items follow their jobs, audits counters, and wakes this worker."""

    def __init__(
        self,
        database: Database,
        *,
        model_digest: str,
        max_attempts: int,
        is_idle: Callable[[], bool],
        wake: Callable[[], None],
    ) -> None:
        self._database = database
        self._model_digest = model_digest
        self._max_attempts = max_attempts
        self._is_idle = is_idle
        self._wake = wake
        self._audited: uuid.UUID | None = None
        self._next_audit = 0.0
        self._next_look_for_unused = time.monotonic() + UNUSED_PREFERENCES_SECONDS

    def sweep(self) -> None:
        """One round. Each part is a transaction of its own: none waits for another's locks, nor ends with another."""
        parts = (self._expire, self._enforce_deadlines, self._abandon, self._wind_up, self._remove, self._audit)
        for part in (*parts, self._look_for_work, self._forget, self._remove_unused_preferences):
            try:
                part()
            except Exception as error:
                if is_passing(error):  # the other parts would wait for the same database
                    log.warning("sweep_postponed", part=part.__name__.strip("_"), **describe(error))
                    return
                log.exception("sweep_failed", part=part.__name__.strip("_"))

    def run(self, seconds: float, stopping: threading.Event) -> None:
        """Sweep at once and every `seconds` until `stopping` is set, whatever goes wrong in a round."""
        while not stopping.is_set():
            self.sweep()
            stopping.wait(seconds)

    def _expire(self) -> None:
        with self._database.transaction() as session:
            num_items = losses.expire(session)
        with self._database.transaction() as session:
            num_fits = fits.expire(session, max_attempts=self._max_attempts)
        metrics.EXPIRED_LEASES.labels(metrics.ITEMS).inc(num_items)
        metrics.EXPIRED_LEASES.labels(metrics.FITS).inc(num_fits)
        if num_items or num_fits:
            log.warning("leases_expired", num_items=num_items, num_fits=num_fits)

    def _enforce_deadlines(self) -> None:
        with self._database.reading() as session:
            overdue = deadlines.overdue(session)
        for job_id in overdue:
            with self._database.transaction() as session:
                has_expired = deadlines.enforce(session, job_id)
            if has_expired:
                log.info("job_expired", job_id=str(job_id))

    def _abandon(self) -> None:
        """End and delete the requests whose server was killed: nobody reads their answers."""
        with self._database.reading() as session:
            abandoned = deleting.abandoned_jobs(session)
        for job_id in abandoned:
            with self._database.transaction() as session:
                cancelling.cancel(session, job_id)
                deleting.delete_job(session, job_id)

    def _wind_up(self) -> None:
        """Let the items of jobs that ended early follow, each batch in a transaction of its own."""
        with self._database.reading() as session:
            winding_up = cancelling.winding_up(session)
        for job_id in winding_up:
            is_left = True
            while is_left:
                with self._database.transaction() as session:
                    is_left = cancelling.follow(session, job_id)

    def _remove(self) -> None:
        """Remove the rows of deleted jobs, each batch in a transaction of its own."""
        with self._database.reading() as session:
            deleted = deleting.deleted_jobs(session)
        for job_id in deleted:
            is_left = True
            while is_left:
                with self._database.transaction() as session:
                    is_left = deleting.remove(session, job_id)

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
        metrics.MENDED_COUNTERS.inc(len(mended))
        for job in mended:
            log.error("counters_mended", job_id=str(job.job_id), before=job.before, after=job.after)

    def _forget(self) -> None:
        with self._database.transaction() as session:
            idempotency.forget_expired(session)
        with self._database.reading() as session:
            expired = files.expired(session)
        for file_id in expired:
            with self._database.transaction() as session:
                files.remove_expired(session, file_id)

    def _remove_unused_preferences(self) -> None:
        """Remove some preferences whose last job is gone; as long as there is more to do, the next sweep goes on."""
        if time.monotonic() < self._next_look_for_unused:
            return
        with self._database.reading() as session:
            unlisted = preferences.unlisted_jobs(session, limit=JOBS_LISTED_PER_SWEEP)
        for job_id in unlisted:
            with self._database.transaction() as session:
                preferences.list_job(session, job_id)
        if len(unlisted) == JOBS_LISTED_PER_SWEEP:
            return
        with self._database.reading() as session:
            unused = preferences.unused(session)
        num_removed = 0
        for tenant_id, hashes in unused.items():
            with self._database.transaction() as session:
                num_removed += preferences.remove_unused(session, tenant_id, hashes)
        if not num_removed:
            self._next_look_for_unused = time.monotonic() + UNUSED_PREFERENCES_SECONDS

    def _look_for_work(self) -> None:
        """Wake this worker where work waits that no message told it of: they are lost, or Redis is away."""
        if not self._is_idle():
            return
        with self._database.reading() as session:
            claimable = next(claims.claimable_jobs(session, model_digest=self._model_digest), None)
            waiting_fit = fits.next_waiting(session, model_digest=self._model_digest)
        if claimable is not None or waiting_fit is not None:
            log.info("work_found", job_id=claimable and str(claimable.id), fit_id=waiting_fit and str(waiting_fit))
            self._wake()
