"""How fast a worker writes: tokens of all answers per second, over the times in which its engine had enough to do.

An engine with a free slot could write more, so times count in which every slot was taken at some moment; before there
is one, the fastest other time does. Pure, but for its clock.
"""

import time
from collections.abc import Callable, Sequence

from domain.attempts import Outcome

LEAST_SECONDS = 0.2
"""Shorter times say little."""
ITEMS_PER_SLOT = 4
"""A busy time that goes on is counted when so many items for each slot have ended in it."""
FADING = 0.5
"""What was counted before weighs half of what is counted now."""


class Throughput:
    """Observed by the thread that feeds the engine; `tokens_per_second` may be read by any."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.tokens_per_second: float | None = None
        self._clock = clock
        self._began_at: float | None = None
        self._num_tokens = self._num_items = 0
        self._was_full = False
        self._seconds_counted = self._tokens_counted = 0.0

    def observe(self, *, num_slots: int, num_held: int, outcomes: Sequence[Outcome]) -> None:
        """The engine has just ended these, and holds so many items more."""
        if self._began_at is None:
            if not num_held:
                return
            self._began_at = self._clock()
        self._was_full = self._was_full or num_held >= num_slots
        self._num_items += len(outcomes)
        self._num_tokens += sum(outcome.num_completion_tokens or 0 for outcome in outcomes)
        if not num_held or self._num_items >= ITEMS_PER_SLOT * num_slots:
            self._count(self._clock() - self._began_at)
            self._began_at = self._clock() if num_held else None
            self._num_tokens = self._num_items = 0
            self._was_full = bool(num_held) and self._was_full

    def _count(self, seconds: float) -> None:
        if seconds < LEAST_SECONDS or not self._num_tokens:
            return
        if self._was_full:
            self._seconds_counted = FADING * self._seconds_counted + seconds
            self._tokens_counted = FADING * self._tokens_counted + self._num_tokens
            self.tokens_per_second = self._tokens_counted / self._seconds_counted
        elif not self._seconds_counted:
            self.tokens_per_second = max(self.tokens_per_second or 0.0, self._num_tokens / seconds)
