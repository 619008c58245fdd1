"""Failures in Anthropic's shape, for requests to its routes and for clients that say its version. Pure values."""

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, Field
from starlette.datastructures import Headers
from starlette.types import Scope

from api.http.addresses import path_in
from api.http.errors import MAX_ERRORS_SHOWN, ApiError, LineError, OverloadedError
from domain.json_values import JsonObject

ROUTES = "/v1/messages"
MEDIA_TYPE = "application/json"
VERSION_HEADER = "anthropic-version"
REQUEST_ID_HEADER = "request-id"
OVERLOADED = 529
TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    OVERLOADED: "overloaded_error",
}
SERVER_ERRORS_FROM = 500
MAX_ERRORS_SAID = 10
"""In the one sentence that most clients show."""


class Wrong(BaseModel):
    """One thing that is wrong with a request."""

    code: str
    message: str
    param: str | None = Field(description="Where: `requests.0.params.max_tokens`.")


class Details(BaseModel):
    """What programs read of a failure."""

    error_code: str = Field(description="Stable and short: branch on this.")
    errors: list[Wrong] | None = Field(default=None, description=f"At most {MAX_ERRORS_SHOWN} of them.")
    num_errors: int | None = Field(default=None, description="How many there are altogether.")


class FailureError(BaseModel):
    """The `error` member of a failure: its type, message and details."""

    type: str
    message: str
    details: Details


class Failure(BaseModel):
    """A failure, as Anthropic describes one."""

    type: Literal["error"]
    error: FailureError
    request_id: str | None


DOCUMENTED_SCHEMAS: tuple[type[BaseModel], ...] = (Failure,)


def is_spoken(scope: Scope) -> bool:
    """Whether the client expects Anthropic's shapes."""
    path = path_in(scope)
    return path == ROUTES or path.startswith(f"{ROUTES}/") or VERSION_HEADER in Headers(scope=scope)


def status_of(error: ApiError) -> int:
    """The HTTP status of a failure, as Anthropic has it."""
    return OVERLOADED if type(error) is OverloadedError else error.status


def failure_body(error: ApiError, request_id: str | None) -> JsonObject:
    """One failure, with everything that is wrong in `error.details.errors`."""
    details: JsonObject = {"error_code": error.code}
    if error.errors:
        shown = [_shown(each) for each in error.errors[:MAX_ERRORS_SHOWN]]
        details |= {"errors": shown, "num_errors": error.num_errors}
    return {"type": "error", "error": error_object(kind_of(status_of(error)), _said(error), details)} | {
        "request_id": request_id
    }


def error_object(kind: str, message: str | None, details: JsonObject) -> JsonObject:
    """What is wrong: its kind in Anthropic's words, a sentence, and our stable code."""
    return {"type": kind, "message": message, "details": details}


def kind_of(status: int) -> str:
    """Anthropic's name for failures of this status."""
    return TYPES.get(status, "invalid_request_error" if status < SERVER_ERRORS_FROM else "api_error")


def _said(error: ApiError) -> str:
    if not error.errors:
        return error.detail
    said = [_sentence(each) for each in error.errors[:MAX_ERRORS_SAID]]
    if error.num_errors > len(said):
        said.append(f"There are {error.num_errors} errors altogether.")
    return " ".join(said)


def _sentence(error: LineError) -> str:
    place = _dotted(error.pointer)
    return f"{place}: {error.message_after_place}" if place else error.message


def _shown(error: LineError) -> JsonObject:
    return {"code": error.code, "message": error.message, "param": _dotted(error.pointer) or None}


def _dotted(pointer: str) -> str:
    """A JSON pointer as Anthropic writes places: `requests.0.params.max_tokens`."""
    parts: Sequence[str] = pointer.removeprefix("/").split("/")
    return ".".join(part.replace("~1", "/").replace("~0", "~") for part in parts)
