"""`GET /v1/jobs/{id}/events`: a job as server-sent events, as the HTML standard has them for `EventSource`."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Header, Response
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from api.http.bounds import MAX_HEADER_CHARACTERS
from api.http.dependencies import ServicesDep
from api.http.errors import (
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
    TooManyRequestsError,
    UnauthorizedError,
    UnavailableError,
    responses,
)
from api.jobs.routes import JobId, Reader
from api.jobs.status import JobOfTenant
from api.streams.listening import EventName, JobEvent, Listener, Listeners, event_of

EVENT_STREAM = "text/event-stream"
HEARTBEAT_SECONDS = 15.0
RETRY_SECONDS = 2
"""When a client whose stream broke is to come back."""
SEND_SECONDS = 30.0
"""How long a reader may leave what was sent to it unread, beyond what the connection's buffers hold."""
HEARTBEAT = b": still here\n\n"
EXAMPLE = 'event: status\nid: 0f3a\ndata: {"id": "…", "state": "running", "counts": {"succeeded": 3, "total": 9}}\n\n'

router = APIRouter(
    tags=["jobs"], responses=responses(UnauthorizedError, ForbiddenError, InvalidRequestError, UnavailableError)
)

LastEventId = Annotated[
    str | None,
    Header(
        max_length=MAX_HEADER_CHARACTERS, description="The last `id` that was read: what says the same is left out."
    ),
]


@router.get(
    "/v1/jobs/{job_id}/events",
    summary="Follow a job as events",
    response_class=Response,
    responses={
        200: {"content": {EVENT_STREAM: {"schema": {"type": "string"}, "example": EXAMPLE}}},
        204: {"description": "The job has ended, as the client knows: there is nothing to come back for."},
        **responses(NotFoundError, TooManyRequestsError),
    },
)
async def job_events(
    job_id: JobId, caller: Reader, services: ServicesDep, last_event_id: LastEventId = None
) -> Response:
    """The job whenever it has moved, twice a second at most, until it has ended: events `status`, and at last `end`.

    Each holds the whole job. Its `id` names what it says: whoever comes back with it as `Last-Event-ID` gets the next
    that differs, and after `end` 204, which ends an `EventSource`. A stream that cannot go on ends with `closed`.
    """
    named = (caller.tenant_id, job_id)
    first = event_of(await services.statuses.ask(named))
    if first.name is EventName.END and first.id == last_event_id:
        return Response(status_code=204)
    return EventStream(services.listeners, named, caller.key_id, first, last_event_id)


class EventStream(Response):
    """A job's events for one reader, who may read as slowly as they like, but not stop."""

    media_type = EVENT_STREAM

    def __init__(
        self,
        listeners: Listeners,
        named: JobOfTenant,
        key_id: uuid.UUID,
        first: JobEvent,
        last_event_id: str | None,
    ) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._listeners, self._named, self._key_id = listeners, named, key_id
        self._first, self._last_event_id = first, last_event_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        """Serve it until its end, or until the reader has gone."""
        sending = asyncio.ensure_future(self._send(send))
        leaving = asyncio.ensure_future(_departure(receive))
        try:
            await asyncio.wait([sending, leaving], return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            if not sending.done():
                sending.cancel()
            with suppress(asyncio.CancelledError):
                await sending

    async def _send(self, send: Send) -> None:
        async def within_time(message: dict[str, object]) -> None:
            try:
                async with asyncio.timeout(SEND_SECONDS):
                    await send(message)
            except TimeoutError:
                raise ClientDisconnect from None

        with self._listeners.listening(self._named, self._key_id) as listener:
            await within_time({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async for chunk in self._chunks(listener):
                await within_time({"type": "http.response.body", "body": chunk, "more_body": True})
            await within_time({"type": "http.response.body", "body": b"", "more_body": False})

    async def _chunks(self, listener: Listener) -> AsyncIterator[bytes]:
        yield f"retry: {RETRY_SECONDS * 1000}\n\n".encode()
        event: JobEvent | None = self._first
        listener.has_been_told(self._first.id)
        if self._first.id == self._last_event_id:
            event = None
        while not listener.is_over:
            yield HEARTBEAT if event is None else _encoded(event)
            if event is not None and event.name is not EventName.STATUS:
                return
            event = await listener.next(HEARTBEAT_SECONDS)


async def _departure(receive: Receive) -> None:
    """Return when the reader has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _encoded(event: JobEvent) -> bytes:
    """JSON has no line break, so one line holds it."""
    name = f"event: {event.name}\n".encode()
    place = b"" if event.name is EventName.CLOSED else f"id: {event.id}\n".encode()
    return name + place + b"data: " + event.data + b"\n\n"
