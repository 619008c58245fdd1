"""Webhooks: where a tenant wants to be told of what, and what signs it. Deliveries are in `db.queries.deliveries`."""

import base64
import datetime as dt
import secrets
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from typing import cast

from sqlalchemy import ColumnElement, delete, func, insert, select, update
from sqlalchemy.orm import Session

from db.base import new_id
from db.models import Tenant
from db.session import clock, now
from db.webhook_models import Webhook, WebhookTopic
from domain.json_values import JsonObject

SECRET_PREFIX = "whsec_"  # noqa: S105 - what every secret begins with
SECRET_BYTES = 32
OVERLAP_SECONDS = 86_400
"""How long a secret signs beside the one that has replaced it."""
MAX_RETIRED_SECRETS = 4

_UNSYNCHRONISED = {"synchronize_session": False}


@dataclass(frozen=True, slots=True)
class WebhookRecord:
    """One webhook, without its secrets."""

    id: uuid.UUID
    url: str
    description: str
    event_types: tuple[str, ...]
    is_enabled: bool
    disabled_reason: str | None
    failing_since: dt.datetime | None
    created_at: dt.datetime
    updated_at: dt.datetime


def create_webhook(
    session: Session, *, tenant_id: uuid.UUID, url: str, description: str, event_types: Collection[str], limit: int
) -> tuple[uuid.UUID, str] | None:
    """Store a webhook; its id and its secret, which is shown this once. None where the tenant has as many as it may."""
    session.execute(select(Tenant.id).where(Tenant.id == tenant_id).with_for_update(key_share=True))  # one at a time
    num_webhooks = session.scalars(select(func.count()).where(Webhook.tenant_id == tenant_id)).one()
    if num_webhooks >= limit:
        return None
    webhook_id, secret = new_id(), new_secret()
    session.execute(
        insert(Webhook).values(
            id=webhook_id,
            tenant_id=tenant_id,
            url=url,
            description=description,
            secret=secret,
            retired_secrets=[],
            created_at=clock(),
            updated_at=clock(),
        )
    )
    _set_topics(session, webhook_id, event_types)
    return webhook_id, secret


def find_webhook(session: Session, *, tenant_id: uuid.UUID, webhook_id: uuid.UUID) -> WebhookRecord | None:
    """The tenant's webhook under this id."""
    found = session.scalars(select(Webhook).where(*_of(tenant_id, webhook_id))).one_or_none()
    return None if found is None else _records(session, [found])[0]


def list_webhooks(session: Session, *, tenant_id: uuid.UUID) -> list[WebhookRecord]:
    """The tenant's webhooks, the oldest first; they are few."""
    found = session.scalars(select(Webhook).where(Webhook.tenant_id == tenant_id).order_by(Webhook.id))
    return _records(session, found.all())


def change_webhook(
    session: Session,
    *,
    tenant_id: uuid.UUID,
    webhook_id: uuid.UUID,
    columns: dict[str, object],
    event_types: Collection[str] | None,
) -> bool:
    """Change some of a webhook; False when the tenant has none of this id. A new address has never failed."""
    is_anew = "url" in columns or columns.get("is_enabled") is not None
    anew: dict[str, object] = {"failing_since": None, "disabled_reason": None} if is_anew else {}
    changed = update(Webhook).where(*_of(tenant_id, webhook_id)).values(**columns, **anew, updated_at=clock())
    if session.execute(changed.returning(Webhook.id), execution_options=_UNSYNCHRONISED).one_or_none() is None:
        return False
    if event_types is not None:
        session.execute(delete(WebhookTopic).where(WebhookTopic.webhook_id == webhook_id))
        _set_topics(session, webhook_id, event_types)
    return True


def delete_webhook(session: Session, *, tenant_id: uuid.UUID, webhook_id: uuid.UUID) -> bool:
    """Remove a webhook with its deliveries; False when the tenant has none of this id."""
    gone = delete(Webhook).where(*_of(tenant_id, webhook_id)).returning(Webhook.id)
    return session.execute(gone, execution_options=_UNSYNCHRONISED).one_or_none() is not None


def rotate_secret(session: Session, *, tenant_id: uuid.UUID, webhook_id: uuid.UUID) -> str | None:
    """Give a webhook a new secret, which is returned this once; the old one signs beside it for a day.

    None when the tenant has no webhook of this id. Of many rotations in a day the oldest secrets end early.
    """
    held = select(Webhook).where(*_of(tenant_id, webhook_id)).with_for_update()
    webhook = session.scalars(held).one_or_none()
    if webhook is None:
        return None
    moment = now(session)
    until = (moment + dt.timedelta(seconds=OVERLAP_SECONDS)).timestamp()
    retired: list[JsonObject] = [{"secret": webhook.secret, "until": until}, *_unended(webhook.retired_secrets, moment)]
    webhook.secret, webhook.retired_secrets = new_secret(), retired[:MAX_RETIRED_SECRETS]
    webhook.updated_at = moment
    return webhook.secret


def signing_secrets(secret: str, retired: list[JsonObject], moment: dt.datetime) -> tuple[str, ...]:
    """The secrets that sign at this moment, the newest first."""
    return secret, *(str(each["secret"]) for each in _unended(retired, moment))


def new_secret() -> str:
    """As Standard Webhooks writes a symmetric secret."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def _unended(retired: list[JsonObject], moment: dt.datetime) -> list[JsonObject]:
    return [each for each in retired if cast("float", each["until"]) > moment.timestamp()]


def _of(tenant_id: uuid.UUID, webhook_id: uuid.UUID) -> tuple[ColumnElement[bool], ...]:
    return (Webhook.tenant_id == tenant_id, Webhook.id == webhook_id)


def _set_topics(session: Session, webhook_id: uuid.UUID, event_types: Collection[str]) -> None:
    rows = [{"webhook_id": webhook_id, "event_type": str(each)} for each in sorted(set(event_types))]
    session.execute(insert(WebhookTopic), rows)


def _records(session: Session, found: Collection[Webhook]) -> list[WebhookRecord]:
    webhooks = list(found)
    ids = [webhook.id for webhook in webhooks]
    topics = session.execute(
        select(WebhookTopic.webhook_id, WebhookTopic.event_type)
        .where(WebhookTopic.webhook_id.in_(ids))
        .order_by(WebhookTopic.event_type)
    ).all()
    return [
        WebhookRecord(
            id=webhook.id,
            url=webhook.url,
            description=webhook.description,
            event_types=tuple(each for owner, each in topics if owner == webhook.id),
            is_enabled=webhook.is_enabled,
            disabled_reason=webhook.disabled_reason,
            failing_since=webhook.failing_since,
            created_at=webhook.created_at,
            updated_at=webhook.updated_at,
        )
        for webhook in webhooks
    ]
