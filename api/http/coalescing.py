"""Equal questions that are asked at the same time are answered together: two hundred clients may follow one job."""

import asyncio
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from starlette.concurrency import run_in_threadpool

GATHERING_SECONDS = 0.02
"""Between two look-ups of what many ask for: who comes meanwhile shares the next. One who asks alone never waits."""

Question = TypeVar("Question", bound=Hashable)
Answer = TypeVar("Answer")


class Coalescer(Generic[Question, Answer]):
    """Looks up each question once for all who ask it while the look-up before is still under way.

    An answer is never older than its question: a look-up that has begun is not for those who ask later, who may know
    of something that it did not see. They wait for the next one, and share that. Answers are shared as they are, so
    they must not be changed; an error is raised for everybody who waited. Safe to use from several event loops.
    """

    def __init__(self, look_up: Callable[[Question], Answer]) -> None:
        """`look_up` is called in a thread."""
        self._look_up = look_up
        self._next: dict[tuple[asyncio.AbstractEventLoop, Question], asyncio.Task[Answer]] = {}
        self._latest: dict[tuple[asyncio.AbstractEventLoop, Question], asyncio.Task[Answer]] = {}

    async def ask(self, question: Question) -> Answer:
        """What the look-up returns or raises. Who gives up asking leaves the others their answer."""
        key = (asyncio.get_running_loop(), question)
        task = self._next.get(key)
        if task is None:
            before = self._latest.get(key)
            task = self._next[key] = self._latest[key] = asyncio.create_task(self._looked_up(key, before))
            task.add_done_callback(lambda ended: self._forget(key, ended))
        return await asyncio.shield(task)

    async def _looked_up(
        self, key: tuple[asyncio.AbstractEventLoop, Question], before: asyncio.Task[Answer] | None
    ) -> Answer:
        if before is not None:
            await asyncio.wait([before])
            await asyncio.sleep(GATHERING_SECONDS)
        del self._next[key]  # it begins: nobody joins any more
        return await run_in_threadpool(self._look_up, key[1])

    def _forget(self, key: tuple[asyncio.AbstractEventLoop, Question], ended: asyncio.Task[Answer]) -> None:
        if self._latest.get(key) is ended:
            del self._latest[key]
