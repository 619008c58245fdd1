"""A connection from which only so much is read, whatever whoever is at its other end goes on to say."""

import ssl
from typing import Any

import httpcore

MAX_READ_BYTES = 2**18
"""More than any answer has with its headers: a receiver that answers 100 Continue for ever costs no more than this."""


class TooMuchReadError(httpcore.ReadError):
    """The answer is longer than MAX_READ_BYTES."""


class BoundedStream(httpcore.AsyncNetworkStream):
    """Reads and writes as `stream` does, and reads no more than MAX_READ_BYTES; with TLS, of what it carries."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._num_read = 0

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore's signature
        """At most `max_bytes` of what has come; raises TooMuchReadError when the bound was reached before."""
        if self._num_read >= MAX_READ_BYTES:
            raise TooMuchReadError
        data = await self._stream.read(max_bytes, timeout)
        self._num_read += len(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - httpcore's signature
        """Send all of `buffer`."""
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
    ) -> httpcore.AsyncNetworkStream:
        """The same connection with TLS."""
        return BoundedStream(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - httpcore's signature
        """The wrapped stream's own answer, as httpcore asks for it."""
        return self._stream.get_extra_info(info)
