"""Whose turn it is at the engine: the items' or a fit's. No Celery, no torch."""

import threading
from collections.abc import Callable

import structlog

from worker.learning.fits import Learning
from worker.pipeline.decoding import Decoding
from worker.supervision.protocol import DecoderUnavailableError

ASK_SECONDS = 1.0

log = structlog.get_logger(__name__)


class Turns:
    """One turn at a time, whoever asks for it: a message, or this worker itself where no message came."""

    def __init__(
        self,
        decoding: Decoding,
        learning: Learning,
        on_failure: Callable[[str], None],
        watch_engine: Callable[[float], None],
    ) -> None:
        """`on_failure` is told why the model cannot be loaded again: it ends the worker.

        `watch_engine` is called with a number of seconds every so many of them in which nobody has a turn.
        """
        self._decoding = decoding
        self._learning = learning
        self._on_failure = on_failure
        self._watch_engine = watch_engine
        self._busy = threading.Lock()
        self._asked = threading.Event()

    def take(self) -> bool:
        """Decoding, for a time slice at least, then the fit that has waited longest; True when work may be left.

        Both, whatever the message was of: the other's may be lost, or far behind in the queue.
        """
        with self._busy:
            try:
                items_are_left = self._decoding.run()
                if self._decoding.stopping.is_set():
                    return False
                next_fit = self._learning.run()
            except DecoderUnavailableError as error:
                self._on_failure(str(error))
                return False
        return (items_are_left or next_fit is not None) and not self._decoding.stopping.is_set()

    def ask(self) -> None:
        """Have the next turn taken soon, without a message: Redis is a help, not a need."""
        self._asked.set()

    def run(self, stopping: threading.Event) -> None:
        """Take the turns that were asked for, and watch the engine between them, until `stopping` is set."""
        while not stopping.is_set():
            is_asked = self._asked.wait(ASK_SECONDS)
            try:
                if not is_asked:
                    self.watch()
                    continue
                self._asked.clear()
                if self.take():
                    self.ask()
            except Exception:
                log.exception("turn_failed")  # whoever finds work waiting asks again

    def watch(self) -> None:
        """Have the engine watched, unless somebody has a turn: whoever has one hears of its engine by himself."""
        if not self._busy.acquire(blocking=False):
            return
        try:
            if not self._decoding.stopping.is_set():
                self._watch_engine(ASK_SECONDS)
        except DecoderUnavailableError as error:
            self._on_failure(str(error))
        finally:
            self._busy.release()

    def finish(self) -> None:
        """Wait until the turn that is being taken has ended."""
        with self._busy:
            return
