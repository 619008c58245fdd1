"""Bodies in and out: counted, spooled, strictly parsed, streamed. Knows bytes and JSON; knows no resource."""

import hashlib
import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, NoReturn, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json, to_json
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from api.dependencies import ServicesDep
from api.errors import (
    BodyTooLargeError,
    InvalidRequestError,
    MalformedBodyError,
    UnsupportedMediaTypeError,
    line_errors,
)

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
NDJSON = "application/x-ndjson"
NDJSON_TYPES = (NDJSON, "application/ndjson", "application/jsonl")
MAX_LINE_BYTES = 2**20
SPOOL_IN_MEMORY_BYTES = 2**20
CHUNK_BYTES = 2**16
BYTE_ORDER_MARK = b"\xef\xbb\xbf"

ModelT = TypeVar("ModelT", bound=BaseModel)


class JsonSyntaxError(ValueError):
    """The text is not JSON as RFC 8259 has it. The message says where, and never what the text holds."""


@dataclass(frozen=True, slots=True)
class SpooledBody:
    """A whole request body, in memory while it is small and in an unnamed file once it is not."""

    file: IO[bytes]
    num_bytes: int
    digest: str
    media_type: str = field(default=JSON)

    def lines(self, *, max_line_bytes: int = MAX_LINE_BYTES) -> Iterator[tuple[int, bytes]]:
        """Each line with its number, counted from 1; blank lines are skipped but counted."""
        self.file.seek(0)
        number = 0
        while line := self.file.readline(max_line_bytes + 2):
            number += 1
            content = line.rstrip(b"\r\n")
            if len(content) > max_line_bytes:
                raise BodyTooLargeError(f"Line {number} is longer than {max_line_bytes} bytes.")
            if number == 1:
                content = content.removeprefix(BYTE_ORDER_MARK)
            if content.strip():
                yield number, content

    def json(self) -> object:
        """The whole body as one JSON value."""
        self.file.seek(0)
        try:
            return parse_json(self.file.read().removeprefix(BYTE_ORDER_MARK))
        except JsonSyntaxError as error:
            raise MalformedBodyError(f"The body is not valid JSON: {error}.") from error


def parse_json(data: bytes) -> object:
    """One JSON value, strictly: UTF-8, no NaN or infinity, no unpaired surrogate, no key twice in an object."""
    try:
        from_json(data, allow_inf_nan=False)  # the stricter parser, and the one that says where
        return json.loads(data, object_pairs_hook=_without_duplicates, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        message = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise JsonSyntaxError(message) from None


async def spool(request: Request, *, max_bytes: int) -> SpooledBody:
    """Receive the whole body without holding it in memory; the caller closes `file`."""
    _refuse_encoding(request)
    if _declared_length(request) > max_bytes:
        _refuse_size(max_bytes)
    file = tempfile.SpooledTemporaryFile(max_size=SPOOL_IN_MEMORY_BYTES)  # noqa: SIM115 - it outlives this call
    digest, num_bytes = hashlib.sha256(), 0
    try:
        async for chunk in request.stream():
            num_bytes += len(chunk)
            if num_bytes > max_bytes:
                _refuse_size(max_bytes)
            digest.update(chunk)
            file.write(chunk)  # memory or page cache: too short to be worth a thread
    except BaseException:
        file.close()
        raise
    return SpooledBody(file, num_bytes, digest.hexdigest(), media_type(request))


def media_type(request: Request) -> str:
    """The body's media type in lower case, without its parameters; empty when the request names none."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def require_media_type(request: Request, *allowed: str) -> str:
    """The body's media type, when it is one of `allowed`; otherwise `UnsupportedMediaTypeError`."""
    given = media_type(request)
    if given not in allowed:
        raise UnsupportedMediaTypeError(f"Send `Content-Type: {allowed[0]}`.", headers={"Accept": ", ".join(allowed)})
    return given


def spooled(*media_types: str) -> Callable[[Request, ServicesDep], AsyncIterator[SpooledBody]]:
    """A dependency: the spooled body of a bulk endpoint, closed when the answer has left."""

    async def read(request: Request, services: ServicesDep) -> AsyncIterator[SpooledBody]:
        require_media_type(request, *media_types)
        body = await spool(request, max_bytes=services.settings.max_body_bytes)
        with body.file:
            yield body

    return read


def json_value(*media_types: str) -> Callable[[Request, ServicesDep], Awaitable[object]]:
    """A dependency: the body as one JSON value, not validated yet."""

    async def read(request: Request, services: ServicesDep) -> object:
        require_media_type(request, *media_types)
        body = await spool(request, max_bytes=services.settings.max_json_bytes)
        with body.file:
            return await run_in_threadpool(body.json)

    return read


def json_body(schema: type[ModelT]) -> Callable[[Request, ServicesDep], Awaitable[ModelT]]:
    """A dependency: the JSON body as `schema`."""
    read_value = json_value(JSON)

    async def read(request: Request, services: ServicesDep) -> ModelT:
        return validated(schema, await read_value(request, services))

    return read


def validated(schema: type[ModelT], value: object) -> ModelT:
    """`value` as `schema`, or `InvalidRequestError` with everything that is wrong with it."""
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        raise InvalidRequestError(errors=line_errors(error)) from None


def request_body(schema: Mapping[str, object], *media_types: str, example: object) -> dict[str, object]:
    """How a body that its endpoint reads by itself is described in the OpenAPI document (`openapi_extra`)."""
    content = {media_type: {"schema": schema, "example": example} for media_type in media_types}
    return {"requestBody": {"required": True, "content": content}}


def ndjson_response(rows: Iterable[object], *, headers: Mapping[str, str] | None = None) -> StreamingResponse:
    """Stream rows out, one JSON text per line. The first chunk is made at once, so that its failure is still a 5xx."""
    chunks = _chunks(rows)
    first = next(chunks, b"")
    return StreamingResponse(_with_first(first, chunks), media_type=NDJSON, headers=headers)


def _chunks(rows: Iterable[object]) -> Iterator[bytes]:
    """Lines, many to a chunk: each chunk costs one change of threads."""
    buffer = bytearray()
    for row in rows:
        buffer += to_json(row)
        buffer += b"\n"
        if len(buffer) >= CHUNK_BYTES:
            yield bytes(buffer)
            buffer.clear()
    if buffer:
        yield bytes(buffer)


def _with_first(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("an object has the same key twice")
    return value


def _finite(text: str) -> float:
    value = float(text)
    if value in {float("inf"), float("-inf")}:
        raise ValueError("a number is too large")
    return value


def _declared_length(request: Request) -> int:
    declared = request.headers.get("content-length", "0")
    return int(declared) if declared.isdecimal() else 0


def _refuse_size(max_bytes: int) -> NoReturn:
    raise BodyTooLargeError(f"The body is larger than {max_bytes} bytes.")


def _refuse_encoding(request: Request) -> None:
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMediaTypeError("Send the body without `Content-Encoding`.")
