"""A text beside its unguided version: the item's own prompt and settings, written once more with nothing that steers.

It is queued as every other request that is answered at once, and nothing of it stays.
"""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api.dashboard.rendering import PageRoute, is_of_script, page
from api.dashboard.sessions import JobsWriter, Viewer
from api.http.dependencies import Services, ServicesDep
from api.http.errors import NotFoundError, OverloadedError, UnavailableError
from api.jobs import deadlines
from api.jobs.routes import JobId
from api.jobs.schemas import Overrides
from api.streams.one_answer import Question, one_answer
from api.submissions.inspection import Inspection
from api.submissions.item_source import Candidate, Place, ReadOptions
from db.queries import job_pages
from db.queries.job_pages import Asked
from db.queries.profiles import PinnedProfile
from db.queries.workers import seen_workers, serving_status
from domain.model_descriptions import model_reference
from domain.preferences import Method
from domain.states import WorkerState

NOBODY = PinnedProfile("", 0, {})

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@dataclass(frozen=True, slots=True)
class UnguidedItem:
    """One item of a job, to be written without guidance."""

    asked: Asked
    head: ReadOptions

    def candidates(self, session: Session, tenant_id: uuid.UUID, inspection: Inspection) -> Iterator[Candidate]:
        """Yield that item, as the only candidate; see `item_source`."""
        del session, tenant_id
        inspection.count_row()
        yield Candidate("unguided", NOBODY, self.asked.messages, Place(), "", unguided_as(self.asked.sampling))


@router.post("/jobs/{job_id}/unguided/{position}")
async def unguided(
    request: Request, job_id: JobId, position: int, viewer: JobsWriter, services: ServicesDep
) -> Response:
    """The unguided text of the item at this position."""
    asked, model = await run_in_threadpool(_asked, services, viewer, job_id, position)
    question = Question(model, defaults=lambda _: Overrides(), source=partial(UnguidedItem, asked))
    async with AsyncExitStack() as stack:
        answer = await stack.enter_async_context(one_answer(request, services, viewer.caller.tenant_id, question))
        row = await answer.row()
    if row is None:
        raise OverloadedError
    if is_of_script(request):
        return page(request, "unguided.html", viewer=viewer, row=row, asked=asked)
    frame: dict[str, Any] = {
        "part": "unguided.html",
        "heading": "Unguided",
        "back": f"/jobs/{job_id}",
        "section": "jobs",
    }
    return page(request, "alone.html", viewer=viewer, row=row, asked=asked, **frame)


def unguided_as(sampling: Mapping[str, Any]) -> Overrides:
    """What an item with these stored settings says itself, and that nothing steers it."""
    stated = {name: value for name, value in sampling.items() if name in Overrides.model_fields and value is not None}
    bias = {str(token_id): value for token_id, value in sampling.get("logit_bias") or ()}
    stated.pop("logit_bias", None)
    further = {"logit_bias": bias, "chat_template_kwargs": sampling.get("template")}
    stated |= {name: value for name, value in further.items() if value}
    return Overrides.model_validate({**stated, "n": 1, "rewards": False, "method": Method.NONE})


def _asked(services: Services, viewer: Viewer, job_id: uuid.UUID, position: int) -> tuple[Asked, str]:
    tenant_id = viewer.caller.tenant_id
    with deadlines.reading_job(services.database, tenant_id, job_id) as (session, job):
        found = job_pages.find_item(session, tenant_id=tenant_id, job_id=job_id, position=position)
        seen = seen_workers(session)
    if found is None:
        raise NotFoundError
    status = serving_status(seen, model=job.model, digest=job.model_digest)
    if status.state is WorkerState.STOPPED:
        raise UnavailableError(status.message)
    return found, job.model if job.model_digest is None else model_reference(job.model, job.model_digest)
