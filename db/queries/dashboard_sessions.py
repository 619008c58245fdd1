"""Who is signed in to the dashboard. A session ends with its key: one that is revoked or expired finds nobody."""

import datetime as dt
import hashlib
import secrets
import uuid
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, insert, or_, select, update
from sqlalchemy.orm import Session

from db.dashboard_models import DashboardSession
from db.models import ApiKey, Tenant
from db.queries.keys import is_valid
from db.session import clock, now

LIFE_SECONDS = 7 * 24 * 3600.0
IDLE_SECONDS = 12 * 3600.0
"""A session that asks for nothing for so long has ended."""
SEEN_SECONDS = 60.0
"""How exactly it is known when a session was last seen."""
TOKEN_BYTES = 32


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session that is valid now, and its key."""

    key_id: uuid.UUID
    key_name: str
    tenant_id: uuid.UUID
    tenant: str
    scopes: tuple[str, ...]
    csrf_secret: str
    must_be_noted: bool
    """It was last seen more than `SEEN_SECONDS` ago: `note_seen` is due."""


def begin(session: Session, key_id: uuid.UUID) -> str:
    """A new session by this key; returns its token. Those that have ended are removed on the way."""
    moment = now(session)
    _remove_ended(session, moment)
    token = secrets.token_urlsafe(TOKEN_BYTES)
    session.execute(
        insert(DashboardSession).values(
            token_digest=_digest(token),
            key_id=key_id,
            csrf_secret=secrets.token_hex(TOKEN_BYTES),
            created_at=moment,
            seen_at=moment,
            expires_at=moment + dt.timedelta(seconds=LIFE_SECONDS),
        )
    )
    return token


def find(session: Session, token: str) -> SignedIn | None:
    """Who has this token; None where the session or its key has ended."""
    row = session.execute(
        select(
            *(ApiKey.id, ApiKey.name, ApiKey.tenant_id, Tenant.name, ApiKey.scopes),
            *(DashboardSession.csrf_secret, DashboardSession.seen_at < clock(-SEEN_SECONDS)),
        )
        .join(ApiKey, ApiKey.id == DashboardSession.key_id)
        .join(Tenant, Tenant.id == ApiKey.tenant_id)
        .where(DashboardSession.token_digest == _digest(token), *_is_open())
    ).one_or_none()
    if row is None:
        return None
    key_id, key_name, tenant_id, tenant, scopes, csrf_secret, must_be_noted = row
    return SignedIn(key_id, key_name, tenant_id, tenant, tuple(scopes), csrf_secret, bool(must_be_noted))


def valid_among(session: Session, tokens: Collection[str]) -> set[str]:
    """By which of these tokens somebody is signed in."""
    by_digest = {_digest(token): token for token in tokens}
    found = (
        select(DashboardSession.token_digest)
        .join(ApiKey, ApiKey.id == DashboardSession.key_id)
        .where(DashboardSession.token_digest.in_(by_digest), *_is_open())
    )
    return {by_digest[digest] for digest in session.scalars(found)}


def note_seen(session: Session, token: str) -> None:
    """The session has just asked for something."""
    seen = update(DashboardSession).where(DashboardSession.token_digest == _digest(token)).values(seen_at=clock())
    session.execute(seen, execution_options={"synchronize_session": False})


def end(session: Session, token: str) -> None:
    """Nobody is signed in by this token any more."""
    session.execute(delete(DashboardSession).where(DashboardSession.token_digest == _digest(token)))


def _is_open() -> tuple[ColumnElement[bool], ...]:
    """What holds of a session that has not ended, joined with its key."""
    return DashboardSession.expires_at > clock(), DashboardSession.seen_at > clock(-IDLE_SECONDS), *is_valid()


def _remove_ended(session: Session, moment: dt.datetime) -> None:
    is_idle = DashboardSession.seen_at < moment - dt.timedelta(seconds=IDLE_SECONDS)
    ended = delete(DashboardSession).where(or_(DashboardSession.expires_at < moment, is_idle))
    session.execute(ended, execution_options={"synchronize_session": False})


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
