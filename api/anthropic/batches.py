"""Message batches over HTTP, as Anthropic's clients create, follow, list, cancel, read and delete them."""

import hashlib
import uuid
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from api.anthropic.acceptance import Accepted, Asked, accept_aside, accept_batch
from api.anthropic.answers import MessageFormat
from api.anthropic.batch_schemas import BATCH_EXAMPLE, DeletedMessageBatch, MessageBatchList, MessageBatchOut
from api.anthropic.batch_views import FoundBatch, batch_object, find_batches, find_one
from api.anthropic.errors import COMMON_RESPONSES, AnthropicRoute, NoSuchMessageBatchError, declared
from api.anthropic.ids import batch_name, parse_batch_name
from api.http.admission import LIGHT_BYTES
from api.http.bodies import JSON, Authenticated, SpooledBody, ndjson_response, request_body, require_media_type, spool
from api.http.dependencies import Caller, Services, ServicesDep
from api.http.errors import (
    BodyTooLargeError,
    IdempotencyMismatchError,
    MalformedBodyError,
    NoModelError,
    TooManyRequestsError,
    UnsupportedMediaTypeError,
)
from api.jobs import deadlines
from api.jobs.results import ended_items
from api.jobs.routes import IdempotencyKey, Reader, Writer
from api.openai.batches import RetryCount, repeat_seconds
from api.openai.errors import BadRequestError
from api.profiles.schemas import UserId
from api.submissions.accepting import make_known
from db.queries import cancelling, deleting, message_batches
from db.queries.idempotency import RequestKey
from db.queries.message_batches import Page
from domain.states import TERMINAL_ITEM_STATES, JobState

ROUTE = "POST /v1/messages/batches"
JSONL = "application/x-jsonl"

UserProfileId = Annotated[
    UserId | None,
    Header(alias="anthropic-user-profile-id", description="Whose profile steers what names nobody itself."),
]

router = APIRouter(tags=["anthropic"], responses=COMMON_RESPONSES, route_class=AnthropicRoute)


def named_batch(batch_id: str, caller: Authenticated) -> uuid.UUID:  # noqa: ARG001 - who has no key is told nothing else
    """A dependency: the id in the path."""
    return batch_id_of(batch_id)


def batch_id_of(batch_id: str) -> uuid.UUID:
    """The id, or `NoSuchMessageBatchError`: what is no id names no batch."""
    parsed = parse_batch_name(batch_id)
    if parsed is None:
        raise NoSuchMessageBatchError
    return parsed


BatchId = Annotated[uuid.UUID, Depends(named_batch)]


async def received_requests(request: Request, services: ServicesDep, caller: Writer) -> AsyncIterator[SpooledBody]:
    """A dependency: the whole body, before any transaction begins; closed when the answer has left."""
    require_media_type(request, JSON)
    async with services.lanes.receiving.slot(caller.tenant_id):
        body = await spool(request, max_bytes=services.settings.max_body_bytes)
        with body.file:
            yield body


def found_at(request: Request) -> str:
    """Where the client found this server: links lead back there, also behind a proxy that ends its TLS."""
    base = request.base_url
    forwarded = request.headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower()
    return str(base.replace(scheme="https") if forwarded == "https" else base).rstrip("/")


FoundAt = Annotated[str, Depends(found_at)]


@router.post(
    "/v1/messages/batches",
    summary="Create a message batch",
    responses=declared(
        MalformedBodyError,
        BodyTooLargeError,
        UnsupportedMediaTypeError,
        IdempotencyMismatchError,
        TooManyRequestsError,
        NoModelError,
    ),
    openapi_extra=request_body({"$ref": "#/components/schemas/MessageBatchIn"}, JSON, example=BATCH_EXAMPLE),
)
async def create_message_batch(
    caller: Writer,
    services: ServicesDep,
    response: Response,
    body: Annotated[SpooledBody, Depends(received_requests)],
    base_url: FoundAt,
    *,
    user_profile_id: UserProfileId = None,
    idempotency_key: IdempotencyKey = None,
    retry_count: RetryCount = None,
) -> MessageBatchOut:
    """Have requests answered. What is wrong with any of them is said at once, and then nothing is stored.

    A request that is sent again makes no second batch: it gets the first one, as it is now, and the header
    `Idempotency-Replayed`. It is known by its `Idempotency-Key`; without one, by its body: where the client counts its
    retries, on a retry, and where it does not, for ten minutes.
    """
    sent = hashlib.sha256(f"{user_profile_id}\n{body.digest}".encode()).hexdigest()
    key = None if idempotency_key is None else RequestKey(caller.tenant_id, ROUTE, idempotency_key, sent)
    asked = Asked(sent, user_profile_id, key, repeat_seconds(retry_count))
    accepted = await _accepted(services, caller.tenant_id, body, asked)
    make_known(services, accepted.job)
    if accepted.job is None:
        response.headers["Idempotency-Replayed"] = "true"
    return await run_in_threadpool(lambda: batch_object(_found(caller, services, accepted.batch_id), base_url))


@router.get("/v1/messages/batches", summary="List message batches")
def list_message_batches(
    caller: Reader,
    services: ServicesDep,
    base_url: FoundAt,
    *,
    after_id: Annotated[str | None, Query(description="The `last_id` of the page before.")] = None,
    before_id: Annotated[str | None, Query(description="The `first_id` of the page behind.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="Batches per page.")] = 20,
) -> MessageBatchList:
    """Your message batches, the newest first."""
    if after_id is not None and before_id is not None:
        raise BadRequestError("Give `after_id` or `before_id`: a page is on one side of a batch.")
    page = Page(
        limit + 1,
        older_than=None if after_id is None else batch_id_of(after_id),
        younger_than=None if before_id is None else batch_id_of(before_id),
    )
    found = find_batches(
        services.database,
        lambda session: message_batches.list_batches(session, tenant_id=caller.tenant_id, page=page),
    )
    shown = found[-limit:] if before_id is not None else found[:limit]  # those next to the batch that was named
    data = [batch_object(each, base_url) for each in shown]
    return MessageBatchList(
        data=data,
        has_more=len(found) > limit,
        first_id=data[0].id if data else None,
        last_id=data[-1].id if data else None,
    )


@router.get(
    "/v1/messages/batches/{batch_id}", summary="Follow a message batch", responses=declared(NoSuchMessageBatchError)
)
def read_message_batch(batch_id: BatchId, caller: Reader, services: ServicesDep, base_url: FoundAt) -> MessageBatchOut:
    """A batch and how far it is: its counts are those of now."""
    return batch_object(_found(caller, services, batch_id), base_url)


@router.post(
    "/v1/messages/batches/{batch_id}/cancel",
    summary="Cancel a message batch",
    responses=declared(NoSuchMessageBatchError),
)
def cancel_message_batch(
    batch_id: BatchId, caller: Writer, services: ServicesDep, base_url: FoundAt
) -> MessageBatchOut:
    """End a batch now. What is finished is kept, the rest is canceled. Twice is as good as once."""
    job_id = _found(caller, services, batch_id).job.id
    with services.database.transaction() as session:
        deadlines.record_in_time(session, caller.tenant_id, job_id)
        if cancelling.cancel(session, job_id):
            message_batches.note_cancel(session, batch_id)
    with services.database.transaction() as session:  # a large one's requests follow in the workers' sweeps
        cancelling.follow(session, job_id)
    found = _found(caller, services, batch_id)
    if found.job.state is not JobState.CANCELLED:
        raise BadRequestError("The batch has ended: there is nothing left to cancel.")
    return batch_object(found, base_url)


@router.get(
    "/v1/messages/batches/{batch_id}/results",
    summary="Read the results of a message batch",
    response_class=Response,
    responses={200: {"content": {JSONL: {}}}, **declared(NoSuchMessageBatchError)},
)
def read_results_of_message_batch(batch_id: BatchId, caller: Reader, services: ServicesDep) -> Response:
    """What became of every request, a line each, in the order of the requests; once the batch has ended."""
    found = _found(caller, services, batch_id)
    job = found.job
    if job.finished_at is None:
        raise BadRequestError(
            f"The batch has not ended. What is finished by now can be read under `/v1/jobs/{job.id}/results`."
        )
    answers = MessageFormat(batch_id, job.model)
    rows = ended_items(services.database, job, 0, job.counts.total, TERMINAL_ITEM_STATES)
    return ndjson_response(map(answers.line, rows), services.lanes.streams, caller.tenant_id, media_type=JSONL)


@router.delete(
    "/v1/messages/batches/{batch_id}", summary="Delete a message batch", responses=declared(NoSuchMessageBatchError)
)
def delete_message_batch(batch_id: BatchId, caller: Writer, services: ServicesDep) -> DeletedMessageBatch:
    """Remove a batch that has ended, with its job and its texts. It is gone at once."""
    job_id = _found(caller, services, batch_id).job.id
    with services.database.transaction() as session:
        if not deleting.delete_job(session, job_id):
            raise BadRequestError("The batch has not ended: cancel it first.")
    with services.database.transaction() as session:  # a small one goes here, the rest in the workers' sweeps
        deleting.remove(session, job_id)
    return DeletedMessageBatch(id=batch_name(batch_id))


async def _accepted(services: Services, tenant_id: uuid.UUID, body: SpooledBody, asked: Asked) -> Accepted:
    """Read here where that takes milliseconds, and aside where it takes seconds."""
    if body.num_bytes <= LIGHT_BYTES:
        async with services.lanes.light.slot(tenant_id):
            return await run_in_threadpool(accept_batch, services.settings, services.database, tenant_id, body, asked)
    async with services.lanes.heavy.slot(tenant_id):
        return await services.bulk.run(accept_aside, tenant_id, body, asked)


def _found(caller: Caller, services: Services, batch_id: uuid.UUID) -> FoundBatch:
    found = find_one(services.database, caller.tenant_id, batch_id)
    if found is None:
        raise NoSuchMessageBatchError
    return found
