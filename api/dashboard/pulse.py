"""Waking open pages: one look at short marks for all pages of a process, so that a page that is idle asks for nothing.

What a page shows changes by other processes, through the database. So that is where it is noticed, whatever becomes of
Redis: a process that serves open pages asks for the marks of what they show (`db.queries.changes`), and wakes those
whose mark is another one. With no page open it asks for nothing.
"""

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager

import structlog
from starlette.concurrency import run_in_threadpool

from db.batches import batches
from db.faults import describe, is_passing
from db.queries import changes
from db.queries.changes import Mark, Subject
from db.session import Database

LOOK_SECONDS = 0.75
"""Between two looks: a change is on the page within a second."""
SUBJECTS_PER_LOOK = 500

log = structlog.get_logger(__name__)


class Follower:
    """An open page: what it shows, and whether that has changed since it last waited."""

    def __init__(self) -> None:
        self.subjects: frozenset[Subject] = frozenset()
        self._looked_at: frozenset[Subject] = frozenset()
        self._woken = asyncio.Event()

    async def changed(self, subjects: Collection[Subject], seconds: float) -> bool:
        """Wait until one of these subjects has changed, at most so many seconds: whether one has."""
        self.subjects = frozenset(subjects)
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return False
        self._woken.clear()
        return True

    def wake(self) -> None:
        """Tell the page that something has changed, or may have."""
        self._woken.set()

    def tell(self, subjects: frozenset[Subject], moved: Collection[Subject]) -> None:
        """Wake the page if a look found that one of its subjects has `moved`, or was the first at one of them.

        For the page read it before, and what changed in between may have been noticed by a look for another page.
        """
        if not subjects <= self._looked_at or not subjects.isdisjoint(moved):
            self.wake()
        self._looked_at = subjects


class Pulse:
    """All open pages of a process. Safe to use from several event loops; each looks for its own pages."""

    def __init__(
        self, look: Callable[[Collection[Subject]], Mapping[Subject, Mark]], is_stopping: Callable[[], bool]
    ) -> None:
        """`look` is called in a thread. Once the server `is_stopping`, every page is woken, to be let go."""
        self._look = look
        self._is_stopping = is_stopping
        self._followers: dict[asyncio.AbstractEventLoop, set[Follower]] = {}
        self._looking: dict[asyncio.AbstractEventLoop, asyncio.Task[None]] = {}

    @contextmanager
    def following(self) -> Iterator[Follower]:
        """A page that is open as long as the block runs; to be entered within an event loop."""
        loop = asyncio.get_running_loop()
        follower = Follower()
        followers = self._followers.setdefault(loop, set())
        followers.add(follower)
        if loop not in self._looking:
            self._looking[loop] = loop.create_task(self._run(loop))
        try:
            yield follower
        finally:
            followers.discard(follower)

    async def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look again and again until no page is open on this event loop, also while the database is away."""
        followers, known = self._followers[loop], dict[Subject, Mark]()
        try:
            while followers and not self._is_stopping():
                shown = {follower: follower.subjects for follower in followers}
                subjects = frozenset[Subject]().union(*shown.values())
                seen = await self._seen(subjects)
                moved = {each for each in subjects if known.get(each) != seen.get(each)}
                for follower, its in shown.items():
                    follower.tell(its, moved)
                known = {each: seen.get(each) for each in subjects}
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            for follower in followers:
                follower.wake()
            del self._looking[loop], self._followers[loop]

    async def _seen(self, subjects: Collection[Subject]) -> Mapping[Subject, Mark]:
        """The marks; none where the database does not answer: each page looks for itself, and tells what is wrong."""
        try:
            return await run_in_threadpool(self._look, subjects)
        except Exception as error:
            if is_passing(error):
                log.warning("pages_wait", **describe(error))
            else:
                log.exception("pages_wait")
            return {}


def pulse_in(database: Database, is_stopping: Callable[[], bool]) -> Pulse:
    """The pulse of what this database holds, until the server stops."""

    def look(subjects: Collection[Subject]) -> dict[Subject, Mark]:
        seen: dict[Subject, Mark] = {}
        with database.reading() as session:
            for some in batches(list(subjects), SUBJECTS_PER_LOOK):
                seen |= changes.marks_of(session, some)
        return seen

    return Pulse(look, is_stopping)
