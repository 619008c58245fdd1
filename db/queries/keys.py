"""Tenants and their API keys. Only the SHA-256 of a key is stored; its text is returned once, by `create_key`."""

import datetime as dt
import hashlib
import secrets
import uuid
from collections.abc import Collection, Sequence
from functools import cache

from sqlalchemy import ColumnElement, Select, bindparam, or_, select, update
from sqlalchemy.orm import Session

from db.base import new_id
from db.conflicts import insert_or_ignore
from db.models import ApiKey, Tenant
from db.session import clock, now
from domain.states import UnknownUsers

PREFIX_BYTES = 6
SECRET_BYTES = 32


def create_tenant(session: Session, name: str) -> Tenant:
    """The tenant of this name, made if there is none."""
    session.execute(insert_or_ignore(session, Tenant).values(id=new_id(), name=name, created_at=now(session)))
    return session.scalars(select(Tenant).where(Tenant.name == name)).one()


def set_weight(session: Session, name: str, weight: float) -> bool:
    """Change a tenant's share of the workers (`db.queries.fairness`). False when there is no tenant of this name."""
    weighed = update(Tenant).where(Tenant.name == name).values(weight=weight).returning(Tenant.id)
    return session.execute(weighed, execution_options={"synchronize_session": False}).one_or_none() is not None


def set_unknown_users(session: Session, name: str, choice: UnknownUsers | None) -> bool:
    """What a tenant's requests for users without a profile become; None as the deployment has it. False as above."""
    chosen = update(Tenant).where(Tenant.name == name).values(unknown_users=choice).returning(Tenant.id)
    return session.execute(chosen, execution_options={"synchronize_session": False}).one_or_none() is not None


def refuses_unknown_users(session: Session, tenant_id: uuid.UUID, default: UnknownUsers) -> bool:
    """Whether the tenant has requests for users without a profile refused; `default` where it has not chosen."""
    chosen = session.scalars(select(Tenant.unknown_users).where(Tenant.id == tenant_id)).one_or_none()
    return (chosen or default) is UnknownUsers.REFUSE


def create_key(
    session: Session,
    tenant_id: uuid.UUID,
    name: str,
    scopes: Sequence[str],
    *,
    secret: str | None = None,
    expires_at: dt.datetime | None = None,
) -> tuple[ApiKey, str]:
    """A new key and its text. `secret` gives the text instead of drawing it, for keys that come from a secret store."""
    text = secret or _new_secret()
    key = ApiKey(
        tenant_id=tenant_id,
        name=name,
        prefix=_prefix(text),
        digest=_digest(text),
        scopes=sorted(set(scopes)),
        created_at=now(session),
        expires_at=expires_at,
    )
    session.add(key)
    session.flush()
    return key, text


def caller_of(session: Session, secret: str) -> ApiKey | None:
    """The key with this text, unless it is unknown, expired or revoked."""
    return session.scalars(_valid_key(), {"the_digest": _digest(secret)}).one_or_none()


def valid_among(session: Session, key_ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
    """Which of these keys are neither expired nor revoked."""
    return set(session.scalars(select(ApiKey.id).where(ApiKey.id.in_(key_ids), *is_valid())))


@cache  # every request asks
def _valid_key() -> Select[ApiKey]:
    return select(ApiKey).where(ApiKey.digest == bindparam("the_digest"), *is_valid())


def is_valid() -> tuple[ColumnElement[bool], ...]:
    """What holds of a key that is neither expired nor revoked."""
    return ApiKey.revoked_at.is_(None), or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > clock())


def revoke_key(session: Session, key_id: uuid.UUID) -> bool:
    """End a key. False when there is no such key, or it was revoked before."""
    revoked = session.execute(
        update(ApiKey)
        .where(ApiKey.id == key_id, ApiKey.revoked_at.is_(None))
        .values(revoked_at=now(session))
        .returning(ApiKey.id)
    )
    return revoked.one_or_none() is not None


def list_keys(session: Session, tenant_id: uuid.UUID | None = None) -> Sequence[ApiKey]:
    """Every key of a tenant, or of all tenants, the oldest first."""
    query = select(ApiKey).order_by(ApiKey.id)
    return session.scalars(query if tenant_id is None else query.where(ApiKey.tenant_id == tenant_id)).all()


def _new_secret() -> str:
    return f"pad_{secrets.token_hex(PREFIX_BYTES)}_{secrets.token_urlsafe(SECRET_BYTES)}"


def _prefix(text: str) -> str:
    """The part of a key that may be shown again; a text in another form shows nothing of itself."""
    parts = text.split("_", 2)
    is_ours = len(parts) == 3 and parts[0] == "pad"  # noqa: PLR2004 - pad, prefix, secret
    return parts[1][:16] if is_ours else ""


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
