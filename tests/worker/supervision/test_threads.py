"""No thread of the worker dies alone, and none in silence."""

import queue
import threading
from collections.abc import Callable

import pytest

from worker.supervision.threads import Threads


def raising(error: BaseException) -> Callable[[threading.Event], None]:
    def act(_: threading.Event) -> None:
        raise error

    return act


@pytest.mark.parametrize(
    "act", [raising(RuntimeError()), raising(SystemExit()), lambda _: None], ids=["error", "exit", "return"]
)
def test_a_thread_that_ends_before_the_worker_is_told_of(act: Callable[[threading.Event], None]) -> None:
    said: queue.SimpleQueue[str] = queue.SimpleQueue()

    Threads(threading.Event(), said.put).start("reconciler", act)

    assert said.get(timeout=30) == "The worker's reconciler thread has ended."


def test_a_thread_that_ends_with_the_worker_is_not() -> None:
    stopping, said = threading.Event(), list[str]()
    ended = threading.Event()

    def act(stopping: threading.Event) -> None:
        stopping.wait()
        ended.set()

    Threads(stopping, said.append).start("reconciler", act)
    stopping.set()

    assert ended.wait(30)
    assert said == []
