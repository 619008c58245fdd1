"""The client for asyncio: the shape of the other one, against the real API."""

import asyncio
import inspect
import typing
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import httpx
import pytest

from padserve import AsyncClient, Campaign, Client, IncompleteResultsError, InvalidRequestError, UnreachableError
from padserve.client.async_profiles import AsyncProfiles
from padserve.client.profiles import Profiles
from tests.padserve.running_api import Server
from tests.padserve.scripted_server import a_job, problem

ITEMS = [{"custom_id": f"c{number}", "user_id": "ada", "prompt": f"Hello {number}"} for number in range(3)]


@pytest.mark.parametrize(("one", "other"), [(Client, AsyncClient), (Profiles, AsyncProfiles)])
def test_both_clients_have_the_same_methods_with_the_same_parameters(one: type, other: type) -> None:
    def shape(kind: type) -> dict[str, list[tuple[str, object]]]:
        return {
            name: [(each.name, each.default) for each in inspect.signature(method).parameters.values()]
            for name, method in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_")
        }

    assert shape(one) == shape(other)


def test_every_answer_is_of_the_same_type() -> None:
    def answer(method: Callable[..., object]) -> str:
        kind = typing.get_type_hints(method, {"pd": typing.Any})["return"] if "pd" not in str(method) else None
        return str(kind).replace("AsyncIterator", "Iterator")

    for name in (
        "submit",
        "job",
        "jobs",
        "wait",
        "compare",
        "results",
        "result_lines",
        "results_csv",
        "models",
        "cancel",
        "delete",
    ):
        assert answer(getattr(Client, name)) == answer(getattr(AsyncClient, name)), name


def run(server: Server, use: Callable[[AsyncClient], Awaitable[None]]) -> None:
    async def main() -> None:
        async with AsyncClient(server.url, server.api_key, max_retries=0) as client:
            await client.profiles.put("ada", principles=["formal"], attributes={"first_name": "Ada"}, tags=["beta"])
            await use(client)

    asyncio.run(main())


def test_items_are_submitted_followed_and_read_in_input_order(server: Server) -> None:
    async def use(client: AsyncClient) -> None:
        job = await client.submit(ITEMS, defaults={"method": "none"})
        with pytest.raises(IncompleteResultsError):
            await anext(client.results(job.id))
        server.decode(3)

        ended = await client.wait(job.id, timeout_seconds=60)

        assert ended.state == "completed"
        assert [result.text async for result in client.results(job.id)] == ["HELLO 0", "HELLO 1", "HELLO 2"]
        assert list((await client.results_frame(job.id))["text"]) == ["HELLO 0", "HELLO 1", "HELLO 2"]

    run(server, use)


def test_many_are_asked_at_once(server: Server) -> None:
    async def use(client: AsyncClient) -> None:
        made = await asyncio.gather(*(client.submit(Campaign("Hi {first_name}", tags=["beta"])) for _ in range(8)))

        listed = [job.id async for job in client.jobs(page_size=3)]

        assert sorted(listed) == sorted(job.id for job in made)

    run(server, use)


def test_profiles_are_moved_and_jobs_paused_resumed_cancelled_and_deleted(server: Server) -> None:
    async def use(client: AsyncClient) -> None:
        lines = [line async for line in client.profiles.export_lines()]
        report = await client.profiles.import_([{"user_id": "bob"}])
        job = await client.submit(ITEMS)
        prioritised = await client.prioritise(job.id, "bulk")
        assert prioritised.priority == "bulk"
        paused, resumed = await client.pause(job.id), await client.resume(job.id)
        await client.cancel(job.id)
        await client.delete(job.id)

        assert (len(lines), report.num_created) == (1, 1)
        assert (paused.paused_at is None, resumed.paused_at) == (False, None)
        assert [profile.user_id async for profile in client.profiles.list(page_size=1)] == ["ada", "bob"]

    run(server, use)


def test_a_wrong_line_is_told_by_its_number_beside_options(server: Server) -> None:
    async def use(client: AsyncClient) -> None:
        with pytest.raises(InvalidRequestError) as caught:
            await client.submit([*ITEMS, {"custom_id": "x", "user_id": "nobody", "prompt": "x"}], defaults={"k": 5})
        assert [error.line for error in caught.value.errors] == [4]

    run(server, use)


def test_requests_are_repeated_as_by_the_other_client() -> None:
    answers: Iterator[object] = iter([problem(503, "busy"), httpx.ReadTimeout("slow"), a_job()])
    sent: list[bytes] = []
    pauses: list[float] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        sent.append(await request.aread())
        given = next(answers)
        if isinstance(given, httpx.TransportError):
            raise given
        assert isinstance(given, httpx.Response)
        return given

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    async def main() -> None:
        http = httpx.MockTransport(answer)
        async with AsyncClient("http://padserve.test", "key", http=http, sleep=sleep) as client:
            assert (await client.submit(ITEMS)).id == "0190"

    asyncio.run(main())

    assert (len(sent), len(set(sent)), pauses) == (3, 1, sorted(pauses))


class BrokenStream(httpx.AsyncByteStream):
    """Brings nothing, then breaks."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in list[bytes]():
            yield chunk
        raise httpx.RemoteProtocolError("peer closed connection")


def test_results_that_never_arrive_are_an_error_in_the_end() -> None:
    async def main() -> None:
        http = httpx.MockTransport(lambda _: httpx.Response(200, stream=BrokenStream()))
        async with AsyncClient("http://padserve.test", "key", http=http, max_retries=2) as client:
            with pytest.raises(UnreachableError, match="broke"):
                await anext(client.results("0190"))

    asyncio.run(main())
