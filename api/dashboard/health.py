"""What runs where and what is in the way: readiness, workers, models, the queue by group, the last failures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from api import models
from api.dashboard.live import Part, live_part
from api.dashboard.rendering import PageRoute, page, render, version_of
from api.dashboard.sessions import AnyViewer, Viewer
from api.http.coalescing import Coalescer
from api.http.dependencies import Caller, Scope, Services, ServicesDep
from api.models import Model
from api.readiness import Readiness
from db.queries import overviews
from db.queries.changes import Load, OpenJobs
from db.queries.overviews import Failure, QueueByTenant, QueuedGroup, WorkerRow

WORKERS_SHOWN = 20
GROUPS_SHOWN = 20
FAILURES_SHOWN = 20
READINESS_SECONDS = 5.0
"""Between two looks at Redis, and at what else leaves no mark in the database."""

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Stored:
    """What the database says of workers, models and queues, as far as the viewer may know it."""

    workers: Sequence[WorkerRow]
    models: Sequence[Model]
    by_tenant: QueueByTenant | None
    """None for keys that may not administer."""
    groups: Sequence[QueuedGroup]
    failures: Sequence[Failure]

    @property
    def num_counted(self) -> int | None:
        """Of how many queued items the groups were counted; None of all."""
        num_items = sum(group.num_items for group in self.groups)
        return num_items if num_items >= overviews.QUEUED_LOOKED_AT else None


@dataclass(frozen=True, slots=True)
class Health:
    """What the page shows: whether the API can work, and what the database says."""

    readiness: Readiness
    stored: Stored


@router.get("/models")
async def models_page(request: Request, viewer: AnyViewer, services: ServicesDep) -> Response:
    """The page of models and health."""
    health = await _health(request, services, viewer)
    version = version_of(render(request, "models_live.html", viewer=viewer, health=health))
    return page(request, "models.html", viewer=viewer, section="models", health=health, version=version)


@router.get("/live/models")
async def models_live(
    request: Request,
    viewer: AnyViewer,
    services: ServicesDep,
    seen: Annotated[str | None, Query(max_length=32)] = None,
) -> Response:
    """The part of that page that moves, when it has changed."""

    async def look() -> Part:
        html = render(request, "models_live.html", viewer=viewer, health=await _health(request, services, viewer))
        return Part(html, {Load(), OpenJobs(viewer.caller.tenant_id)})

    return await live_part(request, viewer, look, seen, still_seconds=READINESS_SECONDS)


async def _health(request: Request, services: Services, viewer: Viewer) -> Health:
    readiness = await services.readiness.current()
    stored: Coalescer[Caller, Stored] = request.app.state.dashboard_health
    return Health(readiness, await stored.ask(viewer.caller))


def health_in(services: Services) -> Coalescer[Caller, Stored]:
    """What the database says of how things stand, as far as a caller may know; who asks at the same time shares it."""

    def look(caller: Caller) -> Stored:
        known = models.list_known_models(caller, services, after_id=None, before_id=None, limit=None)
        with services.database.reading() as session:
            workers = overviews.list_workers(session, limit=WORKERS_SHOWN)
            may_compare = caller.may(Scope.ADMIN)
            by_tenant = overviews.queue_by_tenant(session, caller.tenant_id) if may_compare else None
            groups: Sequence[QueuedGroup] = ()
            failures: Sequence[Failure] = ()
            if caller.may(Scope.JOBS_READ):
                groups = overviews.queued_groups(session, caller.tenant_id, limit=GROUPS_SHOWN)
                failures = overviews.last_failures(session, caller.tenant_id, limit=FAILURES_SHOWN)
        return Stored(workers, known.data, by_tenant, groups, failures)

    return Coalescer(look)
