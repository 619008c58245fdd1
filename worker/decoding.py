"""The worker's main path: claim, decode, save, until nothing is queued. No Celery, no torch."""

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog
from sqlalchemy.exc import OperationalError, StatementError

from db.queries import claims
from db.queries.claims import Attempt, Outcome
from db.queries.positions import Positions
from db.session import Database
from worker.supervisor import EngineSupervisor

POLL_SECONDS = 0.05
SAVE_SECONDS = 0.25
RETRY_SECONDS = 1.0

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


@dataclass(slots=True)
class _Timer:
    """Says when something is due again."""

    seconds: float
    _next: float = field(default_factory=time.monotonic)

    def due(self) -> bool:
        return time.monotonic() >= self._next

    def restart(self) -> None:
        self._next = time.monotonic() + self.seconds


class Decoding:
    """Keeps one engine full from one database, across jobs and groups."""

    def __init__(self, database: Database, supervisor: EngineSupervisor, policy: DecodingPolicy) -> None:
        self.owner = uuid.uuid4()
        self.stopping = threading.Event()
        self.is_running = False
        self._database = database
        self._supervisor = supervisor
        self._policy = policy
        self._positions = Positions()
        self._unsaved: list[Outcome] = []
        self._save_timer = _Timer(SAVE_SECONDS)
        self._heartbeat_timer = _Timer(policy.heartbeat_seconds)

    @property
    def is_idle(self) -> bool:
        """Nothing claimed, nothing to save."""
        return not self._supervisor.num_items and not self._unsaved

    def run(self) -> bool:
        """Decode until nothing is queued, the time slice ends or `stopping` is set; True when work may be left."""
        slice_end = time.monotonic() + self._policy.time_slice_seconds
        self._heartbeat_timer.restart()
        self.is_running = True
        try:
            while not self.stopping.is_set() and time.monotonic() < slice_end:
                claimed = self._database_permitting(self._claim)
                if self.is_idle and not claimed:
                    return claimed is None
                self._advance()
            self._drain()
        finally:
            self._give_back()
            self.is_running = False
        return True

    def _advance(self) -> None:
        self._unsaved += self._supervisor.poll(POLL_SECONDS)
        if self._unsaved and (self._save_timer.due() or not self._supervisor.num_items):
            self._database_permitting(self._save)
        if self._heartbeat_timer.due():
            self._database_permitting(self._heartbeat)

    def _drain(self) -> None:
        """Claim nothing more; finish what is being decoded, within the time there is."""
        deadline = time.monotonic() + self._policy.drain_seconds
        while not self.is_idle and time.monotonic() < deadline:
            self._advance()

    def _claim(self) -> int:
        """Claim ahead of the engine, so that a slot never waits for SQL."""
        wanted = 2 * self._supervisor.num_slots - self._supervisor.num_items
        if wanted < self._supervisor.num_slots / 2:
            return 0
        with self._database.transaction() as session:
            items = claims.claim(
                session,
                owner=self.owner,
                model_digest=self._policy.model_digest,
                limit=wanted,
                lease_seconds=self._policy.lease_seconds,
                positions=self._positions,
            )
        self._supervisor.submit(items)
        return len(items)

    def _save(self) -> None:
        try:
            self._save_together(self._unsaved)
        except OperationalError:
            raise
        except StatementError:
            self._save_one_by_one()
        self._unsaved.clear()
        self._save_timer.restart()

    def _save_together(self, outcomes: list[Outcome]) -> None:
        with self._database.transaction() as session:
            claims.save(session, owner=self.owner, outcomes=outcomes)

    def _save_one_by_one(self) -> None:
        """One outcome that the database cannot hold fails its own item; its neighbours are kept."""
        for outcome in self._unsaved:
            try:
                self._save_together([outcome])
            except OperationalError:
                raise
            except StatementError as error:
                log.error("result_refused", item_id=outcome.item_id, reason=type(error).__name__)  # noqa: TRY400 - holds the text
                self._save_together([_refused(outcome)])

    def _heartbeat(self) -> None:
        with self._database.transaction() as session:
            held = claims.extend(session, owner=self.owner, lease_seconds=self._policy.lease_seconds)
        lost = self._supervisor.item_ids - {attempt.item_id for attempt in held}
        if lost:
            log.info("leases_lost", num_items=len(lost))
            self._supervisor.cancel(lost)
        self._heartbeat_timer.restart()

    def _give_back(self) -> None:
        """Save what is finished and release the rest, so that nobody has to wait for a lease to run out."""
        left = self._supervisor.attempts
        self._supervisor.cancel(attempt.item_id for attempt in left)
        if self._unsaved:
            self._database_permitting(self._save)
        if left:
            self._database_permitting(lambda: self._release(left))

    def _release(self, attempts: set[Attempt]) -> None:
        with self._database.transaction() as session:
            claims.release(session, owner=self.owner, attempts=attempts)
        log.info("leases_released", num_items=len(attempts))

    def _database_permitting(self, act: Callable[[], int | None]) -> int | None:
        """Do it, or note that the database does not answer and let the loop try again; None then."""
        try:
            return act() or 0
        except OperationalError as error:
            log.warning("database_unavailable", reason=type(error.orig).__name__)
            self.stopping.wait(RETRY_SECONDS)
            return None


def _refused(outcome: Outcome) -> Outcome:
    message = "The database could not hold this item's result."
    return Outcome(outcome.item_id, outcome.attempt, error_code="result_refused", error_message=message)
