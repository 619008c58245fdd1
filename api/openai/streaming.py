"""Answers as OpenAI's clients read them while they grow: chunks of a completion, or the events of a response."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from pydantic import Field

from api.http.errors import ApiError
from api.http.event_stream import HEARTBEAT, event
from api.openai.answers import error_body, output_message, output_text, response_body
from api.openai.generation import Endpoint
from api.profiles.schemas import StrictModel
from api.streams.growing_texts import NewText
from db.queries.results import ResultRow
from domain.json_values import JsonObject

DONE = b"data: [DONE]\n\n"


class StreamOptions(StrictModel):
    """How a stream is to be sent."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = Field(default=None, description="Nothing is added either way.")


class StreamFields(StrictModel):
    """What a body says about being streamed."""

    stream: bool | None = None
    stream_options: StreamOptions | None = None

    @property
    def includes_usage(self) -> bool:
        """Whether a last chunk counts the tokens."""
        return bool(self.stream_options and self.stream_options.include_usage)


@dataclass(frozen=True, slots=True)
class Streamed:
    """What all events of one answer share."""

    named: str
    """The part of its id behind the prefix."""
    model: str
    created: int
    num_choices: int
    includes_usage: bool
    whole: Callable[[ResultRow | None], JsonObject]
    """The answer as it would be sent in one; raises ApiError where there is none."""


@dataclass(frozen=True, slots=True)
class ChatChunks:
    """The chunks of a streamed `/v1/chat/completions`."""

    streamed: Streamed

    def begin(self) -> Iterator[bytes]:
        """A chunk for each choice that names the role of who speaks."""
        for index in range(self.streamed.num_choices):
            yield self._chunk(_chat_choice(index, {"role": "assistant", "content": "", "refusal": None}))

    def text(self, new: NewText) -> Iterator[bytes]:
        """A chunk with the next part of one choice's text."""
        yield self._chunk(_chat_choice(new.choice, {"content": new.text}))

    def alive(self) -> bytes:
        """A comment, which keeps the connection open and which clients pass over."""
        return HEARTBEAT

    def end(self, row: ResultRow | None) -> Iterator[bytes]:
        """A chunk for each choice with its finish reason, the usage if it was asked for, and the end mark."""
        whole: Any = self.streamed.whole(row)
        for choice in whole["choices"]:
            yield self._chunk(_chat_choice(choice["index"], {}, choice["finish_reason"]), padserve=whole["padserve"])
        if self.streamed.includes_usage:
            yield self._chunk(usage=whole["usage"])
        yield DONE

    def failure(self, error: ApiError) -> Iterator[bytes]:
        """An event with `error`, which the client raises as an exception."""
        yield event({"error": error_body(error)})

    def _chunk(self, *choices: JsonObject, **further: object) -> bytes:
        return _chunk(self.streamed, "chatcmpl", "chat.completion.chunk", choices, further)


@dataclass(frozen=True, slots=True)
class CompletionChunks:
    """The chunks of a streamed `/v1/completions`."""

    streamed: Streamed

    def begin(self) -> Iterator[bytes]:
        """No chunk: completions begin with text."""
        yield from ()

    def text(self, new: NewText) -> Iterator[bytes]:
        """A chunk with the next part of one choice's text."""
        yield self._chunk(_choice(new.choice, new.text))

    def alive(self) -> bytes:
        """A comment, which keeps the connection open and which clients pass over."""
        return HEARTBEAT

    def end(self, row: ResultRow | None) -> Iterator[bytes]:
        """A chunk for each choice with its finish reason, the usage if it was asked for, and the end mark."""
        whole: Any = self.streamed.whole(row)
        for choice in whole["choices"]:
            yield self._chunk(_choice(choice["index"], "", choice["finish_reason"]), padserve=whole["padserve"])
        if self.streamed.includes_usage:
            yield self._chunk(usage=whole["usage"])
        yield DONE

    def failure(self, error: ApiError) -> Iterator[bytes]:
        """An event with `error`, which the client raises as an exception."""
        yield event({"error": error_body(error)})

    def _chunk(self, *choices: JsonObject, **further: object) -> bytes:
        return _chunk(self.streamed, "cmpl", "text_completion", choices, further)


@dataclass(slots=True)
class ResponseEvents:
    """The events of a streamed `/v1/responses`: one message with one text."""

    streamed: Streamed
    _numbers: Iterator[int] = field(default_factory=count)

    def begin(self) -> Iterator[bytes]:
        """The response, its message and its text, all still empty."""
        response = response_body(self._named, self.streamed.created, "in_progress")
        response["model"] = self.streamed.model
        yield self._event("response.created", response=response)
        yield self._event("response.in_progress", response=response)
        item = output_message(self._named, "in_progress", [])
        yield self._event("response.output_item.added", output_index=0, item=item)
        yield self._event("response.content_part.added", **self._place, part=output_text(""))

    def text(self, new: NewText) -> Iterator[bytes]:
        """A delta event with the next part of the text."""
        yield self._event("response.output_text.delta", **self._place, delta=new.text, logprobs=[])

    def alive(self) -> bytes:
        """A comment, which keeps the connection open and which clients pass over."""
        return HEARTBEAT

    def end(self, row: ResultRow | None) -> Iterator[bytes]:
        """All that was opened is closed."""
        whole: Any = self.streamed.whole(row) | {"created_at": self.streamed.created}
        item = whole["output"][0]
        part = item["content"][0]
        yield self._event("response.output_text.done", **self._place, text=part["text"], logprobs=[])
        yield self._event("response.content_part.done", **self._place, part=part)
        yield self._event("response.output_item.done", output_index=0, item=item)
        yield self._event(f"response.{whole['status']}", response=whole)

    def failure(self, error: ApiError) -> Iterator[bytes]:
        """A `response.failed` event with the error."""
        response = response_body(self._named, self.streamed.created, "failed")
        response |= {"model": self.streamed.model, "error": {"code": "server_error", "message": error.detail}}
        yield self._event("response.failed", response=response)

    @property
    def _named(self) -> str:
        return self.streamed.named

    @property
    def _place(self) -> JsonObject:
        return {"item_id": f"msg_{self._named}", "output_index": 0, "content_index": 0}

    def _event(self, kind: str, **data: object) -> bytes:
        return event({"type": kind, "sequence_number": next(self._numbers), **data}, kind)


def form_of(endpoint: Endpoint, streamed: Streamed) -> ChatChunks | CompletionChunks | ResponseEvents:
    """The form in which this endpoint's clients read an answer that grows."""
    match endpoint:
        case Endpoint.CHAT:
            return ChatChunks(streamed)
        case Endpoint.COMPLETIONS:
            return CompletionChunks(streamed)
        case Endpoint.RESPONSES:
            return ResponseEvents(streamed)


def _chunk(
    streamed: Streamed, prefix: str, kind: str, choices: tuple[JsonObject, ...], further: dict[str, object]
) -> bytes:
    chunk: JsonObject = {
        "id": f"{prefix}-{streamed.named}",
        "object": kind,
        "created": streamed.created,
        "model": streamed.model,
        "system_fingerprint": None,
        "choices": list(choices),
    }
    if streamed.includes_usage:
        chunk["usage"] = None
    return event(chunk | further)


def _chat_choice(index: int, delta: JsonObject, finish_reason: str | None = None) -> JsonObject:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def _choice(index: int, text: str, finish_reason: str | None = None) -> JsonObject:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": finish_reason}
