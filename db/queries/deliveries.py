"""Deliveries of events: claiming those that are due, noting what became of an attempt, the log, and replays.

Senders of any number of processes claim from one queue. A claim counts an attempt and puts the next one off for as long
as an attempt may take; whoever died meanwhile has then left the delivery to others. What is noted names its attempt,
so that a late word of an earlier one changes nothing.
"""

import datetime as dt
import uuid
from dataclasses import dataclass

from sqlalchemy import delete, exists, select, update
from sqlalchemy.orm import Session

from db.queries.webhooks import signing_secrets
from db.session import clock, now
from db.webhook_models import Webhook, WebhookDelivery
from domain.states import DeliveryState

ATTEMPT_SECONDS = 60.0
"""When an attempt counts as lost; a sender gives up long before."""
FAILING_SECONDS = 2 * 86_400
"""A webhook to which nothing was delivered for so long is disabled when a delivery is given up."""
KEPT_SECONDS = 30 * 86_400
"""How long the log of a delivery is kept once it has ended."""
ROWS_PER_BATCH = 1000

_UNSYNCHRONISED = {"synchronize_session": False}
_PENDING = WebhookDelivery.state == DeliveryState.PENDING


@dataclass(frozen=True, slots=True)
class DueWebhook:
    """A webhook for which something is due."""

    id: uuid.UUID
    tenant_id: uuid.UUID


@dataclass(frozen=True, slots=True)
class ClaimedDelivery:
    """What an attempt needs: no row is held while it is under way."""

    id: int
    attempt: int
    num_tries: int
    """How often it was tried since it was recorded or replayed, this attempt included."""
    webhook_id: uuid.UUID
    tenant_id: uuid.UUID
    url: str
    secrets: tuple[str, ...]
    event_id: uuid.UUID
    payload: str


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """One entry of a webhook's log."""

    id: int
    event_id: uuid.UUID
    event_type: str
    payload: str
    state: DeliveryState
    attempt: int
    next_attempt_at: dt.datetime | None
    attempted_at: dt.datetime | None
    status_code: int | None
    fault: str | None
    created_at: dt.datetime
    ended_at: dt.datetime | None


def due_webhooks(session: Session) -> list[DueWebhook]:
    """The enabled webhooks for which something is due; costs a look into an index for each webhook there is."""
    is_due = exists().where(
        WebhookDelivery.webhook_id == Webhook.id, _PENDING, WebhookDelivery.next_attempt_at <= clock()
    )
    found = session.execute(select(Webhook.id, Webhook.tenant_id).where(Webhook.is_enabled, is_due))
    return [DueWebhook(*row) for row in found]


def claim(session: Session, webhook_id: uuid.UUID, *, limit: int) -> list[ClaimedDelivery]:
    """Take what is due for a webhook, the longest due first; what another sender has just taken is passed over."""
    is_due = (WebhookDelivery.webhook_id == webhook_id, _PENDING, WebhookDelivery.next_attempt_at <= clock())
    due = select(WebhookDelivery.id).where(*is_due).order_by(WebhookDelivery.next_attempt_at, WebhookDelivery.id)
    ids = session.scalars(due.limit(limit).with_for_update(skip_locked=True)).all()
    if not ids:
        return []
    moment = now(session)
    claimed = session.execute(
        update(WebhookDelivery)
        .where(WebhookDelivery.id.in_(ids))
        .values(attempt=WebhookDelivery.attempt + 1, attempted_at=moment, next_attempt_at=clock(ATTEMPT_SECONDS))
        .returning(
            *(WebhookDelivery.id, WebhookDelivery.attempt, WebhookDelivery.attempts_before),
            *(WebhookDelivery.event_id, WebhookDelivery.payload),
        ),
        execution_options=_UNSYNCHRONISED,
    ).all()
    webhook = session.execute(
        select(Webhook.tenant_id, Webhook.url, Webhook.secret, Webhook.retired_secrets).where(Webhook.id == webhook_id)
    ).one()
    secrets = signing_secrets(webhook.secret, webhook.retired_secrets, moment)
    return [
        ClaimedDelivery(
            *(row.id, row.attempt, row.attempt - row.attempts_before, webhook_id, webhook.tenant_id),
            *(webhook.url, secrets, row.event_id, row.payload),
        )
        for row in sorted(claimed)
    ]


def succeed(session: Session, delivery: ClaimedDelivery, status_code: int) -> None:
    """Note that the receiver has taken the event, which ends the delivery."""
    values = {"state": DeliveryState.DELIVERED, "next_attempt_at": None, "ended_at": clock()}
    if _note(session, delivery, {**values, "status_code": status_code, "fault": None}):
        well = update(Webhook).where(Webhook.id == delivery.webhook_id, Webhook.failing_since.is_not(None))
        session.execute(well.values(failing_since=None), execution_options=_UNSYNCHRONISED)


def postpone(
    session: Session, delivery: ClaimedDelivery, *, status_code: int | None, fault: str, seconds: float
) -> None:
    """The attempt failed; the next one is in so many seconds."""
    values: dict[str, object] = {"next_attempt_at": clock(seconds), "status_code": status_code, "fault": fault}
    if _note(session, delivery, values):
        _note_failing(session, delivery)


def give_up(
    session: Session, delivery: ClaimedDelivery, *, status_code: int | None, fault: str, disables: str | None = None
) -> str | None:
    """The last attempt failed. The webhook is disabled for the reason given, or where it has failed for long.

    Returns the reason where this has disabled it.
    """
    values = {"state": DeliveryState.FAILED, "next_attempt_at": None, "ended_at": clock()}
    if not _note(session, delivery, {**values, "status_code": status_code, "fault": fault}):
        return None
    _note_failing(session, delivery)
    of_webhook = [Webhook.id == delivery.webhook_id, Webhook.is_enabled]
    if disables is None:
        of_webhook.append(Webhook.failing_since <= clock(-FAILING_SECONDS))
        disables = f"Nothing could be delivered for {FAILING_SECONDS // 86_400} days. Last: {fault}"
    disabled = update(Webhook).where(*of_webhook).values(is_enabled=False, disabled_reason=disables, updated_at=clock())
    done = session.execute(disabled.returning(Webhook.id), execution_options=_UNSYNCHRONISED).one_or_none()
    return None if done is None else disables


def list_deliveries(
    session: Session, *, webhook_id: uuid.UUID, limit: int, after: int | None = None, state: DeliveryState | None = None
) -> list[DeliveryRecord]:
    """A webhook's deliveries, the newest first, older than `after`."""
    statement = select(WebhookDelivery).where(WebhookDelivery.webhook_id == webhook_id)
    if after is not None:
        statement = statement.where(WebhookDelivery.id < after)
    if state is not None:
        statement = statement.where(WebhookDelivery.state == state)
    rows = session.scalars(statement.order_by(WebhookDelivery.id.desc()).limit(limit))
    return [_record(row) for row in rows]


def find_delivery(session: Session, *, webhook_id: uuid.UUID, delivery_id: int) -> DeliveryRecord | None:
    """One of a webhook's deliveries."""
    of_both = (WebhookDelivery.webhook_id == webhook_id, WebhookDelivery.id == delivery_id)
    row = session.scalars(select(WebhookDelivery).where(*of_both)).one_or_none()
    return None if row is None else _record(row)


def replay(session: Session, *, webhook_id: uuid.UUID, delivery_id: int) -> bool:
    """Have an event delivered now, as if for the first time, under the same id. False when there is no such delivery.

    An attempt that is under way goes on, and its end is not noted any more.
    """
    again = (
        update(WebhookDelivery)
        .where(WebhookDelivery.webhook_id == webhook_id, WebhookDelivery.id == delivery_id)
        .values(
            state=DeliveryState.PENDING,
            attempts_before=WebhookDelivery.attempt,
            next_attempt_at=clock(),
            status_code=None,
            fault=None,
            ended_at=None,
        )
        .returning(WebhookDelivery.id)
    )
    return session.execute(again, execution_options=_UNSYNCHRONISED).one_or_none() is not None


def forget_old(session: Session) -> bool:
    """Remove a batch of what ended long ago; True while there may be more."""
    old = select(WebhookDelivery.id).where(WebhookDelivery.ended_at < clock(-KEPT_SECONDS)).limit(ROWS_PER_BATCH)
    ids = session.scalars(old.with_for_update(skip_locked=True)).all()
    if ids:
        session.execute(delete(WebhookDelivery).where(WebhookDelivery.id.in_(ids)), execution_options=_UNSYNCHRONISED)
    return len(ids) == ROWS_PER_BATCH


def _note(session: Session, delivery: ClaimedDelivery, values: dict[str, object]) -> bool:
    """Write what became of an attempt. False where it is not the last one any more, or the delivery is gone.

    The webhook is locked first, as it is where it is deleted with its deliveries.
    """
    session.execute(select(Webhook.id).where(Webhook.id == delivery.webhook_id).with_for_update())
    its_own = (WebhookDelivery.id == delivery.id, WebhookDelivery.attempt == delivery.attempt, _PENDING)
    is_first_word = WebhookDelivery.attempts_before < delivery.attempt
    noted = update(WebhookDelivery).where(*its_own, is_first_word).values(**values).returning(WebhookDelivery.id)
    return session.execute(noted, execution_options=_UNSYNCHRONISED).one_or_none() is not None


def _note_failing(session: Session, delivery: ClaimedDelivery) -> None:
    failing = update(Webhook).where(Webhook.id == delivery.webhook_id, Webhook.failing_since.is_(None))
    session.execute(failing.values(failing_since=clock()), execution_options=_UNSYNCHRONISED)


def _record(row: WebhookDelivery) -> DeliveryRecord:
    return DeliveryRecord(
        *(row.id, row.event_id, row.event_type, row.payload, row.state, row.attempt, row.next_attempt_at),
        *(row.attempted_at, row.status_code, row.fault, row.created_at, row.ended_at),
    )
