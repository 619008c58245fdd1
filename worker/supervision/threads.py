"""The worker's own threads. None of them dies alone, and none dies in silence."""

import threading
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)


class Threads:
    """Threads that live until `stopping` is set; where one ends earlier, `on_death` is told in one line."""

    def __init__(self, stopping: threading.Event, on_death: Callable[[str], None]) -> None:
        self._stopping = stopping
        self._on_death = on_death

    def start(self, name: str, act: Callable[[threading.Event], None]) -> None:
        """Run `act` until it returns."""
        threading.Thread(target=self._live, args=(name, act), name=name, daemon=True).start()

    def _live(self, name: str, act: Callable[[threading.Event], None]) -> None:
        try:
            act(self._stopping)
        except BaseException:
            log.exception("thread_died", thread=name)
        if not self._stopping.is_set():
            self._on_death(f"The worker's {name} thread has ended.")
