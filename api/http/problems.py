"""The one place that writes failures to the wire: `application/problem+json` (RFC 9457), which openai clients read too.

Anthropic's clients get what they read (`api.anthropic.failures`).

Everything that can leave a route arrives here: the project's own errors, FastAPI's and Starlette's, a database that
does not answer, and what nobody expected. No answer and no log line holds a value from the request.
"""

import json
from collections.abc import Mapping, Sequence

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from pydantic_core import ErrorDetails
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from api.anthropic import failures
from api.http.errors import (
    MAX_ERRORS_SHOWN,
    PROBLEM_MEDIA_TYPE,
    ApiError,
    BodyTooLargeError,
    InvalidRequestError,
    LineError,
    MalformedBodyError,
    MethodNotAllowedError,
    NotFoundError,
    UnavailableError,
    json_pointer,
    sentence,
)
from db.session import DatabaseUnreachableError
from telemetry.logs import places_of

RETRY_AFTER_SECONDS = 5
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
# What openai clients branch on; everything else of theirs goes by status.
OPENAI_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    429: "rate_limit_error",
}
STARLETTE_ERRORS: dict[int, type[ApiError]] = {404: NotFoundError, 405: MethodNotAllowedError, 413: BodyTooLargeError}
DATABASE_ERRORS = (OperationalError, InternalError, InterfaceError, PoolTimeoutError, DatabaseUnreachableError)

log = structlog.get_logger(__name__)


class ProblemLine(BaseModel):
    """One thing that is wrong with the request."""

    code: str
    message: str
    pointer: str = Field(description="Where in the body, as a JSON pointer; a parameter's name outside of it.")
    line: int | None = Field(default=None, description="Line number in an NDJSON body, counted from 1.")


class OpenAiError(BaseModel):
    """The same failure in the words of the OpenAI API, so that its clients can read it."""

    message: str
    type: str
    param: str | None
    code: str


class Problem(BaseModel):
    """A failure, as RFC 9457 describes one."""

    type: str = Field(description="Names the kind of problem; stable.")
    title: str
    status: int
    detail: str
    instance: str = Field(description="The path that was asked for.")
    code: str = Field(description="Stable and short: branch on this.")
    errors: list[ProblemLine] | None = Field(default=None, description=f"At most {MAX_ERRORS_SHOWN} of them.")
    num_errors: int | None = Field(default=None, description="How many there are altogether.")
    error: OpenAiError


def install_error_handlers(app: FastAPI) -> None:
    """Send every exception of `app` through `problem_response`."""

    def own_error(request: Request, error: ApiError) -> Response:
        return problem_response(request, error)

    def invalid_parameters(request: Request, error: RequestValidationError) -> Response:
        return problem_response(request, from_fastapi(error.errors()))

    def http_error(request: Request, error: HTTPException) -> Response:
        problem = _from_starlette(error)
        if isinstance(problem, MethodNotAllowedError):
            problem.headers["Allow"] = ", ".join(_allowed_methods(app, request.scope))
        return problem_response(request, problem)

    def database_error(request: Request, error: Exception) -> Response:
        log_unexpected("database_error", error)
        retry_after = {"Retry-After": str(RETRY_AFTER_SECONDS)}
        return problem_response(
            request, UnavailableError("The database does not answer right now.", headers=retry_after)
        )

    app.exception_handler(ApiError)(own_error)
    app.exception_handler(RequestValidationError)(invalid_parameters)
    app.exception_handler(HTTPException)(http_error)
    for database_failure in DATABASE_ERRORS:
        app.exception_handler(database_failure)(database_error)


def problem_response(request: Request, error: ApiError) -> Response:
    """Write one failure, in the shape that the client reads."""
    headers = dict(error.headers)
    if error.should_retry is not None:
        headers["x-should-retry"] = str(error.should_retry).lower()
    if failures.is_spoken(request.scope):
        body: Mapping[str, object] = failures.failure_body(error, request_id())
        status, media_type = failures.status_of(error), failures.MEDIA_TYPE
    else:
        body, status, media_type = _problem(request, error), error.status, PROBLEM_MEDIA_TYPE
    content = json.dumps(body, ensure_ascii=False).encode(errors="replace")
    return Response(content, status_code=status, headers=headers, media_type=media_type)


def _problem(request: Request, error: ApiError) -> dict[str, object]:
    shown = [_shown(line_error) for line_error in error.errors[:MAX_ERRORS_SHOWN]]
    body: dict[str, object] = {
        "type": f"urn:padserve:problem:{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "instance": request.url.path,
        "code": error.code,
    }
    if shown:
        body |= {"errors": shown, "num_errors": error.num_errors}
    body["error"] = {
        "message": _message_with_errors(error),
        "type": OPENAI_TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "server_error"),  # noqa: PLR2004 - HTTP's own border
        "param": error.param,
        "code": error.code,
    }
    return body


def log_unexpected(event: str, error: BaseException) -> None:
    """Log where and what kind, never the message: database errors quote the values they were given."""
    log.error(event, error=type(error).__name__, where=places_of(error))


def request_id() -> str | None:
    """The id of the request that is being served (`api.http.requests`)."""
    named: str | None = structlog.contextvars.get_contextvars().get("request_id")
    return named


def _shown(error: LineError) -> dict[str, object]:
    place = {} if error.line is None else {"line": error.line}
    return {**place, "pointer": error.pointer, "code": error.code, "message": error.message}


def _message_with_errors(error: ApiError) -> str:
    """The detail and the first thing wrong: openai clients show this one string and nothing else."""
    if not error.errors:
        return error.detail
    first = error.errors[0]
    place = f"{first.pointer or 'the body'}" + ("" if first.line is None else f", line {first.line}")
    return f"{error.detail} First: {place}: {first.message_after_place}"


def from_fastapi(errors: Sequence[ErrorDetails]) -> ApiError:
    """FastAPI's findings in path, query, headers and body."""
    if any(details["type"] == "json_invalid" for details in errors):
        return MalformedBodyError()
    found = []
    for details in errors:
        location = list(details["loc"])
        kind = location.pop(0) if location else "body"
        place = json_pointer(location)
        message = sentence(details) if kind == "body" else f"{str(kind).capitalize()} parameter: {sentence(details)}"
        found.append(LineError(details["type"], message, place if kind == "body" else place.lstrip("/")))
    return InvalidRequestError(errors=found)


def _allowed_methods(app: FastAPI, scope: Scope) -> list[str]:
    """Every method that any route answers at this path; a router itself names those of the first route alone."""
    allowed = [
        method
        for method in METHODS
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in app.router.routes)
    ]
    return ["HEAD", *allowed] if "GET" in allowed else allowed


def _from_starlette(error: HTTPException) -> ApiError:
    known = STARLETTE_ERRORS.get(error.status_code)
    if known is not None:
        return known(headers=error.headers)
    if error.status_code < 500:  # noqa: PLR2004 - HTTP's own border
        return MalformedBodyError("The request cannot be read.", headers=error.headers)
    return UnavailableError(headers=error.headers)
