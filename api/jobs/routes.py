"""Jobs over HTTP: submit, list, follow, cancel, readdress. What else may be done to one: `api.jobs.flow`."""

import hashlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from pydantic_core import to_json
from starlette.responses import JSONResponse

from api.campaigns.schemas import CAMPAIGN_EXAMPLE, SubmittedJob
from api.csv.tables import CSV, MAX_COLUMNS, ColumnAndField, parse_columns
from api.http.addresses import RootPath
from api.http.bodies import (
    JSON,
    NDJSON_TYPES,
    JsonSyntaxError,
    SpooledBody,
    json_body,
    ndjson_example,
    parse_json,
    request_body,
    require_media_type,
    spool,
)
from api.http.dependencies import Caller, Scope, ServicesDep, require
from api.http.errors import (
    BodyTooLargeError,
    ConflictError,
    ForbiddenError,
    IdempotencyMismatchError,
    InvalidRequestError,
    LineError,
    MalformedBodyError,
    ModelAmbiguousError,
    NoModelError,
    NoSuchJobError,
    NotFoundError,
    OverloadedError,
    TooManyRequestsError,
    UnauthorizedError,
    UnavailableError,
    UnsupportedMediaTypeError,
    responses,
)
from api.http.etags import Preconditions, preconditions
from api.jobs import deadlines
from api.jobs.readdressing import refuse_what_does_not_fit
from api.jobs.schemas import ITEM_EXAMPLE, JobList, JobName, JobOut, ReaddressBody
from api.jobs.views import job_views, view_of
from api.submissions.accepting import Form, accept_body
from api.submissions.dry_run_schemas import DryRunOut
from api.submissions.model_choice import choose_model
from db.queries import cancelling, jobs
from db.queries.idempotency import RequestKey
from domain.states import JobState

SCHEMAS = "#/components/schemas"
LINES_EXAMPLE = ndjson_example({"defaults": {"max_tokens": 200}}, ITEM_EXAMPLE)
CSV_EXAMPLE = "custom_id,user_id,prompt,strength\r\nletter-1,ada,Write two sentences about our new tea.,0.5\r\n"
SUBMISSION = {
    "requestBody": {
        "required": True,
        "content": {
            JSON: {
                "schema": {"anyOf": [{"$ref": f"{SCHEMAS}/JobIn"}, {"$ref": f"{SCHEMAS}/CampaignIn"}]},
                "examples": {
                    "items": {"value": {"items": [ITEM_EXAMPLE], "defaults": {"max_tokens": 200}}},
                    "campaign": {"value": CAMPAIGN_EXAMPLE},
                },
            },
            **{
                media_type: {"schema": {"$ref": f"{SCHEMAS}/ItemIn"}, "example": LINES_EXAMPLE}
                for media_type in NDJSON_TYPES
            },
            CSV: {"schema": {"type": "string"}, "example": CSV_EXAMPLE},
        },
    }
}
ROUTE = "POST /v1/jobs"
DRY_RUN: dict[int | str, dict[str, object]] = {
    200: {"model": DryRunOut, "description": "Of a dry run: what the job would be."}
}
MAX_OPTIONS_CHARACTERS = 32_768

router = APIRouter(
    tags=["jobs"], responses=responses(UnauthorizedError, ForbiddenError, InvalidRequestError, UnavailableError)
)


async def job_id_of(job_id: Annotated[str, Path(max_length=128, description="The job's `id`.")]) -> uuid.UUID:
    """A dependency: the id in the path. What is no id names no job. Async, so that no thread is asked for it."""
    try:
        return uuid.UUID(job_id)
    except ValueError:
        raise NoSuchJobError from None


Reader = Annotated[Caller, Depends(require(Scope.JOBS_READ))]
Writer = Annotated[Caller, Depends(require(Scope.JOBS_WRITE))]
JobId = Annotated[uuid.UUID, Depends(job_id_of)]
Conditions = Annotated[Preconditions, Depends(preconditions)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        pattern=r"^[\x20-\x7e]+$",
        description="Your name for this request: repeats within 24 hours get the same answer and make no second job.",
    ),
]


async def table_form(
    column: Annotated[
        list[ColumnAndField] | None,
        Query(
            max_length=MAX_COLUMNS,
            description="Of a CSV: `COLUMN=FIELD` says what a column is; `COLUMN=` leaves it out, `*=` all others.",
        ),
    ] = None,
    options: Annotated[
        str | None,
        Query(max_length=MAX_OPTIONS_CHARACTERS, description="Of a CSV: what a first line of NDJSON holds, as JSON."),
    ] = None,
) -> Form:
    """A dependency: how a CSV is to be read. Async, so that no thread is asked for it."""
    if options is None:
        return Form(columns=parse_columns(column or ()))
    try:
        return Form(columns=parse_columns(column or ()), options=parse_json(options.encode()))
    except JsonSyntaxError as error:
        message = f"The options are not valid JSON: {error}."
        raise InvalidRequestError(errors=[LineError("invalid_json", message, "options")]) from None


DryRun = Annotated[
    bool, Query(description="Check everything and say what the job would be, but store nothing: the answer is 200.")
]


async def submitted_body(request: Request, services: ServicesDep, caller: Writer) -> AsyncIterator[SpooledBody]:
    """A dependency: the whole body, before any transaction begins; closed when the answer has left."""
    media_type = require_media_type(request, JSON, *NDJSON_TYPES, CSV)
    settings = services.settings
    max_bytes = settings.max_json_bytes if media_type == JSON else settings.max_body_bytes
    is_by_line = media_type in NDJSON_TYPES
    max_lines = settings.max_items + 1 if is_by_line else None  # the first may hold options; a CSV's rows are counted
    async with services.lanes.receiving.slot(caller.tenant_id):
        body = await spool(request, max_bytes=max_bytes, max_lines=max_lines)
        with body.file:
            yield body


@router.post(
    "/v1/jobs",
    summary="Submit a job",
    status_code=202,
    response_model=SubmittedJob,
    responses=DRY_RUN
    | responses(
        MalformedBodyError,
        BodyTooLargeError,
        UnsupportedMediaTypeError,
        InvalidRequestError,
        IdempotencyMismatchError,
        ModelAmbiguousError,
        NoModelError,
        OverloadedError,
        TooManyRequestsError,
    ),
    openapi_extra=SUBMISSION,
)
async def submit_job(
    caller: Writer,
    services: ServicesDep,
    body: Annotated[SpooledBody, Depends(submitted_body)],
    table: Annotated[Form, Depends(table_form)],
    *,
    dry_run: DryRun = False,
    idempotency_key: IdempotencyKey = None,
    root: RootPath = "",
) -> Response:
    """Store items to be written, each pinned to its user's profile as it is now, and to one model. All or nothing.

    Four forms: a JSON object with `items`; NDJSON, one item per line after an optional first line with `defaults`,
    `metadata`, `model` or other options; CSV, a header and one item per row; or a campaign, one `prompt` for an
    `audience`.
    """
    _refuse_table_options(body, table)
    form = replace(table, may_name_users=caller.may(Scope.PROFILES_READ), is_dry_run=dry_run)
    if dry_run:
        told = await accept_body(services, caller.tenant_id, body, None, form)
        return JSONResponse(told.job, status_code=told.status_code)
    key = None
    if idempotency_key is not None:
        key = RequestKey(caller.tenant_id, ROUTE, idempotency_key, _digest(body, table))
    answer = await accept_body(services, caller.tenant_id, body, key, form)
    headers = {"Location": f"{root}/v1/jobs/{answer.job['id']}"}
    if answer.replayed:
        headers["Idempotency-Replayed"] = "true"
    return JSONResponse(answer.job, status_code=answer.status_code, headers=headers)


def _refuse_table_options(body: SpooledBody, table: Form) -> None:
    """Raise `InvalidRequestError` where `column=` or `options=` come with a body that is no CSV."""
    if body.media_type == CSV:
        return
    said = [name for name, value in (("column", table.columns), ("options", table.options)) if value]
    if said:
        message = f"This is for bodies of `Content-Type: {CSV}`: here it goes into the body."
        raise InvalidRequestError(errors=[LineError("not_csv", message, name) for name in said])


def _digest(body: SpooledBody, table: Form) -> str:
    """SHA-256 of the body and of how it is to be read: a repeat under one idempotency key must be equal in it."""
    of_table = f"\n{to_json([table.columns, table.options]).decode()}" if body.media_type == CSV else ""
    return hashlib.sha256(f"{body.media_type}\n{body.digest}{of_table}".encode()).hexdigest()


@router.get("/v1/jobs", summary="List jobs")
def list_jobs(
    caller: Reader,
    services: ServicesDep,
    *,
    after: Annotated[uuid.UUID | None, Query(description="The `last_id` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=100, description="Jobs per page.")] = 20,
    state: JobState | None = None,
    name: Annotated[JobName | None, Query(description="Only jobs of exactly this name.")] = None,
) -> JobList:
    """Your jobs, the newest first."""
    if state is JobState.EXPIRED:
        deadlines.end_all_overdue(services.database)
    find = partial(jobs.list_jobs, tenant_id=caller.tenant_id, limit=limit + 1, after=after, state=state, name=name)
    with deadlines.reading_jobs(services.database, find) as (session, found):
        page = job_views(session, found[:limit], redis_fails=services.publisher.is_failing)
    return JobList(
        data=page,
        first_id=page[0].id if page else None,
        last_id=page[-1].id if page else None,
        has_more=len(found) > limit,
    )


@router.get("/v1/jobs/{job_id}", summary="Follow a job", response_model=JobOut, responses=responses(NotFoundError))
async def read_job(job_id: JobId, caller: Reader, services: ServicesDep, conditions: Conditions) -> Response:
    """A job and how far it is. With `If-None-Match`, 304 while nothing has moved; `Retry-After`: when to ask again.

    Where it is asked for forty times a second or more, by all clients together, an answer may be a quarter of a second
    old; what you have changed through the same server is in it all the same.
    """
    status = await services.polled_statuses.ask((caller.tenant_id, job_id))
    if conditions.not_modified(status.entity_tag):
        return Response(status_code=304, headers=status.headers)
    return Response(status.body, media_type=JSON, headers=status.headers)


@router.post("/v1/jobs/{job_id}/cancel", summary="Cancel a job", responses=responses(NotFoundError, ConflictError))
def cancel_job(job_id: JobId, caller: Writer, services: ServicesDep) -> JobOut:
    """End a job now. What is finished is kept, the rest is cancelled. Cancelling twice is as good as once."""
    with services.database.transaction() as session:
        deadlines.record_in_time(session, caller.tenant_id, job_id)
        cancelled = cancelling.cancel(session, job_id)
        job = view_of(session, caller.tenant_id, job_id)
    if cancelled:  # a small job is wound up here; what is left of a large one is for the workers' sweeps
        with services.database.transaction() as session:
            cancelling.follow(session, job_id)
    if job.state in {JobState.COMPLETED, JobState.EXPIRED}:
        raise ConflictError(f"The job is {job.state}: there is nothing left to cancel.")
    return job


@router.post(
    "/v1/jobs/{job_id}/readdress",
    summary="Give a job to another model",
    responses=responses(
        NotFoundError,
        ConflictError,
        ModelAmbiguousError,
        NoModelError,
        TooManyRequestsError,
        MalformedBodyError,
        BodyTooLargeError,
        UnsupportedMediaTypeError,
    ),
    openapi_extra=request_body({"$ref": f"{SCHEMAS}/ReaddressBody"}, JSON, example={"model": "name@0123abcd"}),
)
def readdress_job(
    job_id: JobId,
    caller: Writer,
    services: ServicesDep,
    body: Annotated[ReaddressBody, Depends(json_body(ReaddressBody))],
) -> JobOut:
    """Have what is left of a job written by another model: for when nobody serves its own any more.

    What has ended is kept as it is, so the job may then hold texts of both. Refused where the model cannot do what an
    item asks for, as at submission.
    """
    with deadlines.reading_job(services.database, caller.tenant_id, job_id) as (session, _):
        model = choose_model(session, body.model)
        refuse_what_does_not_fit(session, job_id, model, services.settings.max_prompt_characters)
    with services.database.transaction() as session:
        if not jobs.readdress(session, job_id, model=model.name, model_digest=model.digest):
            raise ConflictError("The job has ended: there is nothing left to write.")
        job = view_of(session, caller.tenant_id, job_id)
    if model.is_ready:
        services.publisher.wake(job_id, model.digest)
    return job
