"""Stored answers: what was said to a request that carried an `Idempotency-Key`, and to which request."""

import datetime as dt
import uuid
from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.orm import Session

from db.conflicts import insert_or_ignore
from db.idempotency_models import IdempotencyRecord
from db.session import now
from domain.json_values import JsonObject

KEPT_FOR = dt.timedelta(hours=24)
PENDING = 0
"""The status of a key that is held by a transaction which has not answered yet; never committed."""


@dataclass(frozen=True, slots=True)
class RequestKey:
    """What a client calls one request: unique per tenant and route."""

    tenant_id: uuid.UUID
    route: str
    key: str
    request_digest: str
    """SHA-256 of what was sent: a key names one request, not two."""


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """The answer that was given, and the digest of the request it was given to."""

    request_digest: str
    status_code: int
    response: JsonObject


def find(session: Session, key: RequestKey) -> StoredAnswer | None:
    """The answer already given under this key, unless it has expired."""
    record = IdempotencyRecord
    row = session.execute(
        select(record.request_digest, record.status_code, record.response).where(
            *_named(key), record.expires_at > now(session)
        )
    ).one_or_none()
    return None if row is None else StoredAnswer(*row)


def hold(session: Session, key: RequestKey) -> bool:
    """Take the key for this transaction: false when another request has answered under it.

    A request that holds the same key at this moment is waited for, so of two parallel ones exactly one gets it.
    """
    moment = now(session)
    session.execute(delete(IdempotencyRecord).where(*_named(key), IdempotencyRecord.expires_at <= moment))
    statement = insert_or_ignore(session, IdempotencyRecord).values(
        tenant_id=key.tenant_id,
        route=key.route,
        key=key.key,
        request_digest=key.request_digest,
        status_code=PENDING,
        response={},
        created_at=moment,
        expires_at=moment + KEPT_FOR,
    )
    return session.execute(statement.returning(IdempotencyRecord.key)).one_or_none() is not None


def answer(session: Session, key: RequestKey, *, status_code: int, response: JsonObject) -> None:
    """Keep the answer under the key that this transaction holds."""
    session.execute(
        update(IdempotencyRecord).where(*_named(key)).values(status_code=status_code, response=response),
        execution_options={"synchronize_session": False},
    )


def forget(session: Session, key: RequestKey) -> None:
    """The request under this key came to nothing: it may be sent again."""
    session.execute(delete(IdempotencyRecord).where(*_named(key)))


def forget_expired(session: Session) -> None:
    """Remove the answers nobody may ask for any more."""
    session.execute(delete(IdempotencyRecord).where(IdempotencyRecord.expires_at <= now(session)))


def _named(key: RequestKey) -> tuple[ColumnElement[bool], ...]:
    record = IdempotencyRecord
    return (record.tenant_id == key.tenant_id, record.route == key.route, record.key == key.key)
