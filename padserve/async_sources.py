"""Submissions from an event loop: read and written on a thread, so that a large file holds nobody up."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager

from padserve import ndjson
from padserve.ndjson import Body, Source
from padserve.tables import ITEMS, Kind


@asynccontextmanager
async def opened(
    source: Source,
    *,
    options: Mapping[str, object] | None = None,
    columns: Mapping[str, str] | None = None,
    kind: Kind = ITEMS,
) -> AsyncIterator[Body]:
    """As `ndjson.opened`."""
    with ExitStack() as stack:
        yield await asyncio.to_thread(
            stack.enter_context, ndjson.opened(source, options=options, columns=columns, kind=kind)
        )
