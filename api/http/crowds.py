"""What a crowd asks at the same time is answered from one look-up, which is kept for a fraction of a second.

Two hundred clients that follow one job once a second would otherwise have it looked up as fast as it can be. Whoever
asks alone, or with a few others, is told nothing that was read before they asked.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Hashable
from typing import Generic, NamedTuple, TypeVar

from api.http.coalescing import Coalescer

CROWD = 40
"""Questions, all the same, in a second: so many are a crowd in the next second."""
KEPT_SECONDS = 0.25
RENEWED_AFTER_SECONDS = 0.125
"""From then on a kept answer is looked up again, beside those whom it still answers: so nobody waits for it."""

Question = TypeVar("Question", bound=Hashable)
Answer = TypeVar("Answer")


class _Kept(NamedTuple, Generic[Answer]):
    answer: Answer
    asked_at: float
    """The answer is at least as new as that."""


class Crowds(Generic[Question, Answer]):
    """Answers a crowd's question with what was looked up at most KEPT_SECONDS ago, and everybody else's anew.

    `forget` makes every answer at least as new as that call. An error is never kept. Safe to use from several event
    loops.
    """

    def __init__(self, desk: Coalescer[Question, Answer], clock: Callable[[], float] = time.monotonic) -> None:
        self._desk = desk
        self._clock = clock
        self._second_ends = 0.0
        self._asked, self._crowded = Counter[Question](), frozenset[Question]()
        self._kept: dict[Question, _Kept[Answer]] = {}
        self._renewals: dict[tuple[asyncio.AbstractEventLoop, Question], asyncio.Task[Answer]] = {}

    async def ask(self, question: Question) -> Answer:
        """What the look-up returns or raises, or has returned a moment ago."""
        now = self._clock()
        if not self._is_of_crowd(question, now):
            return await self._desk.ask(question)
        kept = self._kept.get(question)
        if kept is not None and now - kept.asked_at < RENEWED_AFTER_SECONDS:
            return kept.answer
        renewal = self._renewal(question, now)
        if kept is not None and now - kept.asked_at < KEPT_SECONDS:
            return kept.answer
        return await asyncio.shield(renewal)

    def forget(self) -> None:
        """Something was changed: nobody who asks from now on is told what was read before, or is being read."""
        self._kept.clear()
        self._renewals.clear()

    def _is_of_crowd(self, question: Question, now: float) -> bool:
        """Count the question; what is not a crowd's any more is forgotten with the second."""
        if now >= self._second_ends:
            is_next = now < self._second_ends + 1
            self._crowded = frozenset(each for each, times in self._asked.items() if times >= CROWD and is_next)
            self._kept = {each: kept for each, kept in self._kept.items() if each in self._crowded}
            self._asked.clear()
            self._second_ends = now + 1
        self._asked[question] += 1
        return question in self._crowded

    def _renewal(self, question: Question, now: float) -> "asyncio.Task[Answer]":
        key = (asyncio.get_running_loop(), question)
        task = self._renewals.get(key)
        if task is None:
            task = self._renewals[key] = asyncio.create_task(self._desk.ask(question))
            task.add_done_callback(lambda ended: self._keep(key, ended, now))
        return task

    def _keep(
        self, key: tuple[asyncio.AbstractEventLoop, Question], ended: "asyncio.Task[Answer]", asked_at: float
    ) -> None:
        is_wanted = self._renewals.get(key) is ended
        if is_wanted:
            del self._renewals[key]
        if not ended.cancelled() and ended.exception() is None and is_wanted:
            self._kept[key[1]] = _Kept(ended.result(), asked_at)
