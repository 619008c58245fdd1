"""What a message starts, and what it puts back into the queue; without Celery and without an engine."""

import os
import signal
import threading
import uuid
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.builders import DIGEST
from worker.decoding import Decoding
from worker.learning import Learning
from worker.protocol import DecoderUnavailableError
from worker.queue import DECODE, LEARN, Queue, queue_name
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
        assert f"--queues={queue_name(DIGEST)}" in argv

    def send_task(self, name: str, *, args: list[str], queue: str, retry: bool, **_: object) -> None:
        assert not retry
        assert queue == queue_name(DIGEST)
        self.published += [(name, argument) for argument in args]


class Turns:
    """Decoding and learning in one; keeps whose turn it was."""

    def __init__(self, *, items_are_left: bool, next_fit: uuid.UUID | None, failing: bool) -> None:
        self.stopping = threading.Event()
        self.taken: list[str] = []
        self._items_are_left = items_are_left
        self._next_fit = next_fit
        self._failing = failing

    def decode(self) -> bool:
        self.taken.append("decoding")
        if self._failing:
            raise DecoderUnavailableError("No model.")
        return self._items_are_left

    def learn(self) -> uuid.UUID | None:
        self.taken.append("learning")
        return self._next_fit


def serving(
    *,
    items_are_left: bool = False,
    next_fit: uuid.UUID | None = None,
    stopping: bool = False,
    failing: bool = False,
    on_failure: Callable[[str], None] = pytest.fail,
) -> tuple[FakeQueue, Turns]:
    queue, turns = FakeQueue(), Turns(items_are_left=items_are_left, next_fit=next_fit, failing=failing)
    if stopping:
        turns.stopping.set()
    decoding = cast("Decoding", SimpleNamespace(run=turns.decode, stopping=turns.stopping))
    learning = cast("Learning", SimpleNamespace(run=turns.learn))
    serve(cast("Queue", queue), DIGEST, decoding, learning, on_failure)
    return queue, turns


def test_nothing_left_is_nothing_published() -> None:
    queue, _ = serving()

    queue.tasks[DECODE](str(JOB))
    queue.tasks[LEARN](str(FIT))

    assert queue.published == []


@pytest.mark.parametrize(
    "left", [{"items_are_left": True}, {"next_fit": FIT}, {"items_are_left": True, "next_fit": FIT}]
)
def test_a_message_is_followed_by_one_of_its_kind_while_anything_is_left(left: dict[str, Any]) -> None:
    queue, _ = serving(**left)

    queue.tasks[DECODE](str(JOB))
    queue.tasks[LEARN](str(FIT))

    assert queue.published == [(DECODE, str(JOB)), (LEARN, str(FIT))]


@pytest.mark.parametrize("task", [DECODE, LEARN])
@pytest.mark.parametrize("items_are_left", [True, False])
def test_both_have_their_turn_whatever_the_message_was_of(task: str, *, items_are_left: bool) -> None:
    """The other's message may have been lost, and a worker that is never idle would not have looked for it."""
    queue, turns = serving(items_are_left=items_are_left, next_fit=FIT)

    queue.tasks[task](str(JOB))

    assert turns.taken == ["decoding", "learning"]


@pytest.mark.parametrize("task", [DECODE, LEARN])
def test_a_worker_that_ends_begins_no_fit_and_publishes_nothing(task: str) -> None:
    queue, turns = serving(items_are_left=True, next_fit=FIT, stopping=True)

    queue.tasks[task](str(JOB))

    assert turns.taken == ["decoding"]
    assert queue.published == []


def test_a_worker_whose_model_cannot_be_loaded_again_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[str] = []
    signals: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda *sent: signals.append(sent))
    queue, turns = serving(failing=True, next_fit=FIT, on_failure=failures.append)

    queue.tasks[DECODE](str(JOB))

    assert (failures, signals) == (["No model."], [(os.getpid(), signal.SIGTERM)])
    assert (turns.taken, queue.published) == (["decoding"], [])
