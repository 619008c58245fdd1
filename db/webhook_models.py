"""The tables of webhooks. Pure declarations, as in `db.models`."""

import datetime as dt
import uuid

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text, true
from sqlalchemy import text as sql
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, Count, Moment, RowId, TimeOrderedId, state_type
from domain.json_values import JsonObject
from domain.states import DeliveryState

MAX_URL_CHARACTERS = 2048
MAX_DESCRIPTION_CHARACTERS = 256


class Webhook(Base):
    """Where a tenant wants to be told of events. The secrets stand here as they are: they sign what is sent."""

    __tablename__ = "webhooks"
    __table_args__ = (Index(None, "tenant_id", "id"),)

    id: Mapped[TimeOrderedId]
    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    url: Mapped[str] = mapped_column(String(MAX_URL_CHARACTERS))
    description: Mapped[str] = mapped_column(String(MAX_DESCRIPTION_CHARACTERS))
    secret: Mapped[str] = mapped_column(String(128))
    retired_secrets: Mapped[list[JsonObject]]
    """Earlier secrets, the newest first, each with the moment until which it still signs."""
    is_enabled: Mapped[bool] = mapped_column(server_default=true())
    disabled_reason: Mapped[str | None] = mapped_column(Text)
    """Why padserve has disabled it; None where it is enabled, or a client has disabled it."""
    failing_since: Mapped[dt.datetime | None]
    """The first failure that no success has followed."""
    created_at: Mapped[Moment]
    updated_at: Mapped[Moment]


class WebhookTopic(Base):
    """A type of events that a webhook is for."""

    __tablename__ = "webhook_topics"

    webhook_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"), primary_key=True)
    event_type: Mapped[str] = mapped_column(String(32), primary_key=True)


class WebhookDelivery(Base):
    """One event on its way to one webhook: the queue that senders claim from, and the log that is left of it."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        CheckConstraint("(state = 'pending') = (next_attempt_at IS NOT NULL)", name="next_attempt_while_pending"),
        Index(None, "webhook_id", "id"),
        Index(
            "ix_webhook_deliveries_due",
            *("webhook_id", "next_attempt_at"),
            postgresql_where=sql("state = 'pending'"),
            sqlite_where=sql("state = 'pending'"),
        ),
        Index(
            "ix_webhook_deliveries_ended",
            "ended_at",
            postgresql_where=sql("ended_at IS NOT NULL"),
            sqlite_where=sql("ended_at IS NOT NULL"),
        ),
    )

    id: Mapped[RowId]
    webhook_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    event_id: Mapped[uuid.UUID]
    event_type: Mapped[str] = mapped_column(String(32))
    payload: Mapped[str] = mapped_column(Text)
    """The body, to the byte: what is sent again is the same."""
    state: Mapped[DeliveryState] = mapped_column(state_type(DeliveryState, "state"))
    attempt: Mapped[Count]
    """How many times it was claimed: with the id, the name of an attempt."""
    attempts_before: Mapped[Count]
    """How many of its attempts were made before it was last replayed."""
    next_attempt_at: Mapped[dt.datetime | None]
    """When it may be claimed: while an attempt is under way, when that counts as lost."""
    attempted_at: Mapped[dt.datetime | None]
    status_code: Mapped[int | None]
    """What the receiver answered last; None where it did not answer."""
    fault: Mapped[str | None] = mapped_column(Text)
    """Why the last attempt failed."""
    created_at: Mapped[Moment]
    ended_at: Mapped[dt.datetime | None]
