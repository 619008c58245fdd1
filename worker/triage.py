"""Which items go to the engine, and which one broke it. Pure bookkeeping: no process, no clock, no database.

The one idea: when the engine dies, whatever was inside is a suspect. Suspects are tried again in halves, alone in
the engine; a half that survives is cleared, a half that dies is halved again. One item that dies alone several times
is poisoned, and its neighbours have lost nothing but time.
"""

from collections import deque
from collections.abc import Iterable

from db.queries.claims import Attempt, ClaimedItem

SOLO_CRASHES = 2


class Triage:
    """Items on their way through one engine."""

    def __init__(self) -> None:
        self._waiting: deque[ClaimedItem] = deque()
        self._inside: dict[int, ClaimedItem] = {}
        self._trials: list[list[ClaimedItem]] = []
        self._solo_crashes: dict[int, int] = {}

    @property
    def num_items(self) -> int:
        """Items that have not ended: waiting, inside, or on trial."""
        return len(self._waiting) + len(self._inside) + sum(map(len, self._trials))

    @property
    def item_ids(self) -> set[int]:
        """The ids of all of them."""
        return set(self._inside) | {item.item_id for item in self._outside()}

    @property
    def attempts(self) -> set[Attempt]:
        """The attempts at all of them."""
        return {item.attempt_key for item in (*self._inside.values(), *self._outside())}

    def is_inside(self, item_id: int) -> bool:
        """Whether the engine was sent this item and still owes its outcome."""
        return item_id in self._inside

    def add(self, items: Iterable[ClaimedItem]) -> None:
        """Take in newly claimed items."""
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
        self._inside.update((item.item_id, item) for item in batch)
        return batch

    def end(self, item_ids: Iterable[int]) -> None:
        """Forget items that ended or were taken away, wherever they are."""
        gone = set(item_ids)
        for item_id in gone:
            self._inside.pop(item_id, None)
            self._solo_crashes.pop(item_id, None)
        self._waiting = deque(item for item in self._waiting if item.item_id not in gone)
        kept = ([item for item in trial if item.item_id not in gone] for trial in self._trials)
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
        crashes = self._solo_crashes.pop(suspect.item_id, 0) + 1
        if crashes >= SOLO_CRASHES:
            return suspect
        self._solo_crashes[suspect.item_id] = crashes
        self._trials.append([suspect])
        return None

    def _outside(self) -> Iterable[ClaimedItem]:
        yield from self._waiting
        for trial in self._trials:
            yield from trial
