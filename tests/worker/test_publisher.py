"""Wake-ups are sent in the background: nobody waits for Redis, nothing piles up, and what failed is sent later."""

import threading
import uuid
from typing import cast

import pytest
from kombu.exceptions import OperationalError
from redis.exceptions import OutOfMemoryError, ResponseError

from tests.builders import DIGEST
from worker.queue import DECODE, LEARN, MOST_PENDING, Publisher, Queue


class ScriptedQueue:
    """A Redis whose answers the test decides: it hangs while `answers` is not set, and fails while `error` is."""

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.answers.set()
        self.asked = threading.Event()
        self.error: Exception | None = None
        self.sent: list[tuple[str, str]] = []

    def send_task(self, name: str, *, args: list[str], **_: object) -> None:
        self.asked.set()
        assert self.answers.wait(30)
        if self.error is not None:
            raise self.error
        self.sent.append((name, args[0]))


def a_publisher(queue: ScriptedQueue, *, rest_seconds: float = 0.0) -> Publisher:
    return Publisher(cast("Queue", queue), rest_seconds=rest_seconds)


def test_what_is_asked_for_is_sent_in_order() -> None:
    queue, job, fit = ScriptedQueue(), uuid.uuid4(), uuid.uuid4()
    publisher = a_publisher(queue)

    publisher.wake(job, DIGEST)
    publisher.wake_for_fit(fit, DIGEST)

    assert publisher.flush(30)
    assert queue.sent == [(DECODE, str(job)), (LEARN, str(fit))]
    publisher.close(0)


def test_nobody_waits_while_redis_hangs_and_what_waits_is_bounded() -> None:
    queue = ScriptedQueue()
    queue.answers.clear()
    publisher = a_publisher(queue)
    jobs = [uuid.uuid4() for _ in range(3 * MOST_PENDING)]

    for job in jobs:  # would never end if it waited
        publisher.wake(job, DIGEST)
    assert not publisher.flush(0)
    queue.answers.set()

    assert publisher.flush(30)
    assert [id_ for _, id_ in queue.sent][-MOST_PENDING:] == [str(job) for job in jobs[-MOST_PENDING:]]
    assert len(queue.sent) <= MOST_PENDING + 1
    publisher.close(0)


@pytest.mark.parametrize(
    "error",
    [
        OperationalError("gone"),
        ResponseError("MISCONF Redis is configured to save RDB snapshots"),
        OutOfMemoryError("OOM command not allowed"),
        ConnectionResetError(),
        LookupError("nobody thought of this one"),
    ],
)
def test_what_redis_did_not_take_is_sent_when_it_takes_it(error: Exception) -> None:
    queue, job = ScriptedQueue(), uuid.uuid4()
    queue.error = error
    publisher = a_publisher(queue)

    publisher.wake(job, DIGEST)
    for _ in range(2):  # when it is tried again, it has failed once
        assert queue.asked.wait(30)
        queue.asked.clear()
    assert publisher.is_failing
    queue.error = None

    assert publisher.flush(30)
    assert not publisher.is_failing
    assert queue.sent == [(DECODE, str(job))]
    publisher.close(0)


def test_a_redis_that_refuses_is_left_in_peace_for_a_while() -> None:
    queue = ScriptedQueue()
    queue.error = ResponseError("MISCONF")
    publisher = a_publisher(queue, rest_seconds=60)
    publisher.wake(uuid.uuid4(), DIGEST)
    assert queue.asked.wait(30)
    queue.asked.clear()

    assert not queue.asked.wait(0.3)

    publisher.close(0)
    sending = publisher._thread  # noqa: SLF001 - it is nobody else's business
    assert sending is not None
    sending.join(30)
    assert not sending.is_alive(), "it rests no longer"


def test_closing_waits_no_longer_than_it_is_told() -> None:
    queue = ScriptedQueue()
    queue.answers.clear()
    publisher = a_publisher(queue)
    publisher.wake(uuid.uuid4(), DIGEST)
    assert queue.asked.wait(30)

    publisher.close(0)  # would never end if it waited

    assert queue.sent == []
    queue.answers.set()


def test_the_same_wakeup_waits_once() -> None:
    queue, first, again = ScriptedQueue(), uuid.uuid4(), uuid.uuid4()
    queue.answers.clear()
    publisher = a_publisher(queue)
    publisher.wake(first, DIGEST)
    assert queue.asked.wait(30)

    publisher.wake(again, DIGEST)
    publisher.wake(again, DIGEST)
    queue.answers.set()

    assert publisher.flush(30)
    assert queue.sent == [(DECODE, str(first)), (DECODE, str(again))]
    publisher.close(0)
