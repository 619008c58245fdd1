"""OpenAI's generation endpoints themselves: a request waits for its answer, which goes through the same queue.

How one answer is waited for is `api.streams.one_answer`'s business.
"""

import time
import uuid
from contextlib import AsyncExitStack
from functools import partial
from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Depends, Request
from pydantic import ValidationError
from pydantic_core import to_json
from starlette.responses import Response

from api.http.bodies import JSON, json_read, request_body
from api.http.dependencies import Caller, Services, ServicesDep
from api.http.errors import (
    BodyTooLargeError,
    LineError,
    MalformedBodyError,
    ModelAmbiguousError,
    NoModelError,
    OverloadedError,
    TooManyRequestsError,
    UnsupportedMediaTypeError,
    line_errors,
    responses,
)
from api.http.event_stream import EventStream
from api.jobs.routes import Writer
from api.openai.answers import SERVER_ERROR, AnswerFormat
from api.openai.errors import COMMON_RESPONSES, BadRequestError, OpenAiRoute
from api.openai.generation import RULES_AT_ONCE, Endpoint, GenerationBody, endpoint_defaults
from api.openai.lines import OneRequest, read_body, user_errors
from api.openai.streaming import Streamed, StreamFields, form_of
from api.streams.one_answer import Question, one_answer
from api.submissions.item_source import Place
from db.queries.results import ResultRow
from domain.json_values import JsonObject
from domain.states import ItemState, UnknownUsers

EXAMPLE = {"model": "tiny", "messages": [{"role": "user", "content": "Write about tea."}], "user": "ada"}

router = APIRouter(tags=["openai"], responses=COMMON_RESPONSES, route_class=OpenAiRoute)


class AnswerFailedError(OverloadedError):
    """The answer could not be written."""

    status = SERVER_ERROR
    code = "server_error"
    title = "Answer failed"


Asked: TypeAlias = tuple[GenerationBody, StreamFields]


def _read(given: object, endpoint: Endpoint) -> Asked:
    if not isinstance(given, dict):
        raise BadRequestError(errors=[LineError("not_an_object", "The body is a JSON object.", "")])
    stream, wrong = _read_stream({name: given[name] for name in StreamFields.model_fields if name in given})
    rest = {name: value for name, value in given.items() if name not in StreamFields.model_fields}
    body, errors = read_body(rest, RULES_AT_ONCE[endpoint], Place())
    if wrong or errors or body is None:
        raise BadRequestError(errors=[*wrong, *errors])
    return body, stream


def _read_stream(given: JsonObject) -> tuple[StreamFields, list[LineError]]:
    try:
        stream = StreamFields.model_validate(given)
    except ValidationError as error:
        return StreamFields(), line_errors(error)
    if stream.stream_options is not None and not stream.stream:
        message = "`stream_options` are those of an answer that is streamed: say `stream: true`."
        return stream, [LineError("unsupported_parameter", message, "/stream_options")]
    return stream, []


def _serve(endpoint: Endpoint, summary: str) -> None:
    """A route that answers at this endpoint."""
    read = Depends(json_read(partial(_read, endpoint=endpoint)))

    async def answer(
        request: Request, caller: Writer, services: ServicesDep, asked: Annotated[Asked, read]
    ) -> Response:
        """Answer now, in the way that the `user` prefers."""
        return await _answered(request, caller, services, endpoint, asked)

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


async def _answered(request: Request, caller: Caller, services: Services, endpoint: Endpoint, asked: Asked) -> Response:
    body, stream = asked
    question = _question(body, endpoint, services.settings.unknown_users)
    async with AsyncExitStack() as stack:
        answering = one_answer(request, services, caller.tenant_id, question, is_streamed=bool(stream.stream))
        answer = await stack.enter_async_context(answering)
        whole = partial(_body_of, job_id=answer.job_id, endpoint=endpoint, model=body.model)
        if not stream.stream:
            return Response(to_json(whole(await answer.row())), media_type=JSON)
        if await answer.begin():
            whole(await answer.row())  # what has failed already is a status, not an event
        streamed = Streamed(
            f"{answer.job_id.hex}_0", body.model, int(time.time()), body.n or 1, stream.includes_usage, whole
        )
        return EventStream(answer, form_of(endpoint, streamed), stack.pop_all())


def _question(body: GenerationBody, endpoint: Endpoint, unknown_users: UnknownUsers) -> Question:
    return Question(
        body.model,
        defaults=partial(endpoint_defaults, endpoint),
        source=partial(OneRequest, body, endpoint, unknown_users, user_errors),
    )


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
