"""Every way a request can fail, as one tree: the docstring is the message, the class carries status and code.

How they are written to the wire is `api.http.problems`' business alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

PROBLEM_MEDIA_TYPE = "application/problem+json"
PROBLEM_SCHEMA = {"$ref": "#/components/schemas/Problem"}
MAX_POINTER_PART = 128
MAX_ERRORS_SHOWN = 100
MAX_ERRORS_BUILT = 1000
BRANCH_NAMES = frozenset({"[key]", "bool", "float", "int", "str"})
BRANCH_PREFIXES = ("constrained-", "dict[", "function-", "json-or-", "lax-or-", "list[", "literal[", "tagged-union[")
# Where pydantic's own wording says little to somebody who reads an HTTP answer.
SENTENCES = {
    "dict_type": "Must be a JSON object.",
    "extra_forbidden": "This field is not known here; check its spelling.",
    "finite_number": "Must be a finite number.",
    "list_type": "Must be a list.",
    "missing": "This field is required.",
    "model_type": "Must be a JSON object.",
    "string_too_long": "At most {max_length} characters are allowed.",
    "string_too_short": "At least {min_length} character(s) are needed.",
    "too_long": "At most {max_length} entries are allowed.",
    "too_short": "At least {min_length} are needed.",
}


@dataclass(frozen=True, slots=True)
class LineError:
    """One thing that is wrong with a body: where (a JSON pointer, and a line in NDJSON), and what to do about it."""

    code: str
    message: str
    pointer: str
    line: int | None = None

    @property
    def message_after_place(self) -> str:
        """The message for a sentence that has just named the place: a parameter is not named twice."""
        name = self.pointer.rpartition("/")[2]
        return self.message.removeprefix(f"`{name}`: ")


class ApiError(Exception):
    """The request failed."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Internal error"
    # None leaves the decision to the client's own rules, which go by status.
    should_retry: ClassVar[bool | None] = None

    def __init__(
        self,
        detail: str | None = None,
        *,
        errors: Sequence[LineError] = (),
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        num_errors: int | None = None,
    ) -> None:
        self.detail = detail or " ".join((type(self).__doc__ or "").split())
        self.errors = tuple(errors)
        self.num_errors = len(self.errors) if num_errors is None else num_errors
        self.param = param if param is not None else _first_field(self.errors)
        self.headers = dict(headers or {})
        super().__init__(self.detail)


class MalformedBodyError(ApiError):
    """The body is not JSON in UTF-8."""

    status = 400
    code = "malformed_body"
    title = "Malformed body"


class UnauthorizedError(ApiError):
    """A valid API key is needed: send it as `Authorization: Bearer <key>`, or as `X-Api-Key: <key>`."""

    status = 401
    code = "invalid_api_key"
    title = "Unauthorized"


class ForbiddenError(ApiError):
    """The API key lacks the scope that this request needs."""

    status = 403
    code = "insufficient_scope"
    title = "Forbidden"


class NotFoundError(ApiError):
    """There is nothing at this address."""

    status = 404
    code = "not_found"
    title = "Not found"


class NoMetricsError(NotFoundError):
    """Metrics are not shown here: set PADSERVE_METRICS_TOKEN, and send it as `Authorization: Bearer <token>`."""


class MetricsTokenError(UnauthorizedError):
    """The token of PADSERVE_METRICS_TOKEN is needed: send it as `Authorization: Bearer <token>`."""


class NoSuchProfileError(NotFoundError):
    """There is no profile of this user."""


class NoSuchVersionError(NotFoundError):
    """The profile of this user has no such version."""


class NoSuchJobError(NotFoundError):
    """There is no job under this id."""


class NoSuchModelError(NotFoundError):
    """There is no model of this name; `GET /v1/models` lists those there are."""


class MethodNotAllowedError(ApiError):
    """This path does not answer to that HTTP method."""

    status = 405
    code = "method_not_allowed"
    title = "Method not allowed"


class ConflictError(ApiError):
    """The request does not fit the present state of what it names."""

    status = 409
    code = "conflict"
    title = "Conflict"
    should_retry = False


class ConsentRequiredError(ConflictError):
    """The profile does not say `learn: true`: without the user's consent nothing is learnt, and nothing was stored."""

    code = "consent_required"
    title = "Consent required"


class ContradictingFeedbackError(ConflictError):
    """The user preferred the other text of a pair before, or in the same request; nothing was stored."""

    code = "feedback_contradicts"
    title = "Contradicting feedback"


class TooFewPrinciplesError(ConflictError):
    """The profile has fewer than two principles: there is nothing to weigh, and nothing was stored."""

    code = "too_few_principles"
    title = "Too few principles"


class ModelAmbiguousError(ConflictError):
    """Several models are served under this name: write `name@` and the first digits of the one's digest."""

    code = "model_ambiguous"
    title = "Model ambiguous"


class PreconditionFailedError(ApiError):
    """The stored state is not the one that the request's `If-Match` or `If-None-Match` asks for."""

    status = 412
    code = "precondition_failed"
    title = "Precondition failed"


class BodyTooLargeError(ApiError):
    """The body is larger than this server accepts."""

    status = 413
    code = "body_too_large"
    title = "Body too large"


class UnsupportedMediaTypeError(ApiError):
    """The body's `Content-Type` is not one that this endpoint reads."""

    status = 415
    code = "unsupported_media_type"
    title = "Unsupported media type"


class InvalidRequestError(ApiError):
    """The request is not valid; `errors` says where and why."""

    status = 422
    code = "invalid_request"
    title = "Invalid request"
    should_retry = False


class PolicyRequiredError(InvalidRequestError):
    """The model has no policy: use `contrast`, `mixture` or `prompt`, or serve a model with one (PADSERVE_POLICY)."""

    code = "policy_required"
    title = "Policy required"


class IdempotencyMismatchError(ApiError):
    """This Idempotency-Key was used before with another request."""

    status = 422
    code = "idempotency_key_reused"
    title = "Idempotency key reused"
    should_retry = False


class TooManyRequestsError(ApiError):
    """You have as many bulk requests under way as are served at a time; send this one again in a moment."""

    status = 429
    code = "too_many_requests"
    title = "Too many requests"


class UnavailableError(ApiError):
    """The service cannot answer right now; try again in a moment."""

    status = 503
    code = "unavailable"
    title = "Unavailable"


class OverloadedError(UnavailableError):
    """As many bulk requests are under way as are served at a time; send this one again in a moment."""

    code = "overloaded"
    title = "Overloaded"


class NoModelError(UnavailableError):
    """No worker has loaded a model yet; try again in a moment."""

    code = "no_model"
    title = "No model yet"


class Findings:
    """What is wrong with a long body: everything is counted, the first `MAX_ERRORS_SHOWN` are kept."""

    def __init__(self) -> None:
        self.shown: list[LineError] = []
        self.num_errors = 0

    def add(self, *errors: LineError) -> None:
        """Collect an error; beyond the bound it is only counted."""
        self.num_errors += len(errors)
        self.shown += errors[: MAX_ERRORS_SHOWN - len(self.shown)]

    def raise_if_any(self) -> None:
        """Refuse the body with `InvalidRequestError`, unless nothing was wrong."""
        if self.num_errors:
            raise InvalidRequestError(errors=self.shown, num_errors=self.num_errors)


def responses(
    *errors: type[ApiError], media_type: str = PROBLEM_MEDIA_TYPE, schema: Mapping[str, object] = PROBLEM_SCHEMA
) -> dict[int | str, dict[str, Any]]:
    """The errors an endpoint may answer with, in the form its route declares them."""
    declared: dict[int | str, dict[str, Any]] = {}
    for status in sorted({error.status for error in errors}):
        same = [error for error in errors if error.status == status]
        declared[status] = {
            "description": " ".join(f"`{error.code}`: {' '.join((error.__doc__ or '').split())}" for error in same),
            "content": {media_type: {"schema": schema}},
        }
    return declared


def line_errors(error: ValidationError, *, line: int | None = None, prefix: str = "") -> list[LineError]:
    """What a schema found wrong, in sentences. Never the value itself: it may be a user's text.

    Where it found more than anybody reads, that is all that is said: each sentence costs a hundred times its input.
    """
    if error.error_count() > MAX_ERRORS_BUILT:
        message = f"There are {error.error_count()} things wrong here: is it meant for another field, or service?"
        return [LineError(code="too_many_errors", message=message, pointer=prefix, line=line)]
    return [
        LineError(
            code=details["type"], message=sentence(details), pointer=prefix + json_pointer(details["loc"]), line=line
        )
        for details in error.errors(include_url=False, include_input=False)
    ]


def sentence(details: ErrorDetails) -> str:
    """One validation error as a sentence that says what to send instead."""
    ours = SENTENCES.get(details["type"])
    message = details["msg"] if ours is None else ours.format(**details.get("ctx", {}))
    message = (
        message.removeprefix("Value error, ").replace("Input should be", "Must be").replace("Input should", "Must")
    )
    return message if message.endswith(".") else f"{message}."


def json_pointer(location: Sequence[str | int]) -> str:
    """The JSON pointer (RFC 6901) of a pydantic location; the names pydantic gives to branches are not part of it."""
    parts = (str(part) for part in location if not _is_branch(part))
    return "".join("/" + part.replace("~", "~0").replace("/", "~1")[:MAX_POINTER_PART] for part in parts)


def _is_branch(part: str | int) -> bool:
    return isinstance(part, str) and (part in BRANCH_NAMES or part.startswith(BRANCH_PREFIXES))


def _first_field(errors: Sequence[LineError]) -> str | None:
    return errors[0].pointer.lstrip("/") or None if errors else None
