"""One job: how far it is and how it went, what it wrote, and what it would have written unguided."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api.dashboard.counting import Charts, Counted
from api.dashboard.live import Part, live_part
from api.dashboard.rendering import PageRoute, page, render, version_of
from api.dashboard.sessions import JobsReader, Viewer
from api.http.bounds import Position
from api.http.coalescing import Coalescer
from api.http.dependencies import Scope, Services, ServicesDep
from api.jobs import deadlines, results
from api.jobs.result_rows import Shown
from api.jobs.results import EndedState, ResultFormat
from api.jobs.routes import JobId
from api.jobs.schemas import JobOut
from api.jobs.views import job_views
from db.queries import job_search
from db.queries.changes import OneJob, OpenJobs, Serving, Subject
from db.queries.job_search import Looked
from db.queries.results import ResultRow
from domain.states import TERMINAL_ITEM_STATES, ItemState

RESULTS_PER_PAGE = 25
MAX_SEARCH_CHARACTERS = 200
COUNTING_SECONDS = 0.5
"""Between two looks at a job that is not counted to its end."""

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Search:
    """Which results are asked for."""

    text: str
    state: EndedState | None
    after: int | None
    before: int | None

    @property
    def looked(self) -> Looked:
        """The same for `db.queries.job_search`."""
        states = TERMINAL_ITEM_STATES if self.state is None else (ItemState(self.state),)
        after = -1 if self.after is None else self.after
        return Looked(self.text, states, after, self.before)

    def query(self, **changes: object) -> str:
        """The query of an address: of the first page, or with `after` or `before` of the one beside a position."""
        values = {"q": self.text, "state": self.state, **changes}
        said = {name: str(value) for name, value in values.items() if value not in {None, ""}}
        return f"?{urlencode(said)}" if said else ""


def search(
    q: Annotated[str, Query(max_length=MAX_SEARCH_CHARACTERS)] = "",
    state: Annotated[str, Query(max_length=16)] = "",
    after: Position | None = None,
    before: Position | None = None,
) -> Search:
    """A dependency: what the address asks for. A state that is none is every state."""
    return Search(q.strip(), EndedState(state) if state in set(EndedState) else None, after, before)


Searched = Annotated[Search, Depends(search)]
Seen = Annotated[str | None, Query(max_length=32)]


@dataclass(frozen=True, slots=True)
class Progress:
    """A job, and how it went."""

    job: JobOut
    counted: Counted


@dataclass(frozen=True, slots=True)
class FoundPage:
    """A page of results."""

    rows: Sequence[ResultRow]
    named: ResultRow | None
    """The item that has the very name which is searched for, wherever it is."""
    looked_to: int | None
    """The last position that was looked at, where a search took too long to go on by itself."""
    has_more: bool
    has_before: bool


@router.get("/jobs/{job_id}")
async def job_page(
    request: Request, job_id: JobId, viewer: JobsReader, services: ServicesDep, searched: Searched
) -> Response:
    """The job and the results that are asked for."""
    progress = await _progress(request, viewer, job_id)
    found = await run_in_threadpool(_found, services, viewer, job_id, searched)
    shown: dict[str, Any] = {"job": progress.job, "progress": progress, "found": found, "searched": searched}
    parts = {"version": "job_live.html", "results_version": "job_results.html"}
    shown |= {name: version_of(render(request, part, viewer=viewer, **shown)) for name, part in parts.items()}
    return page(request, "job.html", viewer=viewer, section="jobs", states=list(EndedState), **shown)


@router.get("/live/jobs/{job_id}")
async def job_live(request: Request, job_id: JobId, viewer: JobsReader, seen: Seen = None) -> Response:
    """How far the job is, when that has changed."""

    async def look() -> Part:
        progress = await _progress(request, viewer, job_id)
        html = render(request, "job_live.html", viewer=viewer, job=progress.job, progress=progress)
        subjects: set[Subject] = {OneJob(job_id)}
        if progress.job.waiting_reason:
            subjects |= {Serving(), OpenJobs(viewer.caller.tenant_id)}
        return Part(html, subjects, COUNTING_SECONDS if progress.counted.is_behind else None)

    return await live_part(request, viewer, look, seen)


@router.get("/live/jobs/{job_id}/results")
async def results_live(
    request: Request, job_id: JobId, viewer: JobsReader, services: ServicesDep, searched: Searched, seen: Seen = None
) -> Response:
    """The results that are asked for, when they have changed."""

    async def look() -> Part:
        found = await run_in_threadpool(_found, services, viewer, job_id, searched)
        job = (await _progress(request, viewer, job_id)).job
        html = render(request, "job_results.html", viewer=viewer, found=found, searched=searched, job=job)
        return Part(html, {OneJob(job_id)})

    return await live_part(request, viewer, look, seen)


@router.get("/jobs/{job_id}/download")
def download(
    job_id: JobId, viewer: JobsReader, services: ServicesDep, as_format: Annotated[ResultFormat, Query(alias="format")]
) -> Response:
    """All results as a file: NDJSON, or CSV as Excel reads it. With the prompts, where the key may read profiles."""
    beside = Shown(prompt=viewer.may(Scope.PROFILES_READ))
    response = results.read_job_results(job_id, viewer.caller, services, as_format, beside, bom=True)
    ending = "csv" if as_format is ResultFormat.CSV else "ndjson"
    response.headers["Content-Disposition"] = f'attachment; filename="{job_id}.{ending}"'
    return response


JobQuestion = tuple[uuid.UUID, uuid.UUID]


def progress_in(services: Services) -> Coalescer[JobQuestion, Progress]:
    """What pages ask for again and again while a job runs; who asks at the same time shares one look."""
    charts = Charts()

    def look(question: JobQuestion) -> Progress:
        with deadlines.reading_job(services.database, *question) as (session, record):
            (job,) = job_views(session, [record], redis_fails=services.publisher.is_failing)
            return Progress(job, charts.of(session, record))

    return Coalescer(look)


async def _progress(request: Request, viewer: Viewer, job_id: uuid.UUID) -> Progress:
    coalescer: Coalescer[JobQuestion, Progress] = request.app.state.dashboard_progress
    return await coalescer.ask((viewer.caller.tenant_id, job_id))


def _found(services: Services, viewer: Viewer, job_id: uuid.UUID, searched: Search) -> FoundPage:
    with deadlines.reading_job(services.database, viewer.caller.tenant_id, job_id) as (session, job):
        more = RESULTS_PER_PAGE + 1
        found = job_search.find_results(session, job, searched.looked, limit=more)
        has_another = len(found.rows) == more
        if searched.before is not None:
            has_before = has_another or found.looked_to is not None
            return FoundPage(
                found.rows[-RESULTS_PER_PAGE:], None, found.looked_to, has_more=True, has_before=has_before
            )
        is_first = searched.after is None
        named = job_search.find_named(session, job, searched.text) if searched.text and is_first else None
        rows = [row for row in found.rows[:RESULTS_PER_PAGE] if named is None or row.position != named.position]
        return FoundPage(rows, named, found.looked_to, has_more=has_another, has_before=not is_first)
