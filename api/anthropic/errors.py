"""What can be wrong on Anthropic's routes, and what these routes have in common."""

from typing import Any

from api.errors import (
    ForbiddenError,
    NotFoundError,
    OverloadedError,
    UnauthorizedError,
    UnavailableError,
)
from api.openai.errors import BadRequestError, OpenAiRoute

SERVER_ERROR = 500
JSON = "application/json"
ERROR_SCHEMA = {
    "type": "object",
    "required": ["type", "error", "request_id"],
    "properties": {
        "type": {"const": "error"},
        "error": {
            "type": "object",
            "required": ["type", "message"],
            "properties": {
                "type": {"type": "string"},
                "message": {"type": "string"},
                "details": {"type": "object", "properties": {"error_code": {"type": "string"}}},
            },
        },
        "request_id": {"type": ["string", "null"]},
    },
}


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


def declared(*errors: type[Any]) -> dict[int | str, dict[str, Any]]:
    """The errors a route may answer with, in the form that it declares them."""
    stated: dict[int | str, dict[str, Any]] = {}
    for status in sorted({error.status for error in errors}):
        same = [error for error in errors if error.status == status]
        said = " ".join(f"`{error.code}`: {' '.join((error.__doc__ or '').split())}" for error in same)
        stated[status] = {"description": said, "content": {JSON: {"schema": ERROR_SCHEMA}}}
    return stated


COMMON_RESPONSES: dict[int | str, dict[str, Any]] = {
    **declared(UnauthorizedError, ForbiddenError, BadRequestError, UnavailableError),
    529: {"description": OverloadedError.__doc__, "content": {JSON: {"schema": ERROR_SCHEMA}}},
    "4XX": {"description": "Each failure is Anthropic's.", "content": {JSON: {"schema": ERROR_SCHEMA}}},
}
