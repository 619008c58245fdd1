"""When the checks of `telemetry.readiness` are made: one round at a time, whoever asks how often."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

import structlog

from api.settings import Settings
from db.session import Database
from telemetry.metrics import REDIS_FAULTS
from telemetry.readiness import Check, CheckState, Readiness, Round
from worker.queue import QueueUnreachableError, check_queue

__all__ = ["Check", "CheckState", "Readiness", "ReadinessChecks", "Round", "new_round"]

FRESH_SECONDS = 2.0
"""An answer is given again for that long, so that health checks cost the same however often they come."""
PATIENCE_SECONDS = 5.0
"""What has not answered by then does not answer."""

log = structlog.get_logger(__name__)


class LoggedRound(Round):
    """A round that leaves in the log what it found wrong, and why."""

    def run(self) -> None:
        """Check one thing after the other; raises nothing."""
        super().run()
        for check in self.checks.values():
            if check.state is CheckState.FAILED:
                log.warning("not_ready", reason=check.message, cause=check.cause)


def new_round(settings: Settings, database: Database) -> Round:
    """One round of all checks, on what the API works with."""
    return LoggedRound(database, partial(_why_it_fails, settings.redis_url))


def _why_it_fails(redis_url: str) -> str | None:
    try:
        check_queue(redis_url)
    except QueueUnreachableError as error:
        REDIS_FAULTS.inc()  # while nothing is sent, a Redis that is away is met by nobody else
        return str(error)
    return None


class ReadinessChecks:
    """Runs a round in a thread of its own when the last is no longer fresh; a round that hangs holds that one thread.

    Of those who ask meanwhile, nobody waits longer than `patience_seconds`.
    """

    def __init__(
        self,
        new_round: Callable[[], Round],
        *,
        patience_seconds: float = PATIENCE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._new_round = new_round
        self._patience_seconds = patience_seconds
        self._clock = clock
        self._round = new_round()
        self._ended: Future[float] | None = None

    async def current(self) -> Readiness:
        """How things stand, at most `FRESH_SECONDS` ago. To be asked on one event loop."""
        ended = self._ended
        if ended is None or (ended.done() and self._clock() - ended.result() >= FRESH_SECONDS):
            ended = self._begin()
        await asyncio.wait([asyncio.wrap_future(ended)], timeout=self._patience_seconds)
        return self._round.readiness(has_ended=ended.done())

    def _begin(self) -> Future[float]:
        self._round, self._ended = self._new_round(), Future()
        threading.Thread(target=self._run, args=(self._round, self._ended), name="readiness", daemon=True).start()
        return self._ended

    def _run(self, checks: Round, ended: Future[float]) -> None:
        try:
            checks.run()
        finally:
            ended.set_result(self._clock())
