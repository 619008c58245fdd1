"""Messages over HTTP: a request waits for its answer, which goes through the same queue as everything else.

How one answer is waited for is `api.streams.one_answer`'s business.
"""

import uuid
from contextlib import AsyncExitStack
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic_core import to_json
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api.anthropic.answers import STANDARD, MessageFormat, is_theirs
from api.anthropic.batch_schemas import PARAMS_EXAMPLE
from api.anthropic.batches import UserProfileId
from api.anthropic.errors import COMMON_RESPONSES, AnswerFailedError, AnswerRefusedError, AnthropicRoute, declared
from api.anthropic.generation import AT_ONCE, MessageBody, message_defaults, user_errors
from api.anthropic.ids import message_name
from api.anthropic.requests import read_params
from api.anthropic.streaming import MessageEvents
from api.http.bodies import JSON, json_value, request_body
from api.http.dependencies import ServicesDep
from api.http.errors import (
    BodyTooLargeError,
    LineError,
    MalformedBodyError,
    ModelAmbiguousError,
    NoModelError,
    TooManyRequestsError,
    UnsupportedMediaTypeError,
)
from api.http.event_stream import EventStream
from api.http.problems import request_id
from api.jobs.routes import Writer
from api.openai.errors import BadRequestError
from api.openai.generation import Endpoint
from api.openai.lines import OneRequest
from api.streams.one_answer import Question, one_answer
from api.submissions.item_source import Place
from db.queries.losses import WORKER_LOST
from db.queries.results import ResultRow
from domain.json_values import JsonObject
from domain.states import ItemState, UnknownUsers

router = APIRouter(tags=["anthropic"], responses=COMMON_RESPONSES, route_class=AnthropicRoute)


@router.post(
    "/v1/messages",
    summary="Write a message",
    responses=declared(
        MalformedBodyError,
        BodyTooLargeError,
        UnsupportedMediaTypeError,
        TooManyRequestsError,
        ModelAmbiguousError,
        NoModelError,
    ),
    openapi_extra=request_body({"type": "object"}, JSON, example=PARAMS_EXAMPLE),
)
async def create_message(
    request: Request,
    caller: Writer,
    services: ServicesDep,
    given: Annotated[object, Depends(json_value(JSON))],
    user_profile_id: UserProfileId = None,
) -> Response:
    """Answer now, in the way that the user prefers whom `metadata.user_id` names; with `stream`, as it is written."""
    body, is_streamed = await run_in_threadpool(read_message, given, user_profile_id)
    question = question_of(body, services.settings.unknown_users)
    async with AsyncExitStack() as stack:
        answering = one_answer(request, services, caller.tenant_id, question, is_streamed=is_streamed)
        answer = await stack.enter_async_context(answering)
        whole = partial(message_of, job_id=answer.job_id, model=body.model)
        if not is_streamed:
            return Response(to_json(whole(await answer.row())), media_type=JSON)
        if await answer.begin():
            whole(await answer.row())  # what has failed already is a status, not an event
        events = MessageEvents(message_name(answer.job_id, 0), body.model, request_id(), whole)
        return EventStream(answer, events, stack.pop_all())


def read_message(given: object, user_profile_id: str | None) -> tuple[MessageBody, bool]:
    """The parameters, and whether to stream; or `BadRequestError` with all that is wrong with them."""
    if not isinstance(given, dict):
        raise BadRequestError(errors=[LineError("not_an_object", "The body is a JSON object.", "")])
    stated = {name: value for name, value in given.items() if name != "stream"}
    body, errors = read_params(stated, user_profile_id, Place(), AT_ONCE)
    is_streamed = given.get("stream")
    if not isinstance(is_streamed, bool | None):
        errors = [LineError("bool_type", "Must be true or false.", "/stream"), *errors]
    if errors or body is None:
        raise BadRequestError(errors=errors)
    return body, is_streamed is True


def question_of(body: MessageBody, unknown_users: UnknownUsers) -> Question:
    """The body as a question that is answered at once, through the queue."""
    return Question(
        body.model,
        defaults=message_defaults,
        source=partial(OneRequest, body, Endpoint.CHAT, unknown_users, user_errors),
    )


def message_of(row: ResultRow | None, job_id: uuid.UUID, model: str) -> JsonObject:
    """The message on the wire, or why there is none."""
    if row is None:
        raise AnswerFailedError("The request was given up.")
    if row.state is ItemState.SUCCEEDED:
        return MessageFormat(job_id, model, STANDARD).message(row)
    if is_theirs(row):
        raise BadRequestError(row.error_message)
    raise (AnswerFailedError if row.error_code == WORKER_LOST else AnswerRefusedError)(row.error_message)
