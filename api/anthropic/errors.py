"""What can be wrong on Anthropic's routes, and what these routes have in common."""

from functools import partial
from typing import Any

from api.anthropic import failures
from api.http.errors import (
    ForbiddenError,
    NotFoundError,
    OverloadedError,
    UnauthorizedError,
    UnavailableError,
    responses,
)
from api.openai.errors import BadRequestError, OpenAiRoute

SERVER_ERROR = 500
FAILURE_SCHEMA = {"$ref": "#/components/schemas/Failure"}

declared = partial(responses, media_type=failures.MEDIA_TYPE, schema=FAILURE_SCHEMA)
"""The errors a route may answer with, in the form that it declares them."""


class AnthropicRoute(OpenAiRoute):
    """A route on which what is not valid is 400, as both vendors have it, and not 422."""


class NoSuchMessageBatchError(NotFoundError):
    """There is no message batch under this id."""

    code = "message_batch_not_found"
    title = "No such message batch"


class AnswerFailedError(UnavailableError):
    """The answer could not be written."""

    status = SERVER_ERROR
    code = "answer_failed"
    title = "Answer failed"


class AnswerRefusedError(AnswerFailedError):
    """The answer could not be written, and would not be another time."""

    should_retry = False


COMMON_RESPONSES: dict[int | str, dict[str, Any]] = {
    **declared(UnauthorizedError, ForbiddenError, BadRequestError, UnavailableError),
    failures.OVERLOADED: declared(OverloadedError)[OverloadedError.status],
    "4XX": {
        "description": "Each failure has `error.type` and `error.message`.",
        "content": {failures.MEDIA_TYPE: {"schema": FAILURE_SCHEMA}},
    },
}
