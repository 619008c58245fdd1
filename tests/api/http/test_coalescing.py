"""Equal questions that come together are looked up together, and no answer is older than its question."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from api.http import coalescing
from api.http.coalescing import Coalescer


class Library:
    """Looks up what it holds, each time when it is let."""

    def __init__(self) -> None:
        self.holds = "first"
        self.num_look_ups = 0
        self._let = threading.Semaphore(0)

    def look_up(self, question: str) -> str:
        self.num_look_ups += 1
        seen = f"{question}: {self.holds}"
        assert self._let.acquire(timeout=20)
        if self.holds == "nothing":
            raise LookupError(question)
        return seen

    def let(self, times: int = 1) -> None:
        self._let.release(times)


@pytest.fixture
def library() -> Library:
    return Library()


def run(library: Library, scenario: Callable[[Coalescer[str, str]], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(Coalescer(library.look_up)), 30))


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - a thread's progress has no event
        await asyncio.sleep(0.001)


def test_who_asks_while_it_is_looked_up_gets_the_next_answer_and_shares_it(library: Library) -> None:
    async def scenario(desk: Coalescer[str, str]) -> None:
        first = asyncio.create_task(desk.ask("q"))
        await until(lambda: library.num_look_ups == 1)
        library.holds = "second"
        later = [asyncio.create_task(desk.ask("q")) for _ in range(50)]
        library.let(2)

        assert await first == "q: first"
        assert set(await asyncio.gather(*later)) == {"q: second"}
        assert library.num_look_ups == 2

    run(library, scenario)


def test_different_questions_do_not_wait_for_each_other(library: Library) -> None:
    async def scenario(desk: Coalescer[str, str]) -> None:
        answers = [asyncio.create_task(desk.ask(question)) for question in ("a", "b")]
        await until(lambda: library.num_look_ups == 2)
        library.let(2)

        assert [await answer for answer in answers] == ["a: first", "b: first"]

    run(library, scenario)


def test_an_error_is_everybodys_who_waited_and_the_next_question_is_looked_up_again(library: Library) -> None:
    async def scenario(desk: Coalescer[str, str]) -> None:
        library.holds = "nothing"
        asked = asyncio.gather(desk.ask("q"), desk.ask("q"), return_exceptions=True)
        library.let()
        assert [type(each) for each in await asked] == [LookupError, LookupError]

        library.holds = "again"
        library.let()
        assert await desk.ask("q") == "q: again"

    run(library, scenario)


def test_who_gives_up_leaves_the_others_their_answer(library: Library) -> None:
    async def scenario(desk: Coalescer[str, str]) -> None:
        impatient, patient = (asyncio.create_task(desk.ask("q")) for _ in range(2))
        await until(lambda: library.num_look_ups == 1)
        impatient.cancel()
        library.let()

        assert await patient == "q: first"
        assert impatient.cancelled()

    run(library, scenario)


def test_one_who_asks_alone_never_waits_for_others(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coalescing, "GATHERING_SECONDS", 3600)

    async def scenario(desk: Coalescer[str, str]) -> None:
        library.let(3)
        assert [await desk.ask("q") for _ in range(3)] == ["q: first"] * 3

    run(library, scenario)
