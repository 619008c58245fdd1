"""What a message starts, and what it puts back into the queue; without Celery and without an engine."""

import sys
import threading
import uuid
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from celery.worker import state

from tests.builders import DIGEST
from worker import tasks
from worker.learning.fits import Learning
from worker.pipeline import turns as turns_module
from worker.pipeline.decoding import Decoding
from worker.pipeline.turns import Turns
from worker.queue import DECODE, LEARN, Queue, queue_name
from worker.supervision.protocol import DecoderUnavailableError
from worker.tasks import LookOften, consume, register_tasks

JOB, FIT = uuid.uuid4(), uuid.uuid4()


class FakeQueue:
    """Runs no worker: keeps the tasks that were registered, and what was published."""

    def __init__(self) -> None:
        self.tasks: dict[str, Callable[[str], None]] = {}
        self.published: list[tuple[str, str]] = []
        self.num_consumers = 0
        self.steps: dict[str, set[object]] = {"worker": set()}
        self.on_consume: Callable[[], None] = lambda: None

    def task(self, *, name: str) -> Callable[[Callable[[str], None]], None]:
        def register(function: Callable[[str], None]) -> None:
            self.tasks[name] = function

        return register

    def worker_main(self, *, argv: list[str]) -> None:
        assert "--concurrency=1" in argv
        assert f"--queues={queue_name(DIGEST)}" in argv
        self.num_consumers += 1
        self.on_consume()

    def send_task(self, name: str, *, args: list[str], queue: str, retry: bool, **_: object) -> None:
        assert not retry
        assert queue == queue_name(DIGEST)
        self.published += [(name, argument) for argument in args]


class WrittenTurns:
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
) -> tuple[FakeQueue, WrittenTurns]:
    queue, turns = FakeQueue(), WrittenTurns(items_are_left=items_are_left, next_fit=next_fit, failing=failing)
    if stopping:
        turns.stopping.set()
    decoding = cast("Decoding", SimpleNamespace(run=turns.decode, stopping=turns.stopping))
    learning = cast("Learning", SimpleNamespace(run=turns.learn))
    register_tasks(cast("Queue", queue), DIGEST, Turns(decoding, learning, on_failure, lambda _: None), turns.stopping)
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


def test_a_worker_whose_model_cannot_be_loaded_again_says_so_and_publishes_nothing() -> None:
    failures: list[str] = []
    queue, turns = serving(failing=True, next_fit=FIT, on_failure=failures.append)

    queue.tasks[DECODE](str(JOB))

    assert failures == ["No model."]
    assert (turns.taken, queue.published) == (["decoding"], [])


def test_turns_are_taken_without_a_message_too_and_outlive_what_goes_wrong_in_one() -> None:
    stopping, errors, taken = threading.Event(), iter([RuntimeError("a fault")]), threading.Semaphore(0)

    def decode() -> bool:
        taken.release()
        if (error := next(errors, None)) is not None:
            raise error
        return False

    decoding = cast("Decoding", SimpleNamespace(run=decode, stopping=threading.Event()))
    turns = Turns(decoding, cast("Learning", SimpleNamespace(run=lambda: None)), pytest.fail, lambda _: None)
    thread = threading.Thread(target=turns.run, args=(stopping,))
    thread.start()

    turns.ask()
    assert taken.acquire(timeout=30)
    turns.ask()
    assert taken.acquire(timeout=30)
    stopping.set()
    thread.join(30)
    assert not thread.is_alive()


def test_a_turn_that_leaves_work_is_followed_by_another_without_a_message() -> None:
    stopping, left = threading.Event(), iter([True, True, False])

    def decode() -> bool:
        is_left = next(left)
        if not is_left:
            stopping.set()
        return is_left

    decoding = cast("Decoding", SimpleNamespace(run=decode, stopping=threading.Event()))
    turns = Turns(decoding, cast("Learning", SimpleNamespace(run=lambda: None)), pytest.fail, lambda _: None)
    turns.ask()

    turns.run(stopping)  # would never end if it waited for a message

    assert next(left, None) is None


def test_between_turns_the_engine_is_watched_and_one_that_cannot_be_loaded_ends_the_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turns_module, "ASK_SECONDS", 0.001)
    stopping, failures, watched = threading.Event(), list[str](), list[float]()

    def watch(seconds: float) -> None:
        watched.append(seconds)
        if len(watched) == 3:
            stopping.set()
            raise DecoderUnavailableError("No model.")

    decoding = cast("Decoding", SimpleNamespace(stopping=threading.Event()))
    turns = Turns(decoding, cast("Learning", None), failures.append, watch)
    turns.run(stopping)

    assert (watched, failures) == ([0.001] * 3, ["No model."])


def test_nobody_else_watches_the_engine_of_whoever_has_a_turn() -> None:
    watched: list[float] = []

    def decode() -> bool:
        turns.watch()
        return bool(watched)

    decoding = cast("Decoding", SimpleNamespace(run=decode, stopping=threading.Event()))
    learning = cast("Learning", SimpleNamespace(run=lambda: None))
    turns = Turns(decoding, learning, pytest.fail, watched.append)

    assert not turns.take()
    turns.watch()
    assert len(watched) == 1


@pytest.mark.parametrize("end", [lambda: None, lambda: sys.exit(0), lambda: 1 / 0], ids=["return", "exit", "error"])
def test_a_consumer_that_ends_by_itself_is_begun_again(
    monkeypatch: pytest.MonkeyPatch, end: Callable[[], object]
) -> None:
    """Celery ends with exit code 0, with another and with an exception; only a signal is meant."""
    monkeypatch.setattr(tasks, "RESTART_SECONDS", 0.01)
    queue, stopping = FakeQueue(), threading.Event()

    def run() -> None:
        if queue.num_consumers == 3:
            stopping.set()
        end()

    queue.on_consume = run
    consume(cast("Queue", queue), DIGEST, stopping)

    assert queue.num_consumers == 3
    assert queue.steps == {"worker": {LookOften}}


@pytest.mark.parametrize("told", ["should_stop", "should_terminate"])
def test_a_worker_whose_signal_was_lost_halfway_ends_all_the_same(monkeypatch: pytest.MonkeyPatch, told: str) -> None:
    """Celery's handler of SIGQUIT failed before it told anybody, and each new consumer ended at once, for ever."""
    monkeypatch.setattr(tasks, "RESTART_SECONDS", 0.01)
    queue, stopping = FakeQueue(), threading.Event()
    queue.on_consume = lambda: monkeypatch.setattr(state, told, 0)

    consume(cast("Queue", queue), DIGEST, stopping)

    assert (queue.num_consumers, stopping.is_set()) == (1, True)
