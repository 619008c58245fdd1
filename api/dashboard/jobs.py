"""The list of jobs, as it moves, and what is done to one of them. What a job wrote: `api.dashboard.job`."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api.dashboard.live import Part, live_part
from api.dashboard.rendering import SECTIONS, PageRoute, done, page, render, see_other, version_of
from api.dashboard.sessions import AnyViewer, Form, JobsReader, JobsWriter, Viewer, local_path
from api.http.bodies import validated
from api.http.coalescing import Coalescer
from api.http.dependencies import Caller, Scope, Services, ServicesDep
from api.http.errors import NotFoundError
from api.jobs import flow as job_flow
from api.jobs import routes as jobs
from api.jobs.routes import JobId
from api.jobs.schedule_schemas import PriorityBody
from api.jobs.schemas import MAX_NAME_CHARACTERS, JobList, JobOut
from db.queries.changes import OneJob, OpenJobs, Serving
from domain.states import JobState

JOBS_PER_PAGE = 25

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which jobs a page shows."""

    state: JobState | None
    name: str
    after: uuid.UUID | None

    def query(self, **changes: object) -> str:
        """The query of an address that asks for the same jobs, with these changes."""
        values = {"state": self.state, "name": self.name, "after": self.after} | changes
        said = {name: str(value) for name, value in values.items() if value}
        return f"?{urlencode(said)}" if said else ""


def wanted(
    state: Annotated[str, Query(max_length=16)] = "",
    name: Annotated[str, Query(max_length=MAX_NAME_CHARACTERS)] = "",
    after: uuid.UUID | None = None,
) -> Wanted:
    """A dependency: what the address asks for. A state that is none is every state."""
    return Wanted(JobState(state) if state in set(JobState) else None, name.strip(), after)


WantedJobs = Annotated[Wanted, Depends(wanted)]
Seen = Annotated[str | None, Query(max_length=32)]


@router.get("/")
async def jobs_page(request: Request, viewer: AnyViewer, services: ServicesDep, asked: WantedJobs) -> Response:
    """The newest jobs, as far as they are asked for; whose key may not read jobs goes on at what it may see."""
    if not viewer.may(Scope.JOBS_READ):
        allowed = next(each.path for each in SECTIONS if each.scope is None or viewer.may(each.scope))
        return see_other(request, allowed)
    found = await listed(request, services, viewer, asked)
    shown: dict[str, Any] = {"jobs": found, "asked": asked}
    version = version_of(render(request, "jobs_live.html", viewer=viewer, **shown))
    return page(request, "jobs.html", viewer=viewer, section="jobs", states=list(JobState), version=version, **shown)


@router.get("/live/jobs")
async def jobs_live(
    request: Request, viewer: JobsReader, services: ServicesDep, asked: WantedJobs, seen: Seen = None
) -> Response:
    """The list of jobs, when it has changed."""

    async def look() -> Part:
        found = await listed(request, services, viewer, asked)
        html = render(request, "jobs_live.html", viewer=viewer, jobs=found, asked=asked)
        shown = (OneJob(job.id) for job in found.data)
        return Part(html, {OpenJobs(viewer.caller.tenant_id), Serving(), *shown})

    return await live_part(request, viewer, look, seen)


@router.post("/jobs/{job_id}/priority")
async def prioritise(
    request: Request, job_id: JobId, viewer: JobsWriter, services: ServicesDep, form: Form
) -> Response:
    """Change which of the tenant's jobs goes first."""
    body = validated(PriorityBody, {"priority": str(form.get("priority"))})
    await run_in_threadpool(job_flow.prioritise_job, job_id, viewer.caller, services, body)
    return done(request, f"Its priority is {body.priority} now.", f"/jobs/{job_id}")


@router.post("/jobs/{job_id}/{action}")
async def act(
    request: Request, job_id: JobId, action: str, viewer: JobsWriter, services: ServicesDep, form: Form
) -> Response:
    """Pause, resume, retry, cancel or delete a job, by the function that the API has for it."""
    found = ACTIONS.get(action)
    if found is None:
        raise NotFoundError
    await run_in_threadpool(found.act, job_id, viewer.caller, services)
    if found.act is job_flow.delete_job:  # its page is gone
        return see_other(request, "/")
    return done(request, found.told, local_path(str(form.get("back") or "/")))


@dataclass(frozen=True, slots=True)
class Action:
    """What may be done to a job, and what is said of it then."""

    act: Callable[[uuid.UUID, Caller, Services], JobOut | None]
    told: str


ACTIONS = {
    "pause": Action(job_flow.pause_job, "Paused: what is being written is finished."),
    "resume": Action(job_flow.resume_job, "Resumed."),
    "retry": Action(job_flow.retry_job, "What failed is queued again."),
    "cancel": Action(jobs.cancel_job, "Cancelled: what is finished is kept."),
    "delete": Action(job_flow.delete_job, "Deleted."),
}

Listing = tuple[Caller, Wanted]


async def listed(request: Request, services: Services, viewer: Viewer, asked: Wanted) -> JobList:
    """The jobs as the API lists them. Who asks the same at the same time shares one look at the database."""
    lists: Coalescer[Listing, JobList] = request.app.state.dashboard_lists
    del services
    return await lists.ask((viewer.caller, asked))


def lists_in(services: Services) -> Coalescer[Listing, JobList]:
    """The lists that pages ask for again and again."""

    def look(question: Listing) -> JobList:
        caller, asked = question
        return jobs.list_jobs(
            caller, services, after=asked.after, limit=JOBS_PER_PAGE, state=asked.state, name=asked.name or None
        )

    return Coalescer(look)
