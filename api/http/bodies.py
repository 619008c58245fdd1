"""Bodies in and out: counted, spooled, strictly parsed, streamed. Knows bytes and JSON; knows no resource."""

import hashlib
import json
import os
import re
import tempfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing.reduction import DupFd
from typing import IO, Annotated, Any, NoReturn, TypeVar

from fastapi import Depends, Request
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json, to_json
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from api.http.admission import LIGHT_BYTES, Lane
from api.http.dependencies import Caller, Services, ServicesDep, authenticate
from api.http.errors import (
    BodyTooLargeError,
    InvalidRequestError,
    MalformedBodyError,
    UnsupportedMediaTypeError,
    line_errors,
)
from domain.text_files import MOST_MAGIC_BYTES, foreign_format

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
NDJSON = "application/x-ndjson"
NDJSON_TYPES = (NDJSON, "application/ndjson", "application/jsonl")
MAX_LINE_BYTES = 2**20
SPOOL_IN_MEMORY_BYTES = 2**20
CHUNK_BYTES = 2**16
BYTE_ORDER_MARK = b"\xef\xbb\xbf"

# Before a body is parsed, its values are counted, roughly: each costs far more than its bytes.
MAX_VALUES = 2_000_000
MAX_KEYS = 2000

ModelT = TypeVar("ModelT", bound=BaseModel)
T = TypeVar("T")
Authenticated = Annotated[Caller, Depends(authenticate)]


class JsonSyntaxError(ValueError):
    """The text is not JSON as RFC 8259 has it. The message says where, and never what the text holds."""


@dataclass(frozen=True, slots=True)
class SpooledBody:
    """A whole request body, in memory while it is small and in an unnamed file once it is not."""

    file: IO[bytes]
    num_bytes: int
    digest: str
    media_type: str = field(default=JSON)

    def __reduce__(self) -> tuple[object, ...]:
        """How another process gets it: the same file, opened once more, and closed by each for itself."""
        return _handed_over, (DupFd(self.file.fileno()), self.num_bytes, self.digest, self.media_type)

    @property
    def start(self) -> bytes:
        """The first bytes, which tell what is no text."""
        self.file.seek(0)
        return self.file.read(MOST_MAGIC_BYTES)

    def lines(self, *, max_line_bytes: int = MAX_LINE_BYTES) -> Iterator[tuple[int, bytes]]:
        """Each line with its number, counted from 1; blank lines are skipped but counted.

        A byte order mark begins the first, or others where files were put together.
        """
        self.file.seek(0)
        number = 0
        while line := self.file.readline(max_line_bytes + 2):
            number += 1
            content = line.rstrip(b"\r\n")
            if len(content) > max_line_bytes:
                raise BodyTooLargeError(f"Line {number} is longer than {max_line_bytes} bytes.")
            content = content.removeprefix(BYTE_ORDER_MARK)
            if content.strip():
                yield number, content

    def json(self) -> object:
        """The whole body as one JSON value."""
        self.file.seek(0)
        try:
            return parse_json(self.file.read().removeprefix(BYTE_ORDER_MARK))
        except JsonSyntaxError as error:
            foreign = foreign_format(self.start)
            message = f"The body is not valid JSON: {error}." if foreign is None else f"The body is {foreign}."
            raise MalformedBodyError(message) from error


def _handed_over(handle: Any, num_bytes: int, digest: str, media_type: str) -> SpooledBody:  # noqa: ANN401 - untyped there
    return SpooledBody(os.fdopen(handle.detach(), "rb"), num_bytes, digest, media_type)


def parse_json(data: bytes) -> object:
    """One JSON value, strictly: UTF-8, no NaN or infinity, no unpaired surrogate, no key twice in an object.

    Neither more than `MAX_VALUES` values are taken nor more than `MAX_KEYS` keys in an object.
    """
    try:
        _count_values(data)
        value = from_json(data, allow_inf_nan=False)  # the stricter parser, and the one that says where
        return value if _is_plain(value, data) else _DECODER.decode(data.decode())
    except (ValueError, RecursionError) as error:
        message = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise JsonSyntaxError(message) from None


async def spool(request: Request, *, max_bytes: int, max_lines: int | None = None) -> SpooledBody:
    """Receive the whole body without holding it in memory; the caller closes `file`.

    Blank lines count, and the first line too many ends it.
    """
    refuse_encoding(request)
    if _declared_length(request) > max_bytes:
        _refuse_size(max_bytes)
    file = tempfile.SpooledTemporaryFile(max_size=SPOOL_IN_MEMORY_BYTES)  # noqa: SIM115 - it outlives this call
    digest, num_bytes, num_lines = hashlib.sha256(), 0, 0
    try:
        async for chunk in request.stream():
            num_bytes += len(chunk)
            if num_bytes > max_bytes:
                _refuse_size(max_bytes)
            num_lines += chunk.count(b"\n")
            if max_lines is not None and num_lines > max_lines:
                _refuse_lines(max_lines)
            digest.update(chunk)
            file.write(chunk)  # memory or page cache: too short to be worth a thread
        file.flush()  # a process that is handed the file reads what is in it, and nothing of a buffer in this one
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
        message = f"Send `Content-Type: {'` or `'.join(allowed)}`."
        raise UnsupportedMediaTypeError(message, headers={"Accept": ", ".join(allowed)})
    return given


def refuse_encoding(request: Request) -> None:
    """Raise `UnsupportedMediaTypeError` where the body is compressed: it would be read as it is."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMediaTypeError(
            "Send the body without `Content-Encoding`.", headers={"Accept-Encoding": "identity"}
        )


def json_value(*media_types: str) -> Callable[[Request, ServicesDep, Authenticated], Awaitable[object]]:
    """A dependency: the body as one JSON value, not validated yet."""

    async def read(request: Request, services: ServicesDep, caller: Authenticated) -> object:
        return await _read(request, services, caller, media_types, lambda value: value)

    return read


def json_read(use: Callable[[object], T]) -> Callable[[Request, ServicesDep, Authenticated], Awaitable[T]]:
    """A dependency: what `use`, called in a thread, makes of the JSON body."""

    async def read(request: Request, services: ServicesDep, caller: Authenticated) -> T:
        return await _read(request, services, caller, (JSON,), use)

    return read


def json_body(schema: type[ModelT]) -> Callable[[Request, ServicesDep, Authenticated], Awaitable[ModelT]]:
    """A dependency: the JSON body as `schema`."""
    return json_read(lambda value: validated(schema, value))


async def _read(
    request: Request, services: Services, caller: Caller, media_types: tuple[str, ...], use: Callable[[object], T]
) -> T:
    """What `use` makes of the JSON body, in a thread; a large one waits for the tenant's other heavy requests."""
    require_media_type(request, *media_types)
    async with services.lanes.receiving.slot(caller.tenant_id):
        body = await spool(request, max_bytes=services.settings.max_json_bytes)
        with body.file:
            if body.num_bytes <= LIGHT_BYTES:
                return await run_in_threadpool(lambda: use(body.json()))
            async with services.lanes.heavy.slot(caller.tenant_id):
                return await run_in_threadpool(lambda: use(body.json()))


def validated(schema: type[ModelT], value: object) -> ModelT:
    """`value` as `schema`, or `InvalidRequestError` with everything that is wrong with it."""
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        raise InvalidRequestError(errors=line_errors(error)) from None


def qualities(accept: str) -> dict[str, float]:
    """How much each media type of an `Accept` header is wanted: its `q`, and 1 where that is unsaid or no number."""
    wanted: dict[str, float] = {}
    for part in accept.lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        stated = (match for parameter in parameters if (match := _QUALITY.fullmatch(parameter)))
        wanted[name] = next((float(match[1]) for match in stated), 1.0)
    return wanted


def ndjson_example(*rows: object) -> str:
    """Rows as they are sent: an interactive page that was given objects would send them with line breaks."""
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)


def request_body(schema: Mapping[str, object], *media_types: str, example: object) -> dict[str, object]:
    """How a body that its endpoint reads by itself is described in the OpenAPI document (`openapi_extra`)."""
    content = {media_type: {"schema": schema, "example": example} for media_type in media_types}
    return {"requestBody": {"required": True, "content": content}}


def ndjson_response(
    rows: Iterable[object],
    lane: Lane,
    tenant_id: uuid.UUID,
    *,
    headers: Mapping[str, str] | None = None,
    media_type: str = NDJSON,
) -> StreamingResponse:
    """Stream rows out, one JSON text per line."""
    return streamed(_chunks(rows), lane, tenant_id, media_type=media_type, headers=headers)


def streamed(
    chunks: Iterator[bytes],
    lane: Lane,
    tenant_id: uuid.UUID,
    *,
    media_type: str,
    headers: Mapping[str, str] | None = None,
) -> StreamingResponse:
    """Stream bytes out; each chunk waits for its turn in `lane`.

    The first chunk is made at once, so that its failure is still a 5xx.
    """
    first = next(chunks, b"")
    return StreamingResponse(_in_turn(first, chunks, lane, tenant_id), media_type=media_type, headers=headers)


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


async def _in_turn(first: bytes, rest: Iterator[bytes], lane: Lane, tenant_id: uuid.UUID) -> AsyncIterator[bytes]:
    chunk = first
    while chunk:
        yield chunk
        async with lane.slot(tenant_id):
            chunk = await run_in_threadpool(next, rest, b"")


def _count_values(data: bytes) -> None:
    if data.count(b",") > MAX_VALUES:
        raise ValueError(f"it has more than {MAX_VALUES} values")


def _is_plain(value: object, data: bytes) -> bool:
    """Whether this is an object of texts and integers alone, in which no key stands twice, as most lines are.

    The parser keeps the last of equal keys. Where nothing is escaped each string has two quotes, so that a string that
    was dropped shows in their number.
    """
    if type(value) is not dict or len(value) > MAX_KEYS or b"\\" in data:
        return False
    kinds = [type(each) for each in value.values()]
    num_texts = kinds.count(str)
    return num_texts + kinds.count(int) == len(kinds) and data.count(b'"') == 2 * (len(kinds) + num_texts)


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len(pairs) > MAX_KEYS:
        raise ValueError(f"an object has more than {MAX_KEYS} keys")
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("an object has the same key twice")
    return value


def _finite(text: str) -> float:
    value = float(text)
    if value in {float("inf"), float("-inf")}:
        raise ValueError("a number is too large")
    return value


_QUALITY = re.compile(r"q\s*=\s*([01](?:\.[0-9]{0,3})?)")
_DECODER = json.JSONDecoder(object_pairs_hook=_without_duplicates, parse_float=_finite)


def _declared_length(request: Request) -> int:
    declared = request.headers.get("content-length", "0")
    return int(declared) if declared.isdecimal() else 0


def _refuse_size(max_bytes: int) -> NoReturn:
    raise BodyTooLargeError(f"The body is larger than {max_bytes} bytes.")


def _refuse_lines(max_lines: int) -> NoReturn:
    raise BodyTooLargeError(f"The body has more than {max_lines} lines, blank ones included.")
