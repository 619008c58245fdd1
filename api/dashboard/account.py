"""Keys, the tenant and its webhooks: shown as the key's scopes allow, and webhooks added, tried and removed.

Keys are made and revoked on the command line, as the API has no route for it: here they are only shown.
"""

import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api.dashboard.live import Part, live_part
from api.dashboard.rendering import PageRoute, done, page, render, see_other, version_of
from api.dashboard.sessions import AnyViewer, Form, JobsReader, JobsWriter, Viewer
from api.http.bounds import MAX_INTEGER
from api.http.dependencies import Scope, Services, ServicesDep
from api.http.errors import ApiError, InvalidRequestError, NotFoundError, line_errors
from api.webhooks import routes
from api.webhooks.schemas import WebhookBody, WebhookOut, WebhookPatch
from db.models import ApiKey
from db.queries import keys
from db.queries.changes import Deliveries
from db.queries.events import EventType
from db.session import now

router = APIRouter(route_class=PageRoute, include_in_schema=False)
DeliveryId = Annotated[int, Path(ge=0, le=MAX_INTEGER)]
After = Annotated[int | None, Query(ge=0, le=MAX_INTEGER)]


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key without its text."""

    name: str
    prefix: str
    scopes: Sequence[str]
    state: str
    created_at: dt.datetime
    expires_at: dt.datetime | None
    is_mine: bool


@router.get("/account")
async def account_page(request: Request, viewer: AnyViewer, services: ServicesDep) -> Response:
    """Whose key this is, and what it may see."""
    return await _account(request, viewer, services)


@router.post("/account/webhooks")
async def add_webhook(request: Request, viewer: JobsWriter, services: ServicesDep, form: Form) -> Response:
    """Add a webhook; its secret is shown on the page that follows, and never again."""
    events = [str(each) for each in form.getlist("event_types")]
    given = {"url": str(form.get("url") or "").strip(), "description": str(form.get("description") or "").strip()}
    try:
        try:
            body = WebhookBody.model_validate(given | ({"event_types": events} if events else {}))
        except ValidationError as error:
            raise InvalidRequestError(errors=line_errors(error)) from None
        created = await routes.create_webhook(viewer.caller, services, body)
    except ApiError as error:
        return await _account(request, viewer, services, error=error, given=defaultdict(str, given))
    return await _account(request, viewer, services, secret=created.secret, secret_of=created.url)


@router.post("/account/webhooks/{webhook_id}/{action}")
async def act_on_webhook(
    request: Request, webhook_id: uuid.UUID, action: str, viewer: JobsWriter, services: ServicesDep
) -> Response:
    """Try, disable, enable or remove a webhook, or give it a new secret."""
    if action in {"enable", "disable"}:
        patch = WebhookPatch(enabled=action == "enable")
        await routes.change_webhook(webhook_id, viewer.caller, services, patch)
        return see_other(request, "/account")
    if action == "test":
        await run_in_threadpool(routes.test_webhook, webhook_id, viewer.caller, services)
        return see_other(request, f"/account/webhooks/{webhook_id}")
    if action == "delete":
        await run_in_threadpool(routes.delete_webhook, webhook_id, viewer.caller, services)
        return see_other(request, "/account")
    if action == "rotate":
        rotated = await run_in_threadpool(routes.rotate_secret, webhook_id, viewer.caller, services)
        return await _account(request, viewer, services, secret=rotated.secret, secret_of=rotated.url)
    raise NotFoundError


@router.get("/account/webhooks/{webhook_id}")
def webhook_page(
    request: Request,
    webhook_id: uuid.UUID,
    viewer: JobsReader,
    services: ServicesDep,
    after: After = None,
) -> Response:
    """A webhook, and what became of its events."""
    shown = _webhook(services, viewer, webhook_id, after)
    version = version_of(render(request, "webhook_live.html", viewer=viewer, **shown))
    return page(request, "webhook.html", viewer=viewer, section="account", version=version, after=after, **shown)


@router.get("/live/account/webhooks/{webhook_id}")
async def webhook_live(
    request: Request,
    webhook_id: uuid.UUID,
    viewer: JobsReader,
    services: ServicesDep,
    after: After = None,
    seen: Annotated[str | None, Query(max_length=32)] = None,
) -> Response:
    """What became of its events, when that has changed."""

    def look() -> Part:
        html = render(request, "webhook_live.html", viewer=viewer, **_webhook(services, viewer, webhook_id, after))
        return Part(html, {Deliveries(webhook_id)})

    return await live_part(request, viewer, partial(run_in_threadpool, look), seen)


@router.post("/account/webhooks/{webhook_id}/deliveries/{delivery_id}/replay")
def replay(
    request: Request,
    webhook_id: uuid.UUID,
    delivery_id: DeliveryId,
    viewer: JobsWriter,
    services: ServicesDep,
) -> Response:
    """Send an event again."""
    routes.replay_delivery(webhook_id, delivery_id, viewer.caller, services)
    return done(request, "Sent again.", f"/account/webhooks/{webhook_id}")


def _webhook(services: Services, viewer: Viewer, webhook_id: uuid.UUID, after: int | None) -> dict[str, Any]:
    return {
        "webhook": routes.read_webhook(webhook_id, viewer.caller, services),
        "deliveries": routes.list_deliveries(webhook_id, viewer.caller, services, after=after),
    }


async def _account(request: Request, viewer: Viewer, services: Services, **shown: Any) -> Response:  # noqa: ANN401
    """The page; `secret` is shown this once, and `error` says why a webhook was not added."""
    found = await run_in_threadpool(_looked, services, viewer)
    error = shown.get("error")
    status_code = error.status if isinstance(error, ApiError) else 200
    nothing: dict[str, Any] = {"error": None, "given": defaultdict(str), "secret": None, "secret_of": None}
    shown = {**nothing, **shown, "event_types": list(EventType)}
    return page(
        request, "account.html", viewer=viewer, section="account", status_code=status_code, **{**shown, **found}
    )


def _looked(services: Services, viewer: Viewer) -> dict[str, Sequence[KeyRow] | Sequence[WebhookOut]]:
    """The tenant's keys for who may administer, else the viewer's own; and the webhooks for who may read jobs."""
    with services.database.reading() as session:
        moment = now(session)
        known = keys.list_keys(session, viewer.caller.tenant_id)
    mine = viewer.caller.key_id
    rows = [_row(key, moment, mine) for key in known if viewer.may(Scope.ADMIN) or key.id == mine]
    webhooks = routes.list_webhooks(viewer.caller, services).data if viewer.may(Scope.JOBS_READ) else []
    return {"keys": rows, "webhooks": webhooks}


def _row(key: ApiKey, moment: dt.datetime, mine: uuid.UUID) -> KeyRow:
    state = "active"
    if key.revoked_at is not None:
        state = "revoked"
    elif key.expires_at is not None and key.expires_at <= moment:
        state = "expired"
    return KeyRow(key.name, key.prefix, key.scopes, state, key.created_at, key.expires_at, key.id == mine)
