"""A message as Anthropic's clients read it while it grows: the events of one message with one block of text."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json

from api.anthropic.answers import STANDARD, usage_of
from api.anthropic.failures import failure_body
from api.http.errors import ApiError
from api.http.event_stream import event
from api.streams.growing_texts import NewText
from db.queries.results import ResultRow
from domain.json_values import JsonObject

PLACE: JsonObject = {"index": 0}


@dataclass(frozen=True, slots=True)
class MessageEvents:
    """The events of a streamed `/v1/messages`."""

    message_id: str
    model: str
    request_id: str | None
    whole: Callable[[ResultRow | None], JsonObject]
    """The message as it would be sent in one; raises ApiError where there is none."""

    def begin(self) -> Iterator[bytes]:
        """The message and its text, both still empty."""
        message: JsonObject = {
            "id": self.message_id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage_of(0, 0, STANDARD),
        }
        yield _event("message_start", message=message)
        yield _event("content_block_start", **PLACE, content_block={"type": "text", "text": "", "citations": None})
        yield _event("ping")

    def text(self, new: NewText) -> Iterator[bytes]:
        """A delta with the next part of the text."""
        yield _event("content_block_delta", **PLACE, delta={"type": "text_delta", "text": new.text})

    def alive(self) -> bytes:
        """A ping, which keeps the connection open."""
        return _event("ping")

    def end(self, row: ResultRow | None) -> Iterator[bytes]:
        """All that was opened is closed; how many tokens there were, and why the text ended."""
        whole: Any = self.whole(row)
        stop = {name: whole[name] for name in ("stop_reason", "stop_sequence")}
        yield _event("content_block_stop", **PLACE)
        yield _event("message_delta", delta=stop, usage=whole["usage"], padserve=whole["padserve"])
        yield _event("message_stop")

    def failure(self, error: ApiError) -> Iterator[bytes]:
        """An `error` event, which the client raises as an exception."""
        yield b"event: error\ndata: " + to_json(failure_body(error, self.request_id)) + b"\n\n"


def _event(kind: str, **data: object) -> bytes:
    return event({"type": kind, **data}, kind)
