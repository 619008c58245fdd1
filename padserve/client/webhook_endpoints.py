"""What is asked of a server about webhooks, and what it answers. Sends nothing, as `padserve.client.endpoints`."""

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from pydantic import TypeAdapter

from padserve.client.endpoints import Ask, Page
from padserve.client.transport import Call, Params

WEBHOOKS = "/v1/webhooks"


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where events are sent to. `secret` is there once: when it was made."""

    id: str
    url: str
    event_types: tuple[str, ...]
    description: str
    enabled: bool
    created_at: dt.datetime
    disabled_reason: str | None = None
    failing_since: dt.datetime | None = None
    updated_at: dt.datetime | None = None
    secret: str | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event on its way to one webhook: pending, delivered or failed."""

    id: int
    event_id: str
    event_type: str
    state: str
    attempts: int
    created_at: dt.datetime
    next_attempt_at: dt.datetime | None = None
    attempted_at: dt.datetime | None = None
    ended_at: dt.datetime | None = None
    status_code: int | None = None
    fault: str | None = None
    event: dict[str, object] = field(default_factory=dict)


_WEBHOOK = TypeAdapter(Webhook)
_WEBHOOKS = TypeAdapter(list[Webhook])
_DELIVERY = TypeAdapter(Delivery)
_DELIVERIES = TypeAdapter(list[Delivery])


def webhooks() -> Ask[list[Webhook]]:
    """The call that lists all webhooks."""
    return Ask(Call("GET", WEBHOOKS), lambda body: _WEBHOOKS.validate_python(json.loads(body)["data"]))


def webhook(webhook_id: str) -> Ask[Webhook]:
    """The call that reads one webhook."""
    return Ask(Call("GET", _path(webhook_id)), _WEBHOOK.validate_json)


def add(url: str, event_types: Sequence[str], description: str) -> Ask[Webhook]:
    """The call that makes a webhook; its answer alone holds the secret."""
    body: dict[str, object] = {"url": url, "description": description}
    if event_types:
        body["event_types"] = list(event_types)
    return Ask(Call("POST", WEBHOOKS, json=body), _WEBHOOK.validate_json)


def change(webhook_id: str, changes: Mapping[str, object]) -> Ask[Webhook]:
    """The call that changes the stated fields of a webhook, and no others."""
    stated = {name: value for name, value in changes.items() if value is not None}
    return Ask(Call("PATCH", _path(webhook_id), json=stated), _WEBHOOK.validate_json)


def remove(webhook_id: str) -> Ask[None]:
    """The call that removes a webhook with its log."""
    return Ask(Call("DELETE", _path(webhook_id)), _nothing)


def rotate_secret(webhook_id: str) -> Ask[Webhook]:
    """The call that makes a new secret; the old one signs beside it for a day."""
    return Ask(Call("POST", f"{_path(webhook_id)}/rotate-secret"), _WEBHOOK.validate_json)


def test(webhook_id: str) -> Ask[Delivery]:
    """The call that has a test event delivered, and answers with what became of it."""
    return Ask(Call("POST", f"{_path(webhook_id)}/test"), _DELIVERY.validate_json)


def delivery(webhook_id: str, delivery_id: int) -> Ask[Delivery]:
    """The call that reads one delivery of a webhook's log."""
    return Ask(Call("GET", f"{_path(webhook_id)}/deliveries/{delivery_id}"), _DELIVERY.validate_json)


def deliveries(webhook_id: str, state: str | None, page_size: int, after: str | None) -> Ask[Page[Delivery]]:
    """The call that reads a page of a webhook's deliveries, the newest first."""
    stated: dict[str, str | int | None] = {"limit": page_size, "state": state, "after": after}
    params: Params = {name: value for name, value in stated.items() if value is not None}
    return Ask(Call("GET", f"{_path(webhook_id)}/deliveries", params=params), _page)


def replay(webhook_id: str, delivery_id: int) -> Ask[Delivery]:
    """Send an event again; said twice, it may be sent twice, under one id."""
    path = f"{_path(webhook_id)}/deliveries/{delivery_id}/replay"
    return Ask(Call("POST", path, repeats_safely=True), _DELIVERY.validate_json)


def _page(body: bytes) -> Page[Delivery]:
    page = json.loads(body)
    return Page(_DELIVERIES.validate_python(page["data"]), str(page["last_id"]) if page["has_more"] else None)


def _nothing(_body: bytes) -> None:
    return None


def _path(webhook_id: str) -> str:
    return f"{WEBHOOKS}/{quote(webhook_id, safe='')}"
