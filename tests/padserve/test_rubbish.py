"""Whatever answers at the address: each failure of either client is a PadserveError, and no result comes twice."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from padserve import AsyncClient, Client, PadserveError, UnreachableError, UnreadableAnswerError
from tests.padserve.test_result_streams import BrokenStream, result_line

ZIPPED = {"Content-Encoding": "gzip"}
RUBBISH: dict[str, Callable[[], httpx.Response]] = {
    "a page": lambda: httpx.Response(200, html="<html>Sign in</html>\n"),
    "null": lambda: httpx.Response(200, content=b"null\n"),
    "a list": lambda: httpx.Response(200, content=b"[]\n"),
    "an object": lambda: httpx.Response(200, content=b"{}\n"),
    "no text": lambda: httpx.Response(200, content=b"\xff\xfe\n"),
    "endless brackets": lambda: httpx.Response(200, content=b"[" * 100_000 + b"\n"),
    "what cannot be unpacked": lambda: httpx.Response(200, headers=ZIPPED, stream=Both(b"not packed")),
    "a refusal that cannot be unpacked": lambda: httpx.Response(500, headers=ZIPPED, stream=Both(b"not packed")),
    "half a refusal": lambda: httpx.Response(500, stream=Both(b"{", breaks=True)),
}
ASKED: dict[str, Callable[[Any], Any]] = {
    "a job": lambda client: client.job("0190"),
    "jobs": lambda client: client.jobs(),
    "models": lambda client: client.models(),
    "results": lambda client: client.results("0190"),
    "lines of results": lambda client: client.result_lines("0190"),
    "a profile": lambda client: client.profiles.get("ada"),
    "feedback": lambda client: client.profiles.feedback("ada"),
}


class Both(httpx.SyncByteStream, httpx.AsyncByteStream):
    """Some bytes for either client; then the end, or no end."""

    def __init__(self, content: bytes, *, breaks: bool = False) -> None:
        self._stream = BrokenStream(content) if breaks else [content]

    def __iter__(self) -> Any:  # noqa: ANN401 - of whichever there is
        return iter(self._stream)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._stream:
            yield chunk


async def asked(answer: Callable[[], httpx.Response], question: Callable[[Any], Any]) -> object:
    """What comes of a question to a client for asyncio."""
    http = httpx.MockTransport(lambda _: answer())
    async with AsyncClient("http://padserve.test", "key", max_retries=0, http=http) as client:
        given = question(client)
        return [each async for each in given] if hasattr(given, "__aiter__") else await given


@pytest.mark.parametrize("question", ASKED.values(), ids=ASKED)
@pytest.mark.parametrize("answer", RUBBISH.values(), ids=RUBBISH)
def test_rubbish_is_an_error_of_ours(answer: Callable[[], httpx.Response], question: Callable[[Any], Any]) -> None:
    http = httpx.MockTransport(lambda _: answer())

    with Client("http://padserve.test", "key", max_retries=0, http=http) as client, pytest.raises(PadserveError):
        list(question(client))
    with pytest.raises(PadserveError):
        asyncio.run(asked(answer, question))


def test_a_server_that_begins_again_with_each_connection_gives_no_result_twice() -> None:
    http = httpx.MockTransport(lambda _: httpx.Response(200, stream=BrokenStream(result_line(0, "a"))))

    with Client("http://padserve.test", "key", http=http, sleep=lambda _: None) as client:
        results = client.results("0190")

        assert next(results).text == "a"
        with pytest.raises(UnreadableAnswerError):
            next(results)


def test_results_that_end_in_the_middle_of_a_line_are_not_all() -> None:
    cut = result_line(0, "a") + result_line(1, "b")[:20]
    http = httpx.MockTransport(lambda _: httpx.Response(200, content=gzip.compress(cut), headers=ZIPPED))

    with (
        Client("http://padserve.test", "key", max_retries=0, http=http) as client,
        pytest.raises(UnreachableError, match="middle of a line"),
    ):
        list(client.profiles.export_lines())
