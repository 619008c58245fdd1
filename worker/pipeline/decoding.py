"""The worker's main path: claim, decode, save, until nothing is queued. No Celery, no torch."""

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import structlog
from sqlalchemy.exc import SQLAlchemyError

from db.faults import describe, is_passing
from db.queries import claims, fits, losses
from db.queries.positions import Positions
from db.session import Database
from domain import fault_points
from domain.attempts import Attempt, ClaimedItem
from domain.fault_points import FaultPoint
from telemetry import tracing
from worker import metrics
from worker.pipeline.attempt_spans import AttemptSpans
from worker.pipeline.pace import Pace
from worker.pipeline.saving import Saving
from worker.pipeline.throughput import Throughput
from worker.supervision.supervisor import EngineSupervisor

POLL_SECONDS = 0.05
SAVE_SECONDS = 0.25
RETRY_SECONDS = 1.0

T = TypeVar("T")
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DecodingPolicy:
    """How a worker claims and how long it holds on."""

    model_digest: str
    lease_seconds: float
    time_slice_seconds: float
    drain_seconds: float

    @property
    def heartbeat_seconds(self) -> float:
        """Leases are extended several times within their length; this is also how soon a cancel is noticed."""
        return min(self.lease_seconds / 6, 5.0)


class _Timer:
    """Says when something is due: at once, or in so many seconds."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.restart(seconds)

    def is_due(self) -> bool:
        return time.monotonic() >= self._due_at

    def restart(self, seconds: float) -> None:
        self._due_at = time.monotonic() + seconds


class Decoding:
    """Keeps one engine full from one database, across jobs and groups."""

    def __init__(self, database: Database, supervisor: EngineSupervisor, policy: DecodingPolicy) -> None:
        self.owner = uuid.uuid4()
        self.stopping = threading.Event()
        self.is_running = False
        self.throughput = Throughput()
        self._database = database
        self._supervisor = supervisor
        self._policy = policy
        self._saving = Saving(database, self.owner)
        self._pace = Pace()
        self._spans = AttemptSpans()
        self._unrecorded_deaths: set[Attempt] = set()
        self._positions = Positions()
        self._slice_end = _Timer()
        self._next_save = _Timer()
        self._next_heartbeat = _Timer()

    @property
    def is_idle(self) -> bool:
        """Nothing claimed, nothing to save."""
        return not self._supervisor.num_items and self._saving.is_idle

    def run(self) -> bool:
        """Decode until nothing is queued; True when it ended earlier: the worker stops, or a fit has its turn."""
        self.is_running = True
        self._slice_end.restart(self._policy.time_slice_seconds)
        try:
            while not self._has_to_end():
                self._keep_leases()
                num_claimed = self._waiting_out(self._claim)  # None: the database could not say
                if num_claimed == 0 and self.is_idle:
                    return False
                self._advance()
            self._drain()
        finally:
            try:
                self._give_back()
            finally:
                self.is_running = False
        return True

    def _has_to_end(self) -> bool:
        """A slice that is over goes on for as long as nothing else wants the engine."""
        if self.stopping.is_set():
            return True
        if not self._slice_end.is_due():
            return False
        self._slice_end.restart(self._policy.heartbeat_seconds)  # when to look again
        return self._waiting_out(self._a_fit_waits) or False

    def _a_fit_waits(self) -> bool:
        with self._database.reading() as session:
            return fits.next_waiting(session, model_digest=self._policy.model_digest) is not None

    def _drain(self) -> None:
        """Claim nothing more and finish what is in hand.

        However long an item takes, it ends: only a worker that stops gives back what takes longer than it has.
        """
        patience: _Timer | None = None
        while not self.is_idle:
            if self.stopping.is_set():
                patience = patience or _Timer(self._policy.drain_seconds)
                if patience.is_due():
                    return
            self._keep_leases()
            self._advance()

    def _advance(self) -> None:
        """Take what the engine has finished and have it saved; with nothing in the engine, wait for what is saved."""
        if self._supervisor.num_items:
            outcomes = self._supervisor.poll(POLL_SECONDS)
            self._pace.finish(len(outcomes))
            self.throughput.observe(
                num_slots=self._supervisor.num_slots, num_held=self._supervisor.num_items, outcomes=outcomes
            )
            self._spans.end(outcomes)
            self._saving.add(outcomes)
        else:
            self._waiting_out(lambda: self._saving.hear(POLL_SECONDS))
        self._unrecorded_deaths |= self._supervisor.take_deaths()
        if self._unrecorded_deaths:
            self._waiting_out(self._record_deaths)
        if self._next_save.is_due() or not self._supervisor.num_items:
            self._waiting_out(self._saving.begin)
            self._next_save.restart(SAVE_SECONDS)

    def _claim(self) -> int:
        """Claim ahead of the engine, so that a slot never waits for SQL."""
        wanted = self._pace.wanted(num_slots=self._supervisor.num_slots, num_held=self._supervisor.num_items)
        if not wanted:
            return 0
        began = time.perf_counter()
        items = self._claimed(wanted)
        seconds = time.perf_counter() - began
        if items:  # an idle worker claims all day long
            tracing.finished("claim", {item.job_id for item in items}, seconds=seconds, num_items=len(items))
        self._spans.begin(items)
        metrics.count_claim(items, seconds)
        fault_points.reach(FaultPoint.AFTER_CLAIM)
        self._supervisor.submit(items)
        self.throughput.observe(num_slots=self._supervisor.num_slots, num_held=self._supervisor.num_items, outcomes=())
        return len(items)

    def _claimed(self, wanted: int) -> list[ClaimedItem]:
        with self._database.transaction() as session:
            return claims.claim(
                session,
                owner=self.owner,
                model_digest=self._policy.model_digest,
                limit=wanted,
                lease_seconds=self._policy.lease_seconds,
                positions=self._positions,
            )

    def _record_deaths(self) -> None:
        with self._database.transaction() as session:
            given_up = losses.record_deaths(session, owner=self.owner, attempts=self._unrecorded_deaths)
        self._supervisor.cancel(given_up)
        self._spans.abandon(given_up)
        self._unrecorded_deaths.clear()

    def _keep_leases(self) -> None:
        if self._next_heartbeat.is_due():
            self._waiting_out(self._heartbeat)

    def _heartbeat(self) -> None:
        """Extend what SQL says is held, and compare it with what is in hand, both ways.

        Claims are made by this very thread: whatever is held and not in hand is a claim whose answer was lost, or
        something that could not be given back.
        """
        inside, unsaved = self._supervisor.attempts, self._saving.attempts
        with self._database.transaction() as session:
            held = claims.extend(session, owner=self.owner, lease_seconds=self._policy.lease_seconds)
            if orphans := held - inside - unsaved:
                claims.release(session, owner=self.owner, attempts=orphans)
        if lost := inside - held:
            self._supervisor.cancel(lost)
            self._spans.abandon(lost)
        if orphans or lost:
            metrics.LOST_LEASES.inc(len(lost))
            log.warning("leases_compared", num_released=len(orphans), num_lost=len(lost))
        self._next_heartbeat.restart(self._policy.heartbeat_seconds)

    def _give_back(self) -> None:
        """Save what is finished and release the rest, so that nobody has to wait for a lease to run out."""
        left = self._supervisor.attempts
        self._supervisor.cancel(left)
        self._spans.abandon(left)
        self._waiting_out(lambda: self._saving.hear(None))
        self._waiting_out(self._saving.finish)
        if left:
            self._waiting_out(lambda: self._release(left))

    def _release(self, attempts: set[Attempt]) -> None:
        with self._database.transaction() as session:
            claims.release(session, owner=self.owner, attempts=attempts)
        metrics.RELEASED_ITEMS.inc(len(attempts))
        log.info("leases_released", num_items=len(attempts))

    def _waiting_out(self, act: Callable[[], T]) -> T | None:
        """Do it; or, when the database cannot now, wait a moment and let the loop try again, leases first."""
        try:
            return act()
        except SQLAlchemyError as error:
            if not is_passing(error):
                raise
            log.warning("database_unavailable", **describe(error))
            self._next_heartbeat.restart(0)
            self.stopping.wait(RETRY_SECONDS)
            return None
