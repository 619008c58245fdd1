"""What runs where and what is in the way: readiness, workers, models, the queue by group, the last failures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api import models
from api.dashboard.live import live_part
from api.dashboard.rendering import PageRoute, page, render, version_of
from api.dashboard.sessions import AnyViewer, Viewer
from api.http.dependencies import Scope, Services, ServicesDep
from api.models import Model
from api.readiness import Readiness
from db.queries import overviews
from db.queries.overviews import Failure, QueueByTenant, QueuedGroup, WorkerRow

WORKERS_SHOWN = 20
GROUPS_SHOWN = 20
FAILURES_SHOWN = 20

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Health:
    """How things stand."""

    readiness: Readiness
    workers: Sequence[WorkerRow]
    models: Sequence[Model]
    by_tenant: QueueByTenant | None
    """None for keys that may not administer."""
    groups: Sequence[QueuedGroup]
    failures: Sequence[Failure]


@router.get("/models")
async def models_page(request: Request, viewer: AnyViewer, services: ServicesDep) -> Response:
    """How things stand."""
    health = await _health(services, viewer)
    version = version_of(render(request, "models_live.html", viewer=viewer, health=health))
    return page(request, "models.html", viewer=viewer, section="models", health=health, version=version)


@router.get("/live/models")
async def models_live(
    request: Request,
    viewer: AnyViewer,
    services: ServicesDep,
    seen: Annotated[str | None, Query(max_length=32)] = None,
) -> Response:
    """The same, when it has changed."""

    async def look() -> str:
        return render(request, "models_live.html", viewer=viewer, health=await _health(services, viewer))

    return await live_part(request, viewer, look, seen)


async def _health(services: Services, viewer: Viewer) -> Health:
    readiness = await services.readiness.current()
    return await run_in_threadpool(_looked, services, viewer, readiness)


def _looked(services: Services, viewer: Viewer, readiness: Readiness) -> Health:
    known = models.list_known_models(viewer.caller, services, after_id=None, before_id=None, limit=None)
    with services.database.reading() as session:
        workers = overviews.list_workers(session, limit=WORKERS_SHOWN)
        may_compare = viewer.may(Scope.ADMIN)
        by_tenant = overviews.queue_by_tenant(session, viewer.caller.tenant_id) if may_compare else None
        groups: Sequence[QueuedGroup] = ()
        failures: Sequence[Failure] = ()
        if viewer.may(Scope.JOBS_READ):
            groups = overviews.queued_groups(session, viewer.caller.tenant_id, limit=GROUPS_SHOWN)
            failures = overviews.last_failures(session, viewer.caller.tenant_id, limit=FAILURES_SHOWN)
    return Health(readiness, workers, known.data, by_tenant, groups, failures)
