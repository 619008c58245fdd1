"""Files over HTTP, as OpenAI's clients send and read them."""

from collections.abc import AsyncIterator
from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from api.http.admission import LIGHT_BYTES
from api.http.bodies import NDJSON, Authenticated, ndjson_response, streamed
from api.http.dependencies import Caller, ServicesDep
from api.http.errors import (
    BodyTooLargeError,
    MalformedBodyError,
    TooManyRequestsError,
    UnsupportedMediaTypeError,
    responses,
)
from api.jobs.routes import Reader, Writer
from api.openai import storage
from api.openai.errors import COMMON_RESPONSES, NoSuchFileError, OpenAiRoute
from api.openai.file_listing import Listing, listed
from api.openai.file_schemas import FileDeleted, FileList, FileObject, uploaded
from api.openai.ids import FileName, Part
from api.openai.result_files import find_results, measured, result_lines
from api.openai.uploads import MULTIPART, Upload, receive
from db.queries import batches, files

OCTETS = "application/octet-stream"
UPLOAD_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            MULTIPART: {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "purpose": {"type": "string", "enum": ["batch"]},
                        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
                        "expires_after[seconds]": {"type": "integer", "minimum": 3600, "maximum": 2_592_000},
                    },
                }
            }
        },
    }
}

router = APIRouter(tags=["openai"], responses=COMMON_RESPONSES, route_class=OpenAiRoute)


class Order(StrEnum):
    """Order of a list of files, by age."""

    ASC = "asc"
    DESC = "desc"


class Purpose(StrEnum):
    """What a file is for, in OpenAI's words."""

    BATCH = "batch"
    BATCH_OUTPUT = "batch_output"


async def received_upload(request: Request, services: ServicesDep, caller: Writer) -> AsyncIterator[Upload]:
    """A dependency: the whole file, before any transaction begins; closed when the answer has left."""
    async with services.lanes.receiving.slot(caller.tenant_id):
        upload = await receive(request, max_bytes=services.settings.max_body_bytes)
        with upload.file:
            yield upload


def named_file(file_id: str, caller: Authenticated) -> FileName:  # noqa: ARG001 - who has no key is told nothing else
    """A dependency: the file's name in the path."""
    return file_name(file_id)


def file_name(file_id: str) -> FileName:
    """The name, or `NoSuchFileError`: what is no id names no file."""
    name = FileName.parse(file_id)
    if name is None:
        raise NoSuchFileError(file_id)
    return name


Named = Annotated[FileName, Depends(named_file)]


@router.post(
    "/v1/files",
    summary="Upload a file",
    responses=responses(BodyTooLargeError, MalformedBodyError, UnsupportedMediaTypeError, TooManyRequestsError),
    openapi_extra=UPLOAD_FORM,
)
async def upload_file(
    caller: Writer, services: ServicesDep, upload: Annotated[Upload, Depends(received_upload)]
) -> FileObject:
    """Keep a file of requests, for batches. It is kept for 30 days, or as long as `expires_after` says."""
    lanes = services.lanes
    async with (lanes.light if upload.num_bytes <= LIGHT_BYTES else lanes.heavy).slot(caller.tenant_id):
        return uploaded(await run_in_threadpool(storage.store, services.database, caller.tenant_id, upload))


@router.get("/v1/files", summary="List files")
def list_files(
    caller: Reader,
    services: ServicesDep,
    *,
    after: Annotated[str | None, Query(description="The `last_id` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=10_000, description="Files per page.")] = 10_000,
    order: Order = Order.DESC,
    purpose: Purpose | None = None,
) -> FileList:
    """Your files, the newest first, results of batches among them once there are any."""
    asked = Listing(
        caller.tenant_id,
        None if after is None else file_name(after),
        newest_first=order is Order.DESC,
        with_uploads=purpose is not Purpose.BATCH_OUTPUT,
        with_results=purpose is not Purpose.BATCH,
    )
    found = listed(services.database, asked, limit + 1)
    page = found[:limit]
    return FileList(
        data=page,
        first_id=page[0].id if page else None,
        last_id=page[-1].id if page else None,
        has_more=len(found) > limit,
    )


@router.get("/v1/files/{file_id}", summary="Read what is known of a file", responses=responses(NoSuchFileError))
def read_file(file_id: Named, caller: Reader, services: ServicesDep) -> FileObject:
    """A file without its bytes."""
    if file_id.part is None:
        return uploaded(_found(file_id, caller, services))
    return measured(services.database, find_results(services.database, caller.tenant_id, file_id), file_id.part)


@router.get(
    "/v1/files/{file_id}/content",
    summary="Read a file",
    response_class=Response,
    responses={200: {"content": {OCTETS: {}, NDJSON: {}}}, **responses(NoSuchFileError)},
)
def read_content(file_id: Named, caller: Reader, services: ServicesDep) -> Response:
    """The bytes of a file.

    Results can be read while their batch runs: `X-Incomplete` says whether lines are still to come, and `X-Last-Line`
    how many there were when the answer began. They are in the order of the batch's own lines, so that one may still
    come in front of another: what is read then is a preview.
    """
    lane, tenant_id = services.lanes.streams, caller.tenant_id
    if file_id.part is None:
        record = _found(file_id, caller, services)
        headers = {"Content-Length": str(record.num_bytes)}
        chunks = files.read_chunks(services.database, record.id, record.num_bytes)
        try:
            return streamed(chunks, lane, tenant_id, media_type=OCTETS, headers=headers)
        except files.FileGoneError:
            raise NoSuchFileError(str(file_id)) from None
    found = find_results(services.database, tenant_id, file_id)
    headers = {
        "X-Incomplete": "true" if found.ended_at is None else "false",
        "X-Last-Line": str(found.num_lines(file_id.part)),
    }
    return ndjson_response(result_lines(services.database, found, file_id.part), lane, tenant_id, headers=headers)


@router.delete("/v1/files/{file_id}", summary="Delete a file", responses=responses(NoSuchFileError))
def delete_file(file_id: Named, caller: Writer, services: ServicesDep) -> FileDeleted:
    """Remove a file at once. Batches that were made of it stay, and so does the job of which it holds the results."""
    if file_id.part is not None:
        find_results(services.database, caller.tenant_id, file_id)
    with services.database.transaction() as session:
        if file_id.part is Part.OUTPUT:
            batches.delete_output(session, file_id.id)
        elif file_id.part is Part.ERROR:
            batches.delete_error(session, file_id.id)
        elif not files.delete_file(session, tenant_id=caller.tenant_id, file_id=file_id.id):
            raise NoSuchFileError(str(file_id))
    return FileDeleted(id=str(file_id))


def _found(name: FileName, caller: Caller, services: ServicesDep) -> files.FileRecord:
    with services.database.reading() as session:
        record = files.find_file(session, tenant_id=caller.tenant_id, file_id=name.id)
    if record is None:
        raise NoSuchFileError(str(name))
    return record
