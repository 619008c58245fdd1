"""Ends a process that waits too long for the other devices of its group: half a model decodes nothing.

A device that has stopped, or that does something else than the others, would let them wait in a sum for ever.
"""

import os
import sys
import threading
from typing import Self

LOST = 70
"""Exit code of a process whose group has lost a device."""
PATIENCE_SECONDS = 300.0
"""For one call on all devices: more than any takes, and less than anybody wants to wait for one that never ends."""
_TICK_SECONDS = 1.0


def end_process(why: str) -> None:
    """Say why, and end at once: the main thread may be in a call that never returns."""
    sys.stderr.write(f"{why} The engine ends.\n")
    sys.stderr.flush()
    os._exit(LOST)


class Watch:
    """`with watch:` around what is not to last longer than its patience.

    Ticks are counted and not the time: while a process is itself stopped, nobody else is to blame.
    """

    def __init__(self, patience_seconds: float) -> None:
        self._most_ticks = max(1, round(patience_seconds / _TICK_SECONDS))
        self._num_begun = 0
        self._is_on = False
        threading.Thread(target=self._run, daemon=True).start()

    def __enter__(self) -> Self:
        """From now on it is watched."""
        self._num_begun += 1
        self._is_on = True
        return self

    def __exit__(self, *_error: object) -> None:
        """It has ended, well or badly."""
        self._is_on = False

    def _run(self) -> None:
        seen = num_ticks = 0
        while num_ticks < self._most_ticks:
            threading.Event().wait(_TICK_SECONDS)
            is_same = self._is_on and self._num_begun == seen
            num_ticks = num_ticks + 1 if is_same else 0
            seen = self._num_begun
        end_process(f"Another device of this model has not answered for {num_ticks * _TICK_SECONDS:.0f} s.")
