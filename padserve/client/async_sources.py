"""Submissions from an event loop: read and written on a thread, so that a large file holds nobody up."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager

from padserve.client import ndjson
from padserve.client.ndjson import Body, Source


@asynccontextmanager
async def opened(
    source: Source,
    *,
    options: Mapping[str, object] | None = None,
    columns: Mapping[str, str] | None = None,
) -> AsyncIterator[Body]:
    """The body of a source, as `ndjson.opened` gives it, read by an async client."""
    with ExitStack() as stack:
        yield await asyncio.to_thread(stack.enter_context, ndjson.opened(source, options=options, columns=columns))


@asynccontextmanager
async def opened_profiles(source: Source, columns: Mapping[str, str] | None) -> AsyncIterator[Body]:
    """The body of a source of profiles, read by an async client."""
    with ExitStack() as stack:
        yield await asyncio.to_thread(stack.enter_context, ndjson.opened_profiles(source, columns))
