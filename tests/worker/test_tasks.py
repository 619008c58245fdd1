"""What a message starts, and what it puts back into the queue; without Celery and without an engine."""

import threading
import uuid
from collections.abc import Callable
from typing import cast

import pytest

from worker.decoding import Decoding
from worker.learning import Learning
from worker.queue import DECODE, LEARN, Queue
from worker.tasks import serve

JOB, FIT = uuid.uuid4(), uuid.uuid4()


class FakeQueue:
    """Runs no worker: keeps the tasks that were registered, and what was published."""

    def __init__(self) -> None:
        self.tasks: dict[str, Callable[[str], None]] = {}
        self.published: list[tuple[str, str]] = []

    def task(self, *, name: str) -> Callable[[Callable[[str], None]], None]:
        def register(function: Callable[[str], None]) -> None:
            self.tasks[name] = function

        return register

    def worker_main(self, *, argv: list[str]) -> None:
        assert "--concurrency=1" in argv

    def send_task(self, name: str, *, args: list[str], retry: bool) -> None:
        assert not retry
        self.published += [(name, argument) for argument in args]


class FakeDecoding:
    def __init__(self, *, work_is_left: bool) -> None:
        self.stopping = threading.Event()
        self._work_is_left = work_is_left

    def run(self) -> bool:
        return self._work_is_left


class FakeLearning:
    def __init__(self, waiting: uuid.UUID | None) -> None:
        self._waiting = waiting

    def run(self) -> uuid.UUID | None:
        return self._waiting

    def next_waiting(self) -> uuid.UUID | None:
        return self._waiting


def serving(*, work_is_left: bool = True, waiting: uuid.UUID | None = None, stopping: bool = False) -> FakeQueue:
    queue, decoding = FakeQueue(), FakeDecoding(work_is_left=work_is_left)
    if stopping:
        decoding.stopping.set()
    learning = cast("Learning", FakeLearning(waiting))
    serve(cast("Queue", queue), cast("Decoding", decoding), learning, on_failure=pytest.fail)
    return queue


def test_what_a_time_slice_leaves_is_put_back() -> None:
    queue = serving()

    queue.tasks[DECODE](str(JOB))

    assert queue.published == [(DECODE, str(JOB))]


def test_a_fit_that_waits_comes_before_the_next_time_slice() -> None:
    """Its own message may have been lost, and a worker that is never idle would not have looked for it."""
    queue = serving(waiting=FIT)

    queue.tasks[DECODE](str(JOB))

    assert queue.published == [(LEARN, str(FIT)), (DECODE, str(JOB))]


def test_a_fit_asks_for_the_one_behind_it() -> None:
    queue = serving(waiting=FIT)

    queue.tasks[LEARN]("any")

    assert queue.published == [(LEARN, str(FIT))]


@pytest.mark.parametrize("task", [DECODE, LEARN])
def test_a_worker_that_ends_publishes_nothing(task: str) -> None:
    queue = serving(waiting=FIT, stopping=True)

    queue.tasks[task](str(JOB))

    assert queue.published == []


def test_nothing_left_is_nothing_published() -> None:
    queue = serving(work_is_left=False)

    queue.tasks[DECODE](str(JOB))

    assert queue.published == []
