"""Batches over HTTP, as OpenAI's clients create, follow, list and cancel them."""

import hashlib
import uuid
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Response
from starlette.concurrency import run_in_threadpool

from api.http.admission import LIGHT_BYTES
from api.http.bodies import JSON, Authenticated, json_body, request_body
from api.http.dependencies import Caller, Services, ServicesDep
from api.http.errors import (
    BodyTooLargeError,
    ConflictError,
    IdempotencyMismatchError,
    LineError,
    MalformedBodyError,
    NoModelError,
    TooManyRequestsError,
    UnavailableError,
    UnsupportedMediaTypeError,
    responses,
)
from api.jobs import deadlines
from api.jobs.routes import IdempotencyKey, Reader, Writer
from api.openai.acceptance import Accepted, Asked, accept_batch, withdraw_batch
from api.openai.batch_schemas import BATCH_EXAMPLE, BatchBody, BatchList, BatchObject, BatchStatus
from api.openai.batch_views import FoundBatch, batch_object, find_batches, find_one
from api.openai.errors import COMMON_RESPONSES, BadRequestError, NoSuchBatchError, NoSuchFileError, OpenAiRoute
from api.openai.ids import FileName, batch_name, parse_batch_name
from api.openai.result_files import usage_of
from api.submissions.accepting import make_known
from db.queries import batches, cancelling, files
from db.queries.files import FileRecord
from db.queries.idempotency import RequestKey

ROUTE = "POST /v1/batches"
RETRY_SECONDS = 1800
"""A client that says it tries again means a request of at most so long ago: two time-outs of ten minutes and more."""
REPEAT_SECONDS = 600
"""A client that says nothing of retries means the same request, if it sends the same within so long."""

RetryCount = Annotated[
    int | None,
    Header(alias="x-stainless-retry-count", ge=0, le=2**31, description="Which try this is, as OpenAI's clients say."),
]

router = APIRouter(tags=["openai"], responses=COMMON_RESPONSES, route_class=OpenAiRoute)


def named_batch(batch_id: str, caller: Authenticated) -> uuid.UUID:  # noqa: ARG001 - who has no key is told nothing else
    """A dependency: the id in the path."""
    return batch_id_of(batch_id)


def batch_id_of(batch_id: str) -> uuid.UUID:
    """The id, or `NoSuchBatchError`: what is no id names no batch."""
    parsed = parse_batch_name(batch_id)
    if parsed is None:
        raise NoSuchBatchError(batch_id)
    return parsed


BatchId = Annotated[uuid.UUID, Depends(named_batch)]


@router.post(
    "/v1/batches",
    summary="Create a batch",
    responses=responses(
        NoSuchFileError,
        MalformedBodyError,
        BodyTooLargeError,
        UnsupportedMediaTypeError,
        IdempotencyMismatchError,
        TooManyRequestsError,
        NoModelError,
    ),
    openapi_extra=request_body({"$ref": "#/components/schemas/BatchBody"}, JSON, example=BATCH_EXAMPLE),
)
async def create_batch(
    caller: Writer,
    services: ServicesDep,
    response: Response,
    body: Annotated[BatchBody, Depends(json_body(BatchBody))],
    *,
    idempotency_key: IdempotencyKey = None,
    retry_count: RetryCount = None,
) -> BatchObject:
    """Have the requests of a file answered. What is wrong with the file is in `errors` of a batch that has failed.

    A request that is sent again makes no second batch: it gets the first one, as it is now, and the header
    `Idempotency-Replayed`. It is known by its `Idempotency-Key`; without one, by all that it says: where the client
    counts its retries, on a retry, and where it does not, for ten minutes.
    """
    file = await run_in_threadpool(_input_file, caller, services, body.input_file_id)
    key = _key(caller, body, idempotency_key)
    asked = Asked(body, file.id, file.num_bytes, key, repeat_seconds(retry_count))
    try:
        accepted = await _accepted(services, caller.tenant_id, asked)
    except files.FileGoneError:
        raise NoSuchFileError(body.input_file_id, param="input_file_id") from None
    make_known(services, accepted.job)
    if accepted.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return await run_in_threadpool(lambda: _view(services, _found(caller, services, accepted.batch_id)))


@router.get("/v1/batches", summary="List batches")
def list_batches(
    caller: Reader,
    services: ServicesDep,
    after: Annotated[str | None, Query(description="The `last_id` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=100, description="Batches per page.")] = 20,
) -> BatchList:
    """Your batches, the newest first."""
    beyond = None if after is None else batch_id_of(after)
    found = find_batches(
        services.database,
        lambda session: batches.list_batches(session, tenant_id=caller.tenant_id, limit=limit + 1, beyond=beyond),
    )
    page = [_view(services, each) for each in found[:limit]]
    return BatchList(
        data=page,
        first_id=page[0].id if page else None,
        last_id=page[-1].id if page else None,
        has_more=len(found) > limit,
    )


@router.get("/v1/batches/{batch_id}", summary="Follow a batch", responses=responses(NoSuchBatchError))
def read_batch(batch_id: BatchId, caller: Reader, services: ServicesDep) -> BatchObject:
    """A batch and how far it is. Its files can be read while it runs."""
    return _view(services, _found(caller, services, batch_id))


@router.post(
    "/v1/batches/{batch_id}/cancel", summary="Cancel a batch", responses=responses(NoSuchBatchError, ConflictError)
)
def cancel_batch(batch_id: BatchId, caller: Writer, services: ServicesDep) -> BatchObject:
    """End a batch now. What is finished is in its output file, the rest in its error file. Twice is as good as once."""
    _found(caller, services, batch_id)
    with services.database.transaction() as session:
        job_id = batches.cancel(session, batch_id)
        if job_id is not None:
            deadlines.record_in_time(session, caller.tenant_id, job_id)
            cancelling.cancel(session, job_id)
    if job_id is not None:
        with services.database.transaction() as session:  # a large one's requests follow in the workers' sweeps
            cancelling.follow(session, job_id)
    found = _found(caller, services, batch_id)
    if found.status is not BatchStatus.CANCELLED:
        raise ConflictError(f"The batch is {found.status}: there is nothing left to cancel.")
    return _view(services, found)


async def _accepted(services: Services, tenant_id: uuid.UUID, asked: Asked) -> Accepted:
    """Read here where that takes milliseconds, and aside where it takes seconds."""
    if asked.num_bytes <= LIGHT_BYTES:
        async with services.lanes.light.slot(tenant_id):
            return await run_in_threadpool(accept_batch, services.settings, services.database, tenant_id, asked)
    async with services.lanes.heavy.slot(tenant_id):
        try:
            return await services.bulk.run(accept_batch, tenant_id, asked)
        except UnavailableError:  # also of a process that has died, and withdraws nothing any more
            await run_in_threadpool(withdraw_batch, services.database, asked)
            raise


def _found(caller: Caller, services: Services, batch_id: uuid.UUID) -> FoundBatch:
    found = find_one(services.database, caller.tenant_id, batch_id)
    if found is None:
        raise NoSuchBatchError(batch_name(batch_id))
    return found


def _view(services: Services, found: FoundBatch) -> BatchObject:
    return batch_object(found, usage_of(services.database, found))


def _input_file(caller: Caller, services: Services, file_id: str) -> FileRecord:
    name = FileName.parse(file_id)
    if name is not None and name.part is not None:
        message = "Results cannot be the input of a batch: give a file that was uploaded for the purpose `batch`."
        raise BadRequestError(errors=[LineError("invalid_purpose", message, "/input_file_id")])
    with services.database.reading() as session:
        wanted = {"tenant_id": caller.tenant_id, "file_id": name.id} if name else None
        record = files.find_file(session, **wanted) if wanted else None
    if record is None:
        raise NoSuchFileError(file_id, param="input_file_id")
    return record


def _key(caller: Caller, body: BatchBody, given: str | None) -> RequestKey | None:
    if given is None:
        return None
    sent = hashlib.sha256(f"{JSON}\n{body.fingerprint}".encode()).hexdigest()
    return RequestKey(caller.tenant_id, ROUTE, given, sent)


def repeat_seconds(retry_count: int | None) -> int | None:
    """How old the batch may be of which this may be the repeat; None: it is a request of its own."""
    if retry_count is None:
        return REPEAT_SECONDS
    return RETRY_SECONDS if retry_count else None
