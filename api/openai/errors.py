"""Failures as OpenAI's clients expect them: what is not valid is 400 there, and what is not there names its kind."""

import re
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.responses import Response

from api.http.errors import (
    PROBLEM_MEDIA_TYPE,
    PROBLEM_SCHEMA,
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
    UnauthorizedError,
    UnavailableError,
    responses,
)
from api.http.problems import from_fastapi

_SHOWABLE_ID = re.compile(r"[A-Za-z0-9_-]{1,80}")


class BadRequestError(InvalidRequestError):
    """The request is not valid; `errors` says where and why."""

    status = 400


class NoSuchFileError(NotFoundError):
    """No such File object."""

    code = "file_not_found"
    title = "No such file"

    def __init__(self, file_id: str, *, param: str = "id") -> None:
        super().__init__(_named("No such File object", file_id), param=param)


class NoSuchBatchError(NotFoundError):
    """No such Batch object."""

    code = "batch_not_found"
    title = "No such batch"

    def __init__(self, batch_id: str) -> None:
        super().__init__(_named("No such Batch object", batch_id), param="id")


class OpenAiRoute(APIRoute):
    """A route on which what is not valid is 400, as OpenAI has it, and not 422."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler behind that translation."""
        handle = super().get_route_handler()

        async def translated(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError as error:
                raise as_bad_request(from_fastapi(error.errors())) from None
            except InvalidRequestError as error:
                raise as_bad_request(error) from None

        return translated


def as_bad_request(error: Exception) -> Exception:
    """An invalid request as OpenAI's clients expect it; any other failure as it is."""
    if not isinstance(error, InvalidRequestError) or isinstance(error, BadRequestError):
        return error
    return BadRequestError(error.detail, errors=error.errors, param=error.param, num_errors=error.num_errors)


COMMON_RESPONSES: dict[int | str, dict[str, Any]] = {
    **responses(UnauthorizedError, ForbiddenError, BadRequestError, UnavailableError),
    "4XX": {
        "description": "Each failure has `error.message`, `error.type`, `error.param` and `error.code`.",
        "content": {PROBLEM_MEDIA_TYPE: {"schema": PROBLEM_SCHEMA}},
    },
}


def _named(what: str, given: str) -> str:
    """What could be an id is named back; anything else is not."""
    return f"{what}: {given}" if _SHOWABLE_ID.fullmatch(given) else f"{what} under this id."
