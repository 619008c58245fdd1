"""A crowd is answered from one look-up of a moment ago; whoever asks alone, or after a change, is not."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from api.http.coalescing import Coalescer
from api.http.crowds import CROWD, KEPT_SECONDS, RENEWED_AFTER_SECONDS, Crowds

SECOND = 1.0
MOMENT = 0.01


class Library:
    """Looks up what it holds, and has a clock that is put on by hand."""

    def __init__(self) -> None:
        self.holds: str | None = "first"
        self.num_look_ups = 0
        self.time = 100.0
        self.is_open = threading.Event()
        self.is_open.set()
        self.crowds = Crowds(Coalescer(self._look_up), clock=lambda: self.time)

    def _look_up(self, question: str) -> str:
        self.num_look_ups += 1
        seen = self.holds
        assert self.is_open.wait(20)
        if seen is None:
            raise LookupError(question)
        return seen

    async def gather_a_crowd(self) -> None:
        """So many have asked lately that the next are a crowd, whose answer is kept."""
        await asyncio.gather(*(self.crowds.ask("q") for _ in range(CROWD)))
        self.time += SECOND
        await self.crowds.ask("q")


@pytest.fixture
def library() -> Library:
    return Library()


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def within_time() -> None:
        await asyncio.wait_for(scenario(), 30)

    asyncio.run(within_time())


def test_a_crowd_is_answered_from_one_look_up(library: Library) -> None:
    async def scenario() -> None:
        await library.gather_a_crowd()
        before = library.num_look_ups

        library.time += RENEWED_AFTER_SECONDS - MOMENT

        assert await asyncio.gather(*(library.crowds.ask("q") for _ in range(200))) == ["first"] * 200
        assert library.num_look_ups == before

    run(scenario)


def test_no_answer_is_older_than_a_crowd_may_be_told(library: Library) -> None:
    async def scenario() -> None:
        await library.gather_a_crowd()
        library.holds = "second"

        library.time += KEPT_SECONDS

        assert await library.crowds.ask("q") == "second"

    run(scenario)


def test_an_answer_is_renewed_beside_those_whom_it_still_answers(library: Library) -> None:
    async def scenario() -> None:
        await library.gather_a_crowd()
        library.holds = "second"

        library.time += RENEWED_AFTER_SECONDS

        assert await library.crowds.ask("q") == "first"
        while await library.crowds.ask("q") == "first":  # noqa: ASYNC110 - a look-up's end has no event
            await asyncio.sleep(MOMENT)

    run(scenario)


def test_who_asks_alone_is_told_nothing_that_was_read_before(library: Library) -> None:
    async def scenario() -> None:
        for number in range(3 * CROWD):
            library.holds = str(number)
            assert await library.crowds.ask("q") == str(number)
            library.time += 2 * SECOND / CROWD

    run(scenario)


def test_a_crowd_that_has_gone_is_nobodys_past(library: Library) -> None:
    async def scenario() -> None:
        await asyncio.gather(*(library.crowds.ask("q") for _ in range(CROWD)))
        library.time += 10 * SECOND
        await library.crowds.ask("q")
        library.holds = "second"

        assert await library.crowds.ask("q") == "second"

    run(scenario)


def test_what_was_changed_is_told_to_a_crowd_at_once(library: Library) -> None:
    async def scenario() -> None:
        await library.gather_a_crowd()
        before = library.num_look_ups
        library.is_open.clear()
        library.time += RENEWED_AFTER_SECONDS
        await library.crowds.ask("q")
        while library.num_look_ups == before:  # noqa: ASYNC110 - the renewal reads what was there before the change
            await asyncio.sleep(MOMENT)

        library.holds = "second"
        library.crowds.forget()
        asked = asyncio.create_task(library.crowds.ask("q"))
        await asyncio.sleep(MOMENT)
        library.is_open.set()

        assert await asked == "second"
        assert await library.crowds.ask("q") == "second"

    run(scenario)


def test_an_error_is_not_kept(library: Library) -> None:
    async def scenario() -> None:
        await library.gather_a_crowd()
        library.holds = None
        library.time += KEPT_SECONDS
        with pytest.raises(LookupError):
            await library.crowds.ask("q")

        library.holds = "again"

        assert await library.crowds.ask("q") == "again"

    run(scenario)
