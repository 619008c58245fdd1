"""Where one worker's claims have come to in each job, so that the next claim goes on from there. Knows no SQL.

A claim reads the queue's index in order. What was claimed before lies at its beginning, and as long as an old snapshot
is open (a dump, say), PostgreSQL must look at each of those dead entries again: claims would slow down step by step.
Going on from the last position passes them over. What is queued again lies behind; it is found when nothing is left
ahead, or after some seconds, when the position is forgotten.
"""

import time
import uuid
from collections.abc import Callable
from typing import NamedTuple

KEPT_SECONDS = 10.0


class Position(NamedTuple):
    """A place in a job's queue: stretch by stretch, in one by group, and in a group as the items were sent."""

    stretch: int
    preference_hash: str
    position: int


class Positions:
    """How far into each job claims have reached, each remembered for a bounded time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._reached: dict[uuid.UUID, Position] = {}
        self._forget_at = 0.0

    def after(self, job_id: uuid.UUID) -> Position | None:
        """Where to go on in this job; None: from the beginning."""
        if self._clock() >= self._forget_at:
            self._reached.clear()
            self._forget_at = self._clock() + KEPT_SECONDS
        return self._reached.get(job_id)

    def reach(self, job_id: uuid.UUID, position: Position) -> None:
        """A claim took items up to here."""
        self._reached[job_id] = position

    def forget(self, job_id: uuid.UUID) -> None:
        """Begin this job anew: nothing was left ahead."""
        self._reached.pop(job_id, None)
