"""API keys in the database itself: made, listed, revoked and replaced. What is shown of one never holds its text."""

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import select
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.orm import Session

from db.models import ApiKey, Tenant
from db.queries import keys
from db.session import Database
from padserve.errors import PadserveError
from padserve.settings import Settings
from padserve.stack import database
from padserve.stack.home import Home

NO_KEY = "There is no active key {key}: `padserve keys list` shows what there is."
NO_DATABASE = "There is no database in {home} yet: run `padserve up` once, or set PADSERVE_DATABASE_URL."
NOT_MIGRATED = "The database has no tables yet: run `python -m db upgrade`."

Shown = dict[str, object]


def create(
    settings: Settings, *, tenant: str, name: str, scopes: Sequence[str], expires_at: dt.datetime | None
) -> tuple[Shown, str]:
    """A new key of a tenant, which is made if there is none of this name; what is shown of it, and its text."""
    with _database(settings) as opened, opened.transaction() as session:
        owner = keys.create_tenant(session, tenant)
        key, text = keys.create_key(session, owner.id, name, scopes, expires_at=expires_at)
        return _shown(key, tenant), text


def list_keys(settings: Settings) -> list[Shown]:
    """Every key in the database, without its text."""
    with _database(settings) as opened, opened.reading() as session:
        owners = {owner.id: owner.name for owner in session.scalars(select(Tenant))}
        return [_shown(key, owners[key.tenant_id]) for key in keys.list_keys(session)]


def revoke(settings: Settings, name: str) -> Shown:
    """Revoke a key, named by its prefix or id, now; returns what is shown of it then."""
    with _database(settings) as opened, opened.transaction() as session:
        key = _named(session, name)
        if not keys.revoke_key(session, key.id):
            raise PadserveError(NO_KEY.format(key=name))
        return {**_shown(key, _owner(session, key)), "state": "revoked"}


def rotate(settings: Settings, name: str, *, grace: dt.timedelta) -> tuple[Shown, str, Home | None]:
    """A new key in the place of one, which ends after `grace`; and the data folder whose own key it was, if any."""
    home = Home(settings.home)
    with _database(settings) as opened, opened.transaction() as session:
        old = _named(session, name)
        made, text = keys.create_key(session, old.tenant_id, old.name, old.scopes, expires_at=_as_long_as(old))
        kept = None if home.api_key is None else keys.caller_of(session, home.api_key)
        is_of_home = kept is not None and kept.id == old.id
        if grace:
            ends_at = dt.datetime.now(dt.UTC) + grace
            old.expires_at = ends_at if old.expires_at is None else min(old.expires_at, ends_at)
        else:
            keys.revoke_key(session, old.id)
        shown = _shown(made, _owner(session, old))
    if is_of_home:
        home.keep_api_key(text)
    return shown, text, home if is_of_home else None


def _as_long_as(old: ApiKey) -> dt.datetime | None:
    """When a key made now ends, if it is to live as long as another was to."""
    return None if old.expires_at is None else dt.datetime.now(dt.UTC) + (old.expires_at - old.created_at)


def _owner(session: Session, key: ApiKey) -> str:
    return session.scalars(select(Tenant.name).where(Tenant.id == key.tenant_id)).one()


def _named(session: Session, text: str) -> ApiKey:
    """The active key of this prefix or id."""
    active = [key for key in keys.list_keys(session) if key.revoked_at is None]
    found = [key for key in active if text in {key.prefix, str(key.id)}]
    if len(found) != 1 or not text:
        raise PadserveError(NO_KEY.format(key=text))
    return found[0]


@contextmanager
def _database(settings: Settings) -> Iterator[Database]:
    home = Home(settings.home)
    if settings.database_url is None and not home.database.exists():
        raise PadserveError(NO_DATABASE.format(home=home.path))
    try:
        with database.opened(settings.database_url or home.database_url) as opened:
            yield opened
    except (OperationalError, ProgrammingError) as error:
        raise PadserveError(NOT_MIGRATED) from error


def _shown(key: ApiKey, tenant: str) -> Shown:
    """What may be shown of a stored key and its tenant: everything but its text."""
    state = "active"
    if key.revoked_at is not None:
        state = "revoked"
    elif key.expires_at is not None:
        state = "active" if key.expires_at > dt.datetime.now(dt.UTC) else "expired"
    return {
        "id": str(key.id),
        "prefix": key.prefix,
        "tenant": tenant,
        "name": key.name,
        "scopes": list(key.scopes),
        "state": state,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
    }
