"""Outcomes on their way into the database: a thread of their own writes them while the engine is fed.

It is used by one thread, which hears of an error when it asks next. Until an outcome is written it is in `attempts`.
"""

import time
import uuid
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

import structlog
from sqlalchemy.exc import StatementError

from db.faults import describe, is_passing
from db.queries import claims, jobs
from db.session import Database
from domain import fault_points
from domain.attempts import Attempt, Outcome
from domain.fault_points import FaultPoint
from telemetry import tracing
from worker import metrics

MOST_NAMED = 20
"""Attempts in one line."""

log = structlog.get_logger(__name__)


class Saving:
    """One owner's outcomes, one transaction after the other."""

    def __init__(self, database: Database, owner: uuid.UUID) -> None:
        self._database = database
        self._owner = owner
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="saving")
        self._unwritten: list[Outcome] = []
        self._num_in_write = 0
        self._write: Future[None] | None = None

    @property
    def attempts(self) -> set[Attempt]:
        """The attempts whose outcomes are not known to be written yet."""
        return {outcome.key for outcome in self._unwritten}

    @property
    def is_idle(self) -> bool:
        """Whether every outcome that was added is known to be written."""
        return not self._unwritten

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Keep outcomes for the next write; nothing is written by this call."""
        self._unwritten += outcomes

    def begin(self) -> None:
        """Begin to write all there is, unless a write is under way already."""
        self.hear(0)
        if self._write is None and self._unwritten:
            self._num_in_write = len(self._unwritten)
            self._write = self._thread.submit(self._save, self._unwritten[:])

    def hear(self, seconds: float | None) -> None:
        """Wait so long for the end of the write that is under way, if one is, and raise what it raised.

        Nothing is lost then: it is written again with the next.
        """
        if self._write is None or wait([self._write], seconds).not_done:
            return
        ended, self._write = self._write, None
        ended.result()
        del self._unwritten[: self._num_in_write]

    def finish(self) -> None:
        """Write all that was added, and return when it is committed; raises what a write raises."""
        while not self.is_idle:
            self.begin()
            self.hear(None)

    def _save(self, outcomes: list[Outcome]) -> None:
        try:
            self._save_together(outcomes)
        except StatementError as error:
            if is_passing(error):
                raise
            self._save_one_by_one(outcomes)

    def _save_together(self, outcomes: list[Outcome]) -> None:
        fault_points.reach(FaultPoint.BEFORE_SAVE)
        began, stale = time.perf_counter(), set[Attempt]()
        with tracing.span("save", num_items=len(outcomes)) as span, self._database.transaction() as session:
            job_ids = claims.save(session, owner=self._owner, outcomes=outcomes, on_stale=stale.update)
            ends_a_job = fault_points.is_armed() and jobs.any_ended(session, job_ids)
            if span is not None:
                tracing.link_jobs(span, job_ids)
            fault_points.reach(FaultPoint.BEFORE_FINALISE, when=ends_a_job)
        saved = [outcome for outcome in outcomes if outcome.key not in stale] if stale else outcomes
        metrics.count_save(saved, len(stale), time.perf_counter() - began)
        _say_what_failed(saved, stale)
        fault_points.reach(FaultPoint.AFTER_SAVE)
        fault_points.reach(FaultPoint.AFTER_FINALISE, when=ends_a_job)

    def _save_one_by_one(self, outcomes: list[Outcome]) -> None:
        """One outcome that the database cannot hold fails its own item; its neighbours are kept."""
        for outcome in outcomes:
            try:
                self._save_together([outcome])
            except StatementError as error:
                if is_passing(error):
                    raise
                log.error("result_refused", item_id=outcome.item_id, attempt=outcome.attempt, **describe(error))  # noqa: TRY400 - holds the text
                self._save_together([_refused(outcome)])


def _say_what_failed(saved: list[Outcome], stale: set[Attempt]) -> None:
    """One line for a write, however many failed: their attempts, and codes without words."""
    failed = [outcome for outcome in saved if outcome.error_code is not None]
    if failed:
        codes = Counter(outcome.error_code for outcome in failed)
        log.info("items_failed", codes=dict(codes), attempts=[list(one.key) for one in failed[:MOST_NAMED]])
    if stale:
        log.warning(
            "stale_writes_refused", num_items=len(stale), attempts=[list(one) for one in sorted(stale)][:MOST_NAMED]
        )


def _refused(outcome: Outcome) -> Outcome:
    message = "The database could not hold this item's result."
    return Outcome(outcome.item_id, outcome.attempt, error_code="result_refused", error_message=message)
