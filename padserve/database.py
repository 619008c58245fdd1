"""The database of a local stack, made ready before its API starts. Knows the one tenant and the one key it needs."""

from sqlalchemy.exc import IntegrityError

from db import schema
from db.queries import keys
from db.session import Database, DatabaseUnreachableError
from padserve.errors import StackError

TENANT = "default"
KEY_NAME = "padserve up"
KEY_SCOPES = ("admin",)
REVOKED = (
    "The API key that this stack uses was revoked: delete its api_key file for a new one, or set PADSERVE_API_KEY."
)


def prepare(url: str, api_key: str | None) -> str:
    """Migrate, and see to it that the tenant and the key exist; returns the key, a new one where none was given."""
    database = Database(url)
    try:
        database.check()
        schema.upgrade(database)
        return _ensure_key(database, api_key)
    except DatabaseUnreachableError as error:
        raise StackError(str(error)) from error
    finally:
        database.dispose()


def _ensure_key(database: Database, api_key: str | None) -> str:
    try:
        with database.transaction() as session:
            if api_key is not None and keys.caller_of(session, api_key) is not None:
                return api_key
            tenant = keys.create_tenant(session, TENANT)
            _, text = keys.create_key(session, tenant.id, KEY_NAME, KEY_SCOPES, secret=api_key)
            return text
    except IntegrityError as error:
        raise StackError(REVOKED) from error
