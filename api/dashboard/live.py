"""Parts of pages that move: sent when they are asked for, or pushed as server-sent events while somebody looks.

One address a part: a browser's `EventSource` gets the stream, everybody else the part as it is now. A stream looks
again when the pulse of the process says that something of what it shows has changed. A session has a few streams at a
time, since a browser opens only six connections to one server; a page beyond these asks again and again.
"""

import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass

from fastapi import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from api.dashboard.pulse import Follower, Pulse
from api.dashboard.rendering import EVENT_STREAM, no_stream, version_of, wants_stream
from api.dashboard.sessions import COOKIE, Viewer, viewer_of_session
from api.http.addresses import root_of
from api.http.dependencies import Services
from api.http.errors import ApiError, NotFoundError, UnauthorizedError
from api.http.problems import DATABASE_ERRORS
from db.queries.changes import Subject, Visit

STILL_SECONDS = 60.0
"""How long a part is left as it is where nothing changes but how long ago things were."""
HEARTBEAT_SECONDS = 10.0
"""How long a stream is silent at most: a page that hears nothing for longer knows that the connection is lost."""
MAX_STREAMS_PER_SESSION = 4
MAX_STREAMS = 1000
HEARTBEAT = b"event: still\ndata:\n\n"


@dataclass(frozen=True, slots=True)
class Part:
    """A part as it is now, and what would change it."""

    html: str
    subjects: Collection[Subject]
    again_seconds: float | None = None
    """When to look again although nothing has changed, where that is soon."""


Look = Callable[[], Awaitable[Part]]


class Streams:
    """How many streams each session has open, by its CSRF token. To be used on one event loop."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    def take(self, session: str) -> bool:
        """Count one more stream of a session; False, and nothing is counted, where it has as many as it may."""
        if self._open[session] >= MAX_STREAMS_PER_SESSION or self._open.total() >= MAX_STREAMS:
            return False
        self._open[session] += 1
        return True

    def give_back(self, session: str) -> None:
        """Count one stream of a session less."""
        self._open[session] -= 1
        self._open += Counter()  # forgets what is 0


async def live_part(
    request: Request, viewer: Viewer, look: Look, seen: str | None, *, still_seconds: float = STILL_SECONDS
) -> Response:
    """The part that `look` renders, unless it is as it was `seen`: then 204; or a stream of it, where one is wanted.

    A stream looks again when a subject of the part has changed, and at the latest after `still_seconds`.
    """
    if wants_stream(request):
        if request.app.state.dashboard_streams.take(viewer.csrf):
            return LiveStream(request, viewer, look, seen, still_seconds)
        return no_stream()
    html = (await look()).html
    version = version_of(html)
    if version == seen:
        return Response(status_code=204)
    return HTMLResponse(html, headers={"X-Part-Version": version})


class LiveStream(StreamingResponse):
    """A part, again whenever it has changed, as long as its reader stays, may see it, and the server goes on."""

    def __init__(self, request: Request, viewer: Viewer, look: Look, seen: str | None, still_seconds: float) -> None:
        super().__init__(self._events(), media_type=EVENT_STREAM, headers={"X-Accel-Buffering": "no"})
        self._request, self._viewer, self._look, self._seen = request, viewer, look, seen
        self._still_seconds = still_seconds
        self._services: Services = request.app.state.services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, and give its place back also when the reader goes away."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._request.app.state.dashboard_streams.give_back(self._viewer.csrf)

    async def _events(self) -> AsyncIterator[bytes]:
        yield HEARTBEAT  # so that the browser knows at once that it is open
        visit = Visit(self._request.cookies[COOKIE])
        pulse: Pulse = self._request.app.state.dashboard_pulse
        with pulse.following() as follower:
            while not self._services.listeners.is_stopping:
                try:
                    part = await self._look()
                    await viewer_of_session(self._request)
                except UnauthorizedError:
                    yield _event("gone", {"path": f"{root_of(self._request)}/sign-in"})
                    return
                except NotFoundError:
                    yield _event("gone", {"path": f"{root_of(self._request)}/"})
                    return
                except (ApiError, *DATABASE_ERRORS):  # the page asks for itself then, and is told what is wrong
                    return
                version = version_of(part.html)
                if version != self._seen:
                    yield _event("part", {"html": part.html, "version": version})
                    self._seen = version
                async for heartbeat in self._silence(follower, {visit, *part.subjects}, part.again_seconds):
                    yield heartbeat

    async def _silence(
        self, follower: Follower, subjects: Collection[Subject], again_seconds: float | None
    ) -> AsyncIterator[bytes]:
        """Heartbeats, until something has changed, it is time to look in any case, or the server stops."""
        until = time.monotonic() + (self._still_seconds if again_seconds is None else again_seconds)
        while not self._services.listeners.is_stopping:
            left = until - time.monotonic()
            if await follower.changed(subjects, min(left, HEARTBEAT_SECONDS)) or left <= HEARTBEAT_SECONDS:
                return
            yield HEARTBEAT


def _event(name: str, data: dict[str, str]) -> bytes:
    """One server-sent event. JSON has no line break, so one line holds it."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
