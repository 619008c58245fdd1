"""How far ahead of the engine a worker claims: by time, not by a number. Pure, but for its clock.

What is claimed ahead is decoded in the order of the claims, so it delays whoever comes next by as long as the engine
takes for it. A quarter of a second is noticed by nobody, and it is many items only where the engine is fast: there a
claim for each slot or two would cost more than what it claims.
"""

import time
from collections import deque
from collections.abc import Callable

AHEAD_SECONDS = 0.25
MOST_AHEAD = 1024
LATELY_SECONDS = 0.5
LEAST_SHARE = 4
"""A claim is made when a quarter of what may be held is free: each costs the same, however little it brings."""


class Pace:
    """What an engine has finished lately, and what follows from it for the next claim."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._finished: deque[tuple[float, int]] = deque()
        self._num_finished = 0

    def finish(self, num_items: int) -> None:
        """So many items have just ended."""
        if num_items:
            self._finished.append((self._clock(), num_items))
            self._num_finished += num_items

    def wanted(self, *, num_slots: int, num_held: int) -> int:
        """How many items to claim now, where `num_held` are held already; 0 while it is not worth a claim."""
        ahead = self._ahead(num_slots)
        wanted = ahead - num_held
        return wanted if wanted * LEAST_SHARE >= ahead else 0

    def _ahead(self, num_slots: int) -> int:
        """Every slot's item and its successor; more where the engine ends more in AHEAD_SECONDS, up to MOST_AHEAD."""
        since = self._clock() - LATELY_SECONDS
        while self._finished and self._finished[0][0] < since:
            self._num_finished -= self._finished.popleft()[1]
        in_time = round(self._num_finished * AHEAD_SECONDS / LATELY_SECONDS)
        return max(2 * num_slots, min(in_time, MOST_AHEAD))
