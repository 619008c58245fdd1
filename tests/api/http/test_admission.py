"""Lanes: one tenant's requests wait for each other, tenants take turns, and waiting has an end."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable

import pytest

from api.http.admission import Lane
from api.http.errors import OverloadedError, TooManyRequestsError

ADA, BOB, EVE = uuid.uuid4(), uuid.uuid4(), uuid.uuid4()
LONG_ENOUGH_SECONDS = 30


class Work:
    """Requests that have begun, in order, and end when the test says so."""

    def __init__(self, lane: Lane) -> None:
        self.begun: list[uuid.UUID] = []
        self._lane = lane
        self._may_end = asyncio.Semaphore(0)
        self._changed = asyncio.Condition()
        self._tasks: list[asyncio.Task[None]] = []

    def ask(self, tenant_id: uuid.UUID, num_requests: int) -> None:
        self._tasks += [asyncio.create_task(self._request(tenant_id)) for _ in range(num_requests)]

    async def end(self, num_requests: int) -> None:
        for _ in range(num_requests):
            self._may_end.release()

    async def num_begun(self, expected: int) -> None:
        async with self._changed:
            await asyncio.wait_for(self._changed.wait_for(lambda: len(self.begun) == expected), LONG_ENOUGH_SECONDS)

    async def all(self) -> None:
        await self.end(len(self._tasks))
        await asyncio.wait_for(asyncio.gather(*self._tasks), LONG_ENOUGH_SECONDS)

    async def _request(self, tenant_id: uuid.UUID) -> None:
        async with self._lane.slot(tenant_id):
            async with self._changed:
                self.begun.append(tenant_id)
                self._changed.notify_all()
            await self._may_end.acquire()


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), LONG_ENOUGH_SECONDS))


def test_one_tenant_never_has_more_inside_than_its_share_and_another_begins_at_once() -> None:
    async def scenario() -> None:
        work = Work(Lane(most_of_tenant=2, most=4))
        work.ask(ADA, 40)
        await work.num_begun(2)

        work.ask(BOB, 1)
        await work.num_begun(3)

        assert work.begun == [ADA, ADA, BOB]
        await work.all()
        assert work.begun.count(ADA) == 40

    run(scenario)


def test_all_together_are_bounded_and_take_turns() -> None:
    async def scenario() -> None:
        work = Work(Lane(most_of_tenant=1, most=1))
        work.ask(ADA, 3)
        await work.num_begun(1)
        work.ask(BOB, 2)
        work.ask(EVE, 1)
        await asyncio.sleep(0)

        for num_begun in range(2, 7):
            await work.end(1)
            await work.num_begun(num_begun)

        assert work.begun == [ADA, ADA, BOB, EVE, ADA, BOB]
        await work.all()

    run(scenario)


@pytest.mark.parametrize(
    ("inside", "refusal"), [(ADA, TooManyRequestsError), (BOB, OverloadedError)], ids=["its own", "others'"]
)
def test_who_has_waited_too_long_is_told_whose_requests_were_in_the_way_and_when_to_come_again(
    inside: uuid.UUID, refusal: type[TooManyRequestsError] | type[OverloadedError]
) -> None:
    async def scenario() -> None:
        lane = Lane(most_of_tenant=1, most=1, patience_seconds=0)
        async with lane.slot(inside):
            with pytest.raises(refusal) as caught:
                async with lane.slot(ADA):
                    pass
        assert int(caught.value.headers["Retry-After"]) > 0

        async with lane.slot(ADA):  # the refused one has left nothing behind
            pass

    run(scenario)


def test_a_request_that_fails_or_goes_away_gives_its_place_back() -> None:
    async def scenario() -> None:
        lane = Lane(most_of_tenant=1, most=1)
        with pytest.raises(LookupError):
            async with lane.slot(ADA):
                raise LookupError

        async def wait_for_a_slot() -> None:
            async with lane.slot(ADA):
                pytest.fail("its client is gone")

        async with lane.slot(ADA):
            waiting = asyncio.create_task(wait_for_a_slot())
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

        async with lane.slot(ADA):
            pass

    run(scenario)
