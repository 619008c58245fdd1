"""Which errors of a database pass by themselves, and which would come again however long one waits. Decides only."""

from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    NotSupportedError,
    ProgrammingError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from db.session import DatabaseUnreachableError

# A table, a column or a schema that is not there yet, a right that is not granted yet, a statement prepared twice
# behind a pooler: somebody is migrating or repairing this database.
_PASSING_STATES = frozenset({"42P01", "42703", "3F000", "42501", "42P05"})
_TOO_LARGE = "54"  # the class of "program limit exceeded", which drivers call operational


def is_passing(error: BaseException) -> bool:
    """Whether the same work may succeed later: anything but an error of a statement's own content.

    True of a database that is away, read-only, full, starting, migrated or deadlocked, and of a pool that is empty.
    """
    if isinstance(error, (DatabaseUnreachableError, PoolTimeoutError)):
        return True
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    state = sqlstate(error) or ""
    if isinstance(error, ProgrammingError):
        return state in _PASSING_STATES
    return not (isinstance(error, (DataError, IntegrityError, NotSupportedError)) or state.startswith(_TOO_LARGE))


def sqlstate(error: BaseException) -> str | None:
    """PostgreSQL's code for what went wrong, where there is one."""
    state = getattr(getattr(error, "orig", None), "sqlstate", None)
    return state if isinstance(state, str) else None


def describe(error: BaseException) -> dict[str, str]:
    """What a log line may say of an error: its kind, never its text, which may hold a prompt."""
    if isinstance(error, DatabaseUnreachableError):
        return {"reason": str(error)}
    said = {"reason": type(getattr(error, "orig", None) or error).__name__}
    return said | ({"sqlstate": state} if (state := sqlstate(error)) else {})
