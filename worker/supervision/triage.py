"""Which items go to the engine, and which one broke it. Pure bookkeeping: no process, no clock, no database.

The one idea: when the engine dies, whatever was inside is a suspect. Suspects are tried again in halves, alone in
the engine; a half that survives is cleared, a half that dies is halved again. One item that dies alone several times
is poisoned, and its neighbours have lost nothing but time.
"""

from collections import deque
from collections.abc import Iterable

from domain.attempts import Attempt, ClaimedItem

SOLO_CRASHES = 2


class Triage:
    """Items on their way through one engine."""

    def __init__(self) -> None:
        self._waiting: deque[ClaimedItem] = deque()
        self._inside: dict[Attempt, ClaimedItem] = {}
        self._trials: list[list[ClaimedItem]] = []
        self._solo_crashes: dict[Attempt, int] = {}

    @property
    def num_items(self) -> int:
        """Items that have not ended: waiting, inside, or on trial."""
        return len(self._waiting) + len(self._inside) + sum(map(len, self._trials))

    @property
    def attempts(self) -> set[Attempt]:
        """The names of all of them."""
        return set(self._inside) | {item.attempt_key for item in self._outside()}

    @property
    def inside(self) -> set[Attempt]:
        """The attempts that the engine was sent, and whose outcome it still owes."""
        return set(self._inside)

    @property
    def is_engine_empty(self) -> bool:
        """Whether the engine owes no outcome."""
        return not self._inside

    def is_inside(self, attempt: Attempt) -> bool:
        """Whether the engine was sent this attempt and still owes its outcome."""
        return attempt in self._inside

    def add(self, items: Iterable[ClaimedItem]) -> None:
        """Take in newly claimed items; they go to the engine in this order."""
        self._waiting.extend(items)

    def feed(self) -> list[ClaimedItem]:
        """The items to send to the engine now. While a trial runs, nobody else goes in."""
        if self._trials:
            if self._inside:
                return []
            batch = self._trials.pop()
        else:
            batch = list(self._waiting)
            self._waiting.clear()
        self._inside.update((item.attempt_key, item) for item in batch)
        return batch

    def end(self, attempts: Iterable[Attempt]) -> None:
        """Forget attempts that ended or were taken away, wherever they are."""
        gone = set(attempts)
        for attempt in gone:
            self._inside.pop(attempt, None)
            self._solo_crashes.pop(attempt, None)
        self._waiting = deque(item for item in self._waiting if item.attempt_key not in gone)
        kept = ([item for item in trial if item.attempt_key not in gone] for trial in self._trials)
        self._trials = [trial for trial in kept if trial]

    def crash(self) -> ClaimedItem | None:
        """The engine died. Plan the trials of whatever was inside; return an item that is now known to be poisoned."""
        suspects = list(self._inside.values())
        self._inside.clear()
        if len(suspects) > 1:
            middle = (len(suspects) + 1) // 2
            self._trials += [suspects[middle:], suspects[:middle]]
        elif suspects:
            return self._judge(suspects[0])
        return None

    def _judge(self, suspect: ClaimedItem) -> ClaimedItem | None:
        crashes = self._solo_crashes.pop(suspect.attempt_key, 0) + 1
        if crashes >= SOLO_CRASHES:
            return suspect
        self._solo_crashes[suspect.attempt_key] = crashes
        self._trials.append([suspect])
        return None

    def _outside(self) -> Iterable[ClaimedItem]:
        yield from self._waiting
        for trial in self._trials:
            yield from trial
