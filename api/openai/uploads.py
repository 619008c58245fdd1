"""Multipart uploads, received without holding the file in memory. Knows the wire; stores nothing."""

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import IO

from fastapi import Request
from pydantic import Field, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from api.http.bodies import media_type, refuse_encoding
from api.http.errors import BodyTooLargeError, LineError, MalformedBodyError, UnsupportedMediaTypeError, line_errors
from api.openai.errors import BadRequestError
from api.profiles.schemas import StrictModel

MULTIPART = "multipart/form-data"
MAX_FIELDS = 8
MAX_FIELD_BYTES = 1024
MAX_ENVELOPE_BYTES = 2**16
"""Boundaries, headers and fields around the file."""
MAX_FILENAME = 255
LEAST_SECONDS, MOST_SECONDS = 3600, 2_592_000
BATCH_FILE_SECONDS = MOST_SECONDS
"""How long a file is kept that does not say so: 30 days, as at OpenAI."""


class ExpiresAfter(StrictModel):
    """How long a file is kept."""

    anchor: str = Field(pattern="^created_at$")
    seconds: int = Field(ge=LEAST_SECONDS, le=MOST_SECONDS)


@dataclass(frozen=True, slots=True)
class Upload:
    """A received file and what was said of it; its receiver closes `file`."""

    file: IO[bytes]
    filename: str
    num_bytes: int
    purpose: str
    seconds: int


async def receive(request: Request, *, max_bytes: int) -> Upload:
    """The whole upload, in memory while it is small and in an unnamed file once it is not."""
    if media_type(request) != MULTIPART:
        raise UnsupportedMediaTypeError(f"Send `Content-Type: {MULTIPART}`.", headers={"Accept": MULTIPART})
    refuse_encoding(request)
    stream = _bounded(request.stream(), max_bytes + MAX_ENVELOPE_BYTES)
    parser = MultiPartParser(request.headers, stream, max_files=1, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD_BYTES)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise MalformedBodyError(f"The multipart body cannot be read: {error.message.rstrip('.')}.") from None
    except UnicodeError:  # in a character set that only fails
        raise MalformedBodyError("The multipart body cannot be read: its names are not in its `charset`.") from None
    try:
        return _upload(form, max_bytes)
    except BaseException:
        await form.close()
        raise


async def _bounded(stream: AsyncIterator[bytes], max_bytes: int) -> AsyncGenerator[bytes]:
    num_bytes = 0
    async for chunk in stream:
        num_bytes += len(chunk)
        if num_bytes > max_bytes:
            raise BodyTooLargeError(f"A file may have at most {max_bytes - MAX_ENVELOPE_BYTES} bytes.")
        yield chunk


def _upload(form: FormData, max_bytes: int) -> Upload:
    fields: dict[str, str] = {}
    file: UploadFile | None = None
    for name, value in form.multi_items():
        if name == "file" and isinstance(value, UploadFile):
            file = value
        elif isinstance(value, str) and name in _FIELDS:
            fields[name] = value
        else:
            raise _wrong(
                name[:64], "unknown_parameter", "The parts of an upload are `file`, `purpose`, `expires_after`."
            )
    if file is None:
        raise _wrong("file", "missing", "Send the file as the part `file`, which has a filename.")
    if "purpose" not in fields:
        raise _wrong("purpose", "missing", "Say what the file is for: `purpose` is `batch`.")
    if fields["purpose"] != "batch":
        raise _wrong("purpose", "invalid_purpose", "Files are for batches here: `purpose` must be `batch`.")
    num_bytes = file.size or 0
    if num_bytes > max_bytes:
        raise BodyTooLargeError(f"A file may have at most {max_bytes} bytes.")
    return Upload(file.file, _filename(file.filename), num_bytes, fields["purpose"], _seconds(fields))


_FIELDS = frozenset({"purpose", "expires_after[anchor]", "expires_after[seconds]"})


def _seconds(fields: dict[str, str]) -> int:
    anchor, seconds = fields.get("expires_after[anchor]"), fields.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return BATCH_FILE_SECONDS
    number = int(seconds) if seconds is not None and seconds.isascii() and seconds.isdecimal() else seconds
    stated = {"anchor": anchor, "seconds": number}
    try:
        return ExpiresAfter.model_validate({name: value for name, value in stated.items() if value is not None}).seconds
    except ValidationError as error:
        raise BadRequestError(errors=line_errors(error, prefix="/expires_after")) from None


def _filename(given: str | None) -> str:
    """The file's name as it was sent, without characters that cannot be shown."""
    shown = "".join(character for character in given or "" if character.isprintable())
    return shown[:MAX_FILENAME] or "upload"


def _wrong(param: str, code: str, message: str) -> BadRequestError:
    return BadRequestError(message, errors=[LineError(code, message, f"/{param}")], param=param)
