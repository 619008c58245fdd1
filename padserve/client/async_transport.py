"""`Transport` for asyncio: the same calls, the same repetitions, the same exceptions."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress

import httpx

from padserve.client.endpoints import Answer, Ask
from padserve.client.transport import (
    CONNECT_TIMEOUT_SECONDS,
    Call,
    broken,
    checked_url,
    headers_with,
    is_on_this_machine,
    line_text,
    pauses_between,
    read_from,
    reason_of,
    refusal,
    retry_after,
)
from padserve.errors import UnreachableError


class AsyncTransport:
    """One server and one API key. Tries again what is safe to try again."""

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        timeout_seconds: float,
        max_retries: int,
        http: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.url = checked_url(url)
        self._max_retries = max_retries
        self._sleep = sleep
        self._http = httpx.AsyncClient(
            base_url=self.url,
            headers=headers_with(api_key),
            timeout=httpx.Timeout(timeout_seconds, connect=CONNECT_TIMEOUT_SECONDS),
            transport=http,
            trust_env=not is_on_this_machine(self.url),
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._http.aclose()

    async def ask(self, ask: Ask[Answer]) -> Answer:
        """Make the call and read its answer; raises `ApiError` where the server refuses."""
        async with self.stream(ask.call) as response:
            content = await response.aread()
        with read_from(self.url):
            return ask.read(content)

    @asynccontextmanager
    async def stream(self, call: Call) -> AsyncIterator[httpx.Response]:
        """The answer as soon as its headers are here; its body is still to be read."""
        response = await self._send(call)
        try:
            yield response
        except httpx.RequestError as error:
            raise broken(self.url, error) from error
        finally:
            await response.aclose()

    async def lines(self, call: Call, *, check: Callable[[httpx.Headers], None] | None = None) -> AsyncIterator[str]:
        """The answer's lines as they arrive, as `Transport.lines` gives them."""
        rest = b""
        async with self.stream(call) as response:
            if check is not None:
                check(response.headers)
            async for chunk in response.aiter_bytes():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if line:
                        yield line_text(self.url, line)
        if rest:
            raise UnreachableError(f"The connection to {self.url} broke in the middle of a line.")

    async def chunks(self, call: Call, *, check: Callable[[httpx.Headers], None] | None = None) -> AsyncIterator[bytes]:
        """The answer's bytes as they arrive; `check` as for `lines`."""
        async with self.stream(call) as response:
            if check is not None:
                check(response.headers)
            async for chunk in response.aiter_bytes():
                yield chunk

    async def _send(self, call: Call) -> httpx.Response:
        pauses = pauses_between(self._max_retries)
        while True:
            pause = next(pauses)
            try:
                response = await self._http.send(self._build(call), stream=True)
            except httpx.TransportError as error:
                if pause is None or not (call.is_repeatable or isinstance(error, httpx.ConnectError)):
                    raise UnreachableError(f"No answer from {self.url}: {reason_of(error)}.") from error
                await self._sleep(pause)
                continue
            if response.is_success:
                return response
            waits = retry_after(response, pause)
            with suppress(httpx.RequestError):
                await response.aread()
            await response.aclose()
            if waits is None:
                raise refusal(response)
            await self._sleep(waits)

    def _build(self, call: Call) -> httpx.Request:
        headers, content = call.sent
        sent = content if content is None or isinstance(content, bytes) else _one_by_one(content)
        return self._http.build_request(call.method, call.path, params=dict(call.params), headers=headers, content=sent)


async def _one_by_one(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
