"""What can go wrong for people who use padserve. Every message is one readable line; lists carry the rest."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self


class PadserveError(Exception):
    """Something padserve could not do; the message says what, in words for the person who asked."""


class SettingsError(PadserveError):
    """A `PADSERVE_*` variable is unknown or cannot be read."""


class StackError(PadserveError):
    """The local stack cannot start or go on; `log_lines` is the end of what the lost process wrote."""

    def __init__(self, message: str, log_lines: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.log_lines = tuple(log_lines)


class UnreachableError(PadserveError):
    """No server answers at the address."""


class UnreadableAnswerError(PadserveError):
    """What answers at the address does not answer as a padserve server does."""


class JobTimeoutError(PadserveError):
    """A job did not end within the time that the caller was ready to wait."""


class IncompleteResultsError(PadserveError):
    """The job has not ended, so that not all of its results are there."""


class ComparisonError(PadserveError):
    """The texts of a comparison were not written: nobody serves the model, or the job was stopped."""


class SourceError(PadserveError):
    """What was to be submitted or imported cannot be read on this side."""


@dataclass(frozen=True, slots=True)
class LineError:
    """One thing that is wrong with a submitted body: where it is, and what."""

    message: str
    line: int | None = None
    pointer: str | None = None
    code: str | None = None
    column: str | None = None
    """Of a table, where it has one: then it is what people look for."""

    def __str__(self) -> str:
        column = None if self.column is None else f"column {self.column}"
        places = (None if self.line is None else f"line {self.line}", column or self.pointer)
        where = ", ".join(place for place in places if place)
        return f"{where}: {self.message}" if where else self.message


class ApiError(PadserveError):
    """The server refused a request: `status` and the stable `code` say why, `errors` lists every line that is wrong."""

    def __init__(
        self,
        detail: str,
        *,
        status: int,
        code: str,
        errors: tuple[LineError, ...] = (),
        num_errors: int | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status
        self.code = code
        self.errors = errors
        self.num_errors = len(errors) if num_errors is None else num_errors  # the server lists the first hundred
        self.request_id = request_id

    def moved(self, place: Callable[[LineError], LineError]) -> Self:
        """The same error, each part with the place that `place` gives it: a flag's name for a JSON pointer, say."""
        return type(self)(
            place(LineError(self.detail)).message,
            status=self.status,
            code=self.code,
            errors=tuple(map(place, self.errors)),
            num_errors=self.num_errors,
            request_id=self.request_id,
        )


class InvalidRequestError(ApiError):
    """The request is wrong; nothing was stored (400, 413, 415, 422)."""


class AuthenticationError(ApiError):
    """The API key is missing, unknown, expired, or lacks the scope (401, 403)."""


class NotFoundError(ApiError):
    """Nothing has this id, or it is another tenant's (404)."""


class ConflictError(ApiError):
    """The state or the version of the thing does not allow it (409, 412, 428)."""


class RateLimitedError(ApiError):
    """Too much at once; the server said so after every retry (429)."""


class ServerError(ApiError):
    """The server failed (5xx)."""


_BY_STATUS: dict[int, type[ApiError]] = {
    401: AuthenticationError,
    403: AuthenticationError,
    404: NotFoundError,
    409: ConflictError,
    412: ConflictError,
    428: ConflictError,
    429: RateLimitedError,
}
_SERVER_ERRORS = 500


def error_for(status: int) -> type[ApiError]:
    """The class of error that stands for an HTTP status."""
    return _BY_STATUS.get(status, ServerError if status >= _SERVER_ERRORS else InvalidRequestError)
