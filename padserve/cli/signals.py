"""Signals that end a command: what a terminal that closes or a polite kill asks for is done as for Ctrl-C."""

import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

ASK_TO_END = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def end_as_by_ctrl_c() -> Iterator[None]:
    """SIGTERM and SIGHUP raise KeyboardInterrupt in the block, so that files and jobs that were begun are tidied up.

    Outside of the main thread, which alone has signals, nothing is changed.
    """
    with _handled(_interrupt):
        yield


@contextmanager
def handed_on_to(program: subprocess.Popen[bytes]) -> Iterator[None]:
    """SIGTERM and SIGHUP in the block are sent to the program, whose end is waited for in it."""
    with _handled(lambda number, _frame: program.send_signal(number)):
        yield


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in ASK_TO_END}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
