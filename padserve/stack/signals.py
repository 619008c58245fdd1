"""Signals that ask a local stack to end: the first one interrupts, and none comes between a process and its end."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

ASKS_TO_END = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
MAY_RAISE = {*ASKS_TO_END, signal.SIGALRM}
"""Signals whose handlers raise in the main thread: these, and a time limit's."""


class Interruption:
    """Handles `ASKS_TO_END`: KeyboardInterrupt at the first signal, `at_once` at every later one.

    It raises once in its life at most, so what runs in a `finally` block after that is not interrupted again; set
    `is_ending` where the end has begun without a signal.
    """

    def __init__(self, at_once: Callable[[], None]) -> None:
        self.is_ending = False
        self._at_once = at_once

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Handle the signals within the block. Main thread only."""
        before = [(number, signal.signal(number, self._handle)) for number in ASKS_TO_END]
        try:
            yield
        finally:
            for number, previous in before:
                signal.signal(number, previous)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if self.is_ending:
            self._at_once()
            return
        self.is_ending = True
        raise KeyboardInterrupt


@contextmanager
def held_back() -> Iterator[None]:
    """Let signals that may raise here wait until the block is done. What is started in the block has them blocked."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, MAY_RAISE)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
