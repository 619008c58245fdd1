"""OpenAI's generation endpoints themselves: a request waits for its answer, which goes through the same queue.

It is a job of one item, ahead of the tenant's other jobs, that is deleted when its answer has been given.
"""

import asyncio
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic_core import to_json
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api.accepting import make_known
from api.bodies import JSON, json_value, request_body
from api.dependencies import Caller, Services, ServicesDep
from api.errors import (
    BodyTooLargeError,
    InvalidRequestError,
    LineError,
    MalformedBodyError,
    ModelAmbiguousError,
    NoModelError,
    OverloadedError,
    TooManyRequestsError,
    UnsupportedMediaTypeError,
    responses,
)
from api.inspection import Inspection
from api.item_source import Candidate, Place, ReadOptions
from api.job_schemas import Options
from api.jobs import Writer
from api.model_choice import choose_model
from api.openai.answers import SERVER_ERROR, AnswerFormat
from api.openai.errors import COMMON_RESPONSES, BadRequestError, OpenAiRoute
from api.openai.generation import RULES_AT_ONCE, Endpoint, GenerationBody, endpoint_defaults
from api.openai.lines import a_candidate, read_body, user_errors
from api.settings import Settings, UnknownUsers
from api.submission import StoredJob, accept
from db.base import JsonObject
from db.priorities import Priority
from db.queries import cancelling, deleting
from db.queries.profiles import resolve_profiles
from db.queries.results import ResultRow, read_results
from db.session import Database
from db.states import ItemState

PATIENCE_SECONDS = 300.0
"""So long an answer is waited for; clients wait ten minutes."""
RETRY_SECONDS = 5
LOOK_SECONDS = 1.0
"""Between two looks whether the client is still there."""
CUSTOM_ID = "answer"
EXAMPLE = {"model": "tiny", "messages": [{"role": "user", "content": "Write about tea."}], "user": "ada"}

router = APIRouter(tags=["openai"], responses=COMMON_RESPONSES, route_class=OpenAiRoute)

Body = Annotated[object, Depends(json_value(JSON))]


class AnswerFailedError(OverloadedError):
    """The answer could not be written."""

    status = SERVER_ERROR
    code = "server_error"
    title = "Answer failed"


@dataclass(frozen=True, slots=True)
class OneRequest:
    """A body as a job of one item."""

    body: GenerationBody
    endpoint: Endpoint
    unknown_users: UnknownUsers
    head: ReadOptions

    def candidates(self, session: Session, tenant_id: uuid.UUID, inspection: Inspection) -> Iterator[Candidate]:
        """The one."""
        named = self.body.user_id
        profiles = resolve_profiles(session, tenant_id, [] if named is None else [named])
        inspection.count_row()
        if self.unknown_users is UnknownUsers.REFUSE:
            inspection.add(*user_errors(self.body, profiles, Place()))
        yield a_candidate(CUSTOM_ID, self.body, profiles, self.endpoint, Place())


def _serve(endpoint: Endpoint, summary: str) -> None:
    """A route that answers at this endpoint."""

    async def answer(request: Request, caller: Writer, services: ServicesDep, body: Body) -> Response:
        """Answer now, in the way that the `user` prefers."""
        return await _answered(request, caller, services, endpoint, body)

    errors = (MalformedBodyError, BodyTooLargeError, UnsupportedMediaTypeError, TooManyRequestsError)
    router.add_api_route(
        endpoint,
        answer,
        methods=["POST"],
        summary=summary,
        name=summary,
        responses=responses(*errors, ModelAmbiguousError, NoModelError, OverloadedError),
        openapi_extra=request_body({"type": "object"}, JSON, example=EXAMPLE),
    )


_serve(Endpoint.CHAT, "Answer a conversation")
_serve(Endpoint.COMPLETIONS, "Complete a prompt")
_serve(Endpoint.RESPONSES, "Create a response")


async def _answered(
    request: Request, caller: Caller, services: Services, endpoint: Endpoint, given: object
) -> Response:
    body = _read(given, endpoint)
    async with services.lanes.light.slot(caller.tenant_id):
        store = partial(_store, services.settings, services.database, caller.tenant_id, endpoint, body)
        job = await run_in_threadpool(store)
    try:
        await make_known(services, job)
        await _end_of(request, services, job.id)
        row = await run_in_threadpool(_row, services.database, job.id)
    finally:
        await asyncio.shield(run_in_threadpool(_remove, services.database, job.id))
    return Response(to_json(_body_of(row, job.id, endpoint, body.model)), media_type=JSON)


def _read(given: object, endpoint: Endpoint) -> GenerationBody:
    if not isinstance(given, dict):
        raise BadRequestError(errors=[LineError("not_an_object", "The body is a JSON object.", "")])
    body, errors = read_body(given, RULES_AT_ONCE[endpoint], Place())
    if errors or body is None:
        raise BadRequestError(errors=errors)
    return body


def _store(
    settings: Settings, database: Database, tenant_id: uuid.UUID, endpoint: Endpoint, body: GenerationBody
) -> StoredJob:
    options = Options.model_construct(model=body.model, priority=Priority.INTERACTIVE)
    with database.reading() as session:
        max_length = choose_model(session, body.model).description.max_length
    options = options.model_copy(update={"defaults": endpoint_defaults(endpoint, max_length)})
    source = OneRequest(body, endpoint, settings.unknown_users, ReadOptions(options))
    stored = accept(settings, database, tenant_id, source, None, is_announced=False).stored
    if stored is None:
        raise InvalidRequestError
    return stored


async def _end_of(request: Request, services: Services, job_id: uuid.UUID) -> None:
    """Return when the job has ended. A client that has gone wants no answer, and one that waits too long gets none."""
    end = asyncio.ensure_future(services.endings.wait_for(job_id))
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not end.done():
                await asyncio.wait([end], timeout=LOOK_SECONDS)
                if not end.done() and await request.is_disconnected():
                    return
    except TimeoutError:
        message = f"There was no answer within {PATIENCE_SECONDS:.0f} seconds: send long work as a batch."
        raise OverloadedError(message, headers={"Retry-After": str(RETRY_SECONDS)}) from None
    finally:
        end.cancel()
    await end


def _row(database: Database, job_id: uuid.UUID) -> ResultRow | None:
    with database.reading() as session:
        return next(iter(read_results(session, job_id=job_id, positions=range(1))), None)


def _remove(database: Database, job_id: uuid.UUID) -> None:
    """The answer has been given, or nobody wants it any more."""
    with database.transaction() as session:
        cancelling.cancel(session, job_id)
    with database.transaction() as session:
        cancelling.follow(session, job_id)
        deleting.delete_job(session, job_id)
    with database.transaction() as session:
        deleting.remove(session, job_id)


def _body_of(row: ResultRow | None, job_id: uuid.UUID, endpoint: Endpoint, model: str) -> JsonObject:
    if row is None:
        raise AnswerFailedError("The request was given up.")
    line: Any = AnswerFormat(job_id, endpoint, model).line(row)
    if row.state is ItemState.SUCCEEDED:
        return dict(line["response"]["body"])
    error = (line["response"]["body"] if line["response"] else line)["error"]
    if error.get("type") == "invalid_request_error":
        raise BadRequestError(error["message"])
    raise AnswerFailedError(error["message"])
