"""What webhooks and their deliveries look like on the wire."""

import datetime as dt
import json
import uuid
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field

from api.profiles.schemas import StrictModel, check_text
from db.queries.deliveries import DeliveryRecord
from db.queries.events import EventType, event_name
from db.queries.webhooks import WebhookRecord
from db.webhook_models import MAX_DESCRIPTION_CHARACTERS, MAX_URL_CHARACTERS
from domain.json_values import JsonObject
from domain.states import DeliveryState

Url = Annotated[
    str,
    Field(min_length=1, max_length=MAX_URL_CHARACTERS, description="Where events are posted to: `https`, public."),
]
Description = Annotated[str, Field(max_length=MAX_DESCRIPTION_CHARACTERS), AfterValidator(check_text)]
EventTypes = Annotated[
    list[Annotated[EventType, Field(strict=False)]],
    Field(min_length=1, max_length=2 * len(EventType), description="Which events are sent there."),
]


class WebhookBody(StrictModel):
    """A webhook as it is asked for."""

    url: Url
    event_types: EventTypes = Field(default_factory=lambda: list(EventType))
    description: Description = ""


class WebhookPatch(StrictModel):
    """What is to change of a webhook; what is not said stays."""

    url: Url | None = None
    event_types: EventTypes | None = None
    description: Description | None = None
    enabled: bool | None = None


class WebhookOut(BaseModel):
    """Where events are sent to."""

    id: uuid.UUID
    object: Literal["webhook"] = "webhook"
    url: str
    event_types: list[str]
    description: str
    enabled: bool
    disabled_reason: str | None = Field(description="Why the server has disabled it; null where it has not.")
    failing_since: dt.datetime | None = Field(description="The first failure that no success has followed.")
    created_at: dt.datetime
    updated_at: dt.datetime


class WebhookWithSecret(WebhookOut):
    """A webhook, and the secret that signs what is sent there: shown this once."""

    secret: str


class WebhookList(BaseModel):
    """All of a tenant's webhooks, the oldest first."""

    object: Literal["list"] = "list"
    data: list[WebhookOut]
    has_more: Literal[False] = False


class DeliveryOut(BaseModel):
    """One event on its way to one webhook."""

    id: int
    object: Literal["webhook.delivery"] = "webhook.delivery"
    event_id: str = Field(description="The `webhook-id` of each attempt.")
    event_type: str
    state: DeliveryState
    attempts: int
    next_attempt_at: dt.datetime | None = Field(
        description="When it is tried; while an attempt is under way, when that counts as lost."
    )
    attempted_at: dt.datetime | None
    status_code: int | None = Field(description="What the receiver answered last; null where it did not.")
    fault: str | None = Field(description="Why the last attempt failed.")
    event: JsonObject = Field(description="What is sent.")
    created_at: dt.datetime
    ended_at: dt.datetime | None


class DeliveryPage(BaseModel):
    """A page of a webhook's log, the newest first. The next page is the one `after` this page's `last_id`."""

    object: Literal["list"] = "list"
    data: list[DeliveryOut]
    first_id: int | None
    last_id: int | None
    has_more: bool


def webhook_out(record: WebhookRecord) -> WebhookOut:
    """A webhook as clients see it."""
    return WebhookOut(
        id=record.id,
        url=record.url,
        event_types=list(record.event_types),
        description=record.description,
        enabled=record.is_enabled,
        disabled_reason=record.disabled_reason,
        failing_since=record.failing_since,
        created_at=record.created_at,
        updated_at=record.updated_at,
    )


def delivery_out(record: DeliveryRecord) -> DeliveryOut:
    """A delivery as clients see it."""
    return DeliveryOut(
        id=record.id,
        event_id=event_name(record.event_id),
        event_type=record.event_type,
        state=record.state,
        attempts=record.attempt,
        next_attempt_at=record.next_attempt_at,
        attempted_at=record.attempted_at,
        status_code=record.status_code,
        fault=record.fault,
        event=json.loads(record.payload),
        created_at=record.created_at,
        ended_at=record.ended_at,
    )


WEBHOOK_EXAMPLE = {
    "url": "https://example.com/padserve",
    "event_types": ["job.completed", "job.expired"],
    "description": "The newsletter's server",
}
DOCUMENTED_SCHEMAS: tuple[type[BaseModel], ...] = (WebhookBody, WebhookPatch)
