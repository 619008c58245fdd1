"""The database as the local stack and the key commands open it: migrated, and with a first tenant and key."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import ArgumentError, IntegrityError, OperationalError

from db import schema
from db.queries import keys
from db.session import Database, DatabaseUnreachableError, first_line, normalise_url
from padserve.errors import PadserveError

TENANT = "default"
KEY_NAME = "padserve up"
KEY_SCOPES = ("admin",)
NOT_PREPARED = "The database cannot be made ready: {reason}."
REVOKED = "This stack's API key was revoked: delete its api_key file for a new one, or set PADSERVE_API_KEY."


def missing_file(url: str) -> Path | None:
    """The file of an SQLite database, where there is none yet: opening it would make it. None for every other URL."""
    try:
        named = normalise_url(url)
    except ArgumentError:
        return None
    name = named.database
    if named.get_backend_name() != "sqlite" or not name or name == ":memory:" or name.startswith("file:"):
        return None
    return None if Path(name).exists() else Path(name)


@contextmanager
def opened(url: str) -> Iterator[Database]:
    """The database if it answers, closed with the block; otherwise `PadserveError` in one line."""
    try:
        database = Database(url, pool_size=1)
    except DatabaseUnreachableError as error:
        raise PadserveError(str(error)) from error
    try:
        database.check()
        yield database
    except DatabaseUnreachableError as error:
        raise PadserveError(str(error)) from error
    finally:
        database.dispose()


def prepare(url: str, api_key: str | None) -> str:
    """Migrate, and see to it that the tenant and the key exist; returns the key, a new one where none was given."""
    with opened(url) as database:
        try:
            schema.upgrade(database)
            with database.transaction() as session:
                if api_key is not None and keys.caller_of(session, api_key) is not None:
                    return api_key
                tenant = keys.create_tenant(session, TENANT)
                return keys.create_key(session, tenant.id, KEY_NAME, KEY_SCOPES, secret=api_key)[1]
        except IntegrityError as error:
            raise PadserveError(REVOKED) from error
        except OperationalError as error:
            raise PadserveError(NOT_PREPARED.format(reason=first_line(error))) from error
