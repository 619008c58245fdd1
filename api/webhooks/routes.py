"""Webhooks over HTTP: say where events go, look at what became of them, and send them again."""

import uuid
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from api.http.bodies import JSON, Authenticated, json_body, request_body
from api.http.bounds import MAX_INTEGER
from api.http.dependencies import Caller, Services, ServicesDep
from api.http.errors import (
    BodyTooLargeError,
    ConflictError,
    ForbiddenError,
    InvalidRequestError,
    MalformedBodyError,
    NotFoundError,
    UnauthorizedError,
    UnavailableError,
    UnsupportedMediaTypeError,
    responses,
)
from api.jobs.routes import Reader, Writer
from api.webhooks.receivers import checked_receiver
from api.webhooks.schemas import (
    WEBHOOK_EXAMPLE,
    DeliveryOut,
    DeliveryPage,
    WebhookBody,
    WebhookList,
    WebhookOut,
    WebhookPatch,
    WebhookWithSecret,
    delivery_out,
    webhook_out,
)
from db.queries import deliveries, events, webhooks
from db.queries.webhooks import WebhookRecord
from domain.states import DeliveryState

MAX_WEBHOOKS = 20
BODY_ERRORS = (MalformedBodyError, BodyTooLargeError, UnsupportedMediaTypeError)
SCHEMAS = "#/components/schemas"


class NoSuchWebhookError(NotFoundError):
    """There is no webhook under this id."""


class NoSuchDeliveryError(NotFoundError):
    """The webhook has no delivery under this id."""


class WebhookDisabledError(ConflictError):
    """The webhook is disabled: enable it first."""

    code = "webhook_disabled"


router = APIRouter(
    tags=["webhooks"], responses=responses(UnauthorizedError, ForbiddenError, InvalidRequestError, UnavailableError)
)


async def webhook_id_of(
    webhook_id: Annotated[str, Path(max_length=128, description="The webhook's `id`.")],
    caller: Authenticated,  # noqa: ARG001 - who has no key is told nothing else
) -> uuid.UUID:
    """A dependency: the id in the path. What is no id names no webhook."""
    try:
        return uuid.UUID(webhook_id)
    except ValueError:
        raise NoSuchWebhookError from None


async def delivery_id_of(
    delivery_id: Annotated[str, Path(max_length=128, description="The delivery's `id`.")],
    caller: Authenticated,  # noqa: ARG001 - who has no key is told nothing else
) -> int:
    """A dependency: the id in the path. What is no id names no delivery."""
    if not (delivery_id.isascii() and delivery_id.isdecimal()) or int(delivery_id) > MAX_INTEGER:
        raise NoSuchDeliveryError
    return int(delivery_id)


WebhookId = Annotated[uuid.UUID, Depends(webhook_id_of)]
DeliveryId = Annotated[int, Depends(delivery_id_of)]


@router.post(
    "/v1/webhooks",
    summary="Add a webhook",
    status_code=201,
    responses=responses(ConflictError, *BODY_ERRORS),
    openapi_extra=request_body({"$ref": f"{SCHEMAS}/WebhookBody"}, JSON, example=WEBHOOK_EXAMPLE),
)
async def create_webhook(
    caller: Writer, services: ServicesDep, body: Annotated[WebhookBody, Depends(json_body(WebhookBody))]
) -> WebhookWithSecret:
    """Have events sent to a URL, signed as Standard Webhooks says with the `secret`, which is shown this once."""
    url = await checked_receiver(body.url, allow_private=services.settings.webhook_private_addresses)
    return await run_in_threadpool(_create, services, caller, body, url)


@router.get("/v1/webhooks", summary="List webhooks")
def list_webhooks(caller: Reader, services: ServicesDep) -> WebhookList:
    """Your webhooks, the oldest first."""
    with services.database.reading() as session:
        found = webhooks.list_webhooks(session, tenant_id=caller.tenant_id)
    return WebhookList(data=[webhook_out(record) for record in found])


@router.get("/v1/webhooks/{webhook_id}", summary="Read a webhook", responses=responses(NotFoundError))
def read_webhook(webhook_id: WebhookId, caller: Reader, services: ServicesDep) -> WebhookOut:
    """A webhook, and why it was disabled if it was."""
    with services.database.reading() as session:
        return webhook_out(_found(session, caller, webhook_id))


@router.patch(
    "/v1/webhooks/{webhook_id}",
    summary="Change a webhook",
    responses=responses(NotFoundError, *BODY_ERRORS),
    openapi_extra=request_body({"$ref": f"{SCHEMAS}/WebhookPatch"}, JSON, example={"enabled": False}),
)
async def change_webhook(
    webhook_id: WebhookId,
    caller: Writer,
    services: ServicesDep,
    body: Annotated[WebhookPatch, Depends(json_body(WebhookPatch))],
) -> WebhookOut:
    """Change what is said, and leave the rest. While it is disabled no event is recorded for it, and none is sent."""
    await run_in_threadpool(_read, services, caller, webhook_id)  # nobody's address is looked up for a stranger
    allow_private = services.settings.webhook_private_addresses
    url = None if body.url is None else await checked_receiver(body.url, allow_private=allow_private)
    return await run_in_threadpool(_change, services, caller, webhook_id, body, url)


@router.delete(
    "/v1/webhooks/{webhook_id}", summary="Remove a webhook", status_code=204, responses=responses(NotFoundError)
)
def delete_webhook(webhook_id: WebhookId, caller: Writer, services: ServicesDep) -> None:
    """Remove a webhook with its log; what was still to be sent there never is."""
    with services.database.transaction() as session:
        if not webhooks.delete_webhook(session, tenant_id=caller.tenant_id, webhook_id=webhook_id):
            raise NoSuchWebhookError


@router.post(
    "/v1/webhooks/{webhook_id}/rotate-secret", summary="Give a webhook a new secret", responses=responses(NotFoundError)
)
def rotate_secret(webhook_id: WebhookId, caller: Writer, services: ServicesDep) -> WebhookWithSecret:
    """A new `secret`, which is shown this once. The old one signs beside it for 24 hours."""
    with services.database.transaction() as session:
        secret = webhooks.rotate_secret(session, tenant_id=caller.tenant_id, webhook_id=webhook_id)
        if secret is None:
            raise NoSuchWebhookError
        session.flush()
        return _with_secret(_found(session, caller, webhook_id), secret)


@router.post(
    "/v1/webhooks/{webhook_id}/test",
    summary="Send a test event",
    status_code=202,
    responses=responses(NotFoundError, ConflictError),
)
def test_webhook(webhook_id: WebhookId, caller: Writer, services: ServicesDep) -> DeliveryOut:
    """Have an event of type `webhook.test` delivered; its delivery says what became of it."""
    with services.database.transaction() as session:
        _refuse_disabled(_found(session, caller, webhook_id))
        delivery_id = events.record_test(session, webhook_id)
        return _delivery(session, webhook_id, delivery_id)


@router.get("/v1/webhooks/{webhook_id}/deliveries", summary="List deliveries", responses=responses(NotFoundError))
def list_deliveries(
    webhook_id: WebhookId,
    caller: Reader,
    services: ServicesDep,
    *,
    after: Annotated[int | None, Query(ge=0, le=MAX_INTEGER, description="The `last_id` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=100, description="Deliveries per page.")] = 20,
    state: DeliveryState | None = None,
) -> DeliveryPage:
    """What became of the events for a webhook, the newest first; kept for 30 days."""
    with services.database.reading() as session:
        _found(session, caller, webhook_id)
        found = deliveries.list_deliveries(session, webhook_id=webhook_id, limit=limit + 1, after=after, state=state)
    page = [delivery_out(record) for record in found[:limit]]
    return DeliveryPage(
        data=page,
        first_id=page[0].id if page else None,
        last_id=page[-1].id if page else None,
        has_more=len(found) > limit,
    )


@router.get(
    "/v1/webhooks/{webhook_id}/deliveries/{delivery_id}", summary="Read a delivery", responses=responses(NotFoundError)
)
def read_delivery(webhook_id: WebhookId, delivery_id: DeliveryId, caller: Reader, services: ServicesDep) -> DeliveryOut:
    """What became of one event."""
    with services.database.reading() as session:
        _found(session, caller, webhook_id)
        return _delivery(session, webhook_id, delivery_id)


@router.post(
    "/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/replay",
    summary="Deliver an event again",
    status_code=202,
    responses=responses(NotFoundError, ConflictError),
)
def replay_delivery(
    webhook_id: WebhookId, delivery_id: DeliveryId, caller: Writer, services: ServicesDep
) -> DeliveryOut:
    """Send an event now, whatever became of it, under the same id, and try anew for three days."""
    with services.database.transaction() as session:
        _refuse_disabled(_found(session, caller, webhook_id))
        deliveries.replay(session, webhook_id=webhook_id, delivery_id=delivery_id)
        return _delivery(session, webhook_id, delivery_id)


def _create(services: Services, caller: Caller, body: WebhookBody, url: str) -> WebhookWithSecret:
    with services.database.transaction() as session:
        created = webhooks.create_webhook(
            session,
            tenant_id=caller.tenant_id,
            url=url,
            description=body.description,
            event_types=body.event_types,
            limit=MAX_WEBHOOKS,
        )
        if created is None:
            raise ConflictError(f"You have {MAX_WEBHOOKS} webhooks, and that is as many as there may be.")
        return _with_secret(_found(session, caller, created[0]), created[1])


def _change(
    services: Services, caller: Caller, webhook_id: uuid.UUID, body: WebhookPatch, url: str | None
) -> WebhookOut:
    stated = {"url": url, "description": body.description, "is_enabled": body.enabled}
    columns: dict[str, object] = {name: value for name, value in stated.items() if value is not None}
    with services.database.transaction() as session:
        webhooks.change_webhook(
            session, tenant_id=caller.tenant_id, webhook_id=webhook_id, columns=columns, event_types=body.event_types
        )
        return webhook_out(_found(session, caller, webhook_id))


def _read(services: Services, caller: Caller, webhook_id: uuid.UUID) -> WebhookRecord:
    with services.database.reading() as session:
        return _found(session, caller, webhook_id)


def _found(session: Session, caller: Caller, webhook_id: uuid.UUID) -> WebhookRecord:
    found = webhooks.find_webhook(session, tenant_id=caller.tenant_id, webhook_id=webhook_id)
    if found is None:
        raise NoSuchWebhookError
    return found


def _delivery(session: Session, webhook_id: uuid.UUID, delivery_id: int) -> DeliveryOut:
    found = deliveries.find_delivery(session, webhook_id=webhook_id, delivery_id=delivery_id)
    if found is None:
        raise NoSuchDeliveryError
    return delivery_out(found)


def _refuse_disabled(webhook: WebhookRecord) -> None:
    if not webhook.is_enabled:
        raise WebhookDisabledError


def _with_secret(record: WebhookRecord, secret: str) -> WebhookWithSecret:
    return WebhookWithSecret(**webhook_out(record).model_dump(), secret=secret)
