"""An answer as server-sent events while it is written. What the events are is each vendor's form's business."""

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack
from typing import Protocol

from pydantic_core import to_json
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from api.http.errors import ApiError, UnavailableError
from api.http.problems import DATABASE_ERRORS, log_unexpected
from api.streams.growing_texts import NewText
from api.streams.one_answer import OneAnswer
from db.queries.results import ResultRow
from domain.json_values import JsonObject

EVENT_STREAM = "text/event-stream"
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
HEARTBEAT = b": working\n\n"


class Form(Protocol):
    """How a vendor's client reads an answer that grows. Each gives whole events."""

    def begin(self) -> Iterator[bytes]:
        """Events that go before any text."""

    def text(self, new: NewText) -> Iterator[bytes]:
        """Events that carry the next part of one choice's text."""

    def alive(self) -> bytes:
        """What is sent when nothing has come for a while, so that the connection stays open."""

    def end(self, row: ResultRow | None) -> Iterator[bytes]:
        """Events that go behind all text; raises ApiError where `row` has no text."""

    def failure(self, error: ApiError) -> Iterator[bytes]:
        """Events that tell of `error`, in the place of all that would follow."""


def event(data: JsonObject, name: str | None = None) -> bytes:
    """One server-sent event, in bytes: `data` as JSON, under `name` if it has one."""
    head = b"" if name is None else f"event: {name}\n".encode()
    return head + b"data: " + to_json(data, inf_nan_mode="null") + b"\n\n"


class EventStream(StreamingResponse):
    """Sends the events, and closes what they need when they are sent or nobody reads them any more."""

    def __init__(self, answer: OneAnswer, form: Form, held: AsyncExitStack) -> None:
        super().__init__(_events(answer, form), media_type=EVENT_STREAM, headers=HEADERS)
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events, and close what they hold, also when the client goes away."""
        async with self._held:
            await super().__call__(scope, receive, send)


async def _events(answer: OneAnswer, form: Form) -> AsyncIterator[bytes]:
    yield _joined(form.begin())
    try:
        async for new in answer.texts():
            yield form.alive() if new is None else _joined(form.text(new))
        yield _joined(form.end(await answer.row()))
    except ApiError as error:
        yield _joined(form.failure(error))
    except Exception as error:  # noqa: BLE001 - the status has been sent: only an event can still say it
        log_unexpected("stream_failed", error)
        yield _joined(form.failure(UnavailableError() if isinstance(error, DATABASE_ERRORS) else ApiError()))


def _joined(events: Iterable[bytes]) -> bytes:
    return b"".join(events)
