"""The form for a new job: rows or a campaign, checked with an estimate, and submitted as the API does it."""

import secrets
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.responses import Response

from api.csv.cells import ITEMS
from api.csv.tables import Column
from api.dashboard.model_names import model_names
from api.dashboard.rendering import PageRoute, is_of_script, page, see_other
from api.dashboard.sessions import Form, JobsWriter, Viewer
from api.dashboard.submitted import Sent, read_campaign_form, read_rows
from api.http.dependencies import Scope, Services, ServicesDep
from api.http.errors import ApiError, LineError
from api.submissions import accepting
from api.submissions.accepting import accept_body
from api.submissions.submission import Answer
from db.queries.idempotency import RequestKey
from domain.priorities import Priority

ROUTE = "dashboard: new job"
MAX_FORM_ID = 64
COLUMNS_SHOWN = 50
OF_COLUMNS = {
    "unknown_column": "The first line names the columns, and some are no field of an item. Say below what each holds.",
    "duplicate_column": "Two columns are said to hold the same. Say below what each holds.",
    "missing_column": "No column is said to hold the `user_id`. Choose below which does.",
}
"""What to do about a header, where the API's own words name its parameters."""

router = APIRouter(route_class=PageRoute, include_in_schema=False)
READERS: dict[str, Callable[[FormData, accepting.Form], Sent]] = {"rows": read_rows, "campaign": read_campaign_form}


@dataclass(frozen=True, slots=True)
class WrongLine:
    """One thing that is wrong, and the line it is in as it was sent."""

    number: int | None
    text: str | None
    pointer: str
    message: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a form: what the job would be, or what is wrong with it."""

    estimate: object = None
    error: ApiError | None = None
    wrong: Sequence[WrongLine] = ()
    columns: Sequence[Column] = ()
    """Of a table whose header does not say by itself what each of them holds: the form asks for it."""


@router.get("/jobs/new")
def new_job_page(
    request: Request, viewer: JobsWriter, services: ServicesDep, kind: Annotated[str, Query(max_length=16)] = "rows"
) -> Response:
    """The empty form for a new job, of rows or of a campaign."""
    return _form_page(request, viewer, services, kind if kind in READERS else "rows", {})


@router.post("/jobs/new")
async def submit(request: Request, viewer: JobsWriter, services: ServicesDep, fields: Form) -> Response:
    """Check the form, and submit it unless it is only to be checked."""
    kind = str(fields.get("kind"))
    kind = kind if kind in READERS else "rows"
    is_dry_run = fields.get("do") != "submit"
    sent: Sent | None = None
    try:
        form = accepting.Form(viewer.may(Scope.PROFILES_READ), is_dry_run=is_dry_run)
        sent = await run_in_threadpool(READERS[kind], fields, form)
        answer = await _accepted(services, viewer, sent, str(fields.get("form_id") or "")[:MAX_FORM_ID])
        if not is_dry_run:
            return see_other(request, f"/jobs/{answer.job['id']}")
        outcome = Outcome(estimate=answer.job, columns=await run_in_threadpool(_columns, sent))
    except ApiError as error:
        outcome = await run_in_threadpool(_refused, sent, error)
    finally:
        if sent is not None:
            sent.body.file.close()
    if is_of_script(request):
        shown: dict[str, Any] = {"outcome": outcome, "item_fields": ITEMS.field_names, "is_part": True}
        return page(request, "new_outcome.html", viewer=viewer, **shown)
    given = {name: value for name, value in fields.items() if isinstance(value, str)}
    return await run_in_threadpool(_form_page, request, viewer, services, kind, given, outcome)


async def _accepted(services: Services, viewer: Viewer, sent: Sent, form_id: str) -> Answer:
    """Store the job, or check it where it is a dry run. A form that is sent twice makes one job."""
    key = None
    if not sent.form.is_dry_run and form_id:
        key = RequestKey(viewer.caller.tenant_id, ROUTE, f"{form_id}-{sent.digest[:32]}", sent.digest)
    async with services.lanes.receiving.slot(viewer.caller.tenant_id):
        return await accept_body(services, viewer.caller.tenant_id, sent.body, key, sent.form)


def _refused(sent: Sent | None, error: ApiError) -> Outcome:
    return Outcome(error=error, wrong=_wrong(sent, error.errors), columns=_columns(sent, error.errors))


def _columns(sent: Sent | None, errors: Sequence[LineError] = ()) -> Sequence[Column]:
    """The columns that the form asks about: where the header is what is wrong, or something was chosen before."""
    is_asked = sent is not None and (sent.form.columns or any(each.code in OF_COLUMNS for each in errors))
    return sent.columns[:COLUMNS_SHOWN] if sent is not None and is_asked else ()


def _wrong(sent: Sent | None, errors: Sequence[LineError]) -> list[WrongLine]:
    added = 0 if sent is None else sent.num_lines_added
    numbers = [None if each.line is None or each.line <= added else each.line - added for each in errors]
    texts = {} if sent is None or sent.body.file.closed else sent.lines({number for number in numbers if number})
    return [
        WrongLine(number, texts.get(number or 0), each.pointer, OF_COLUMNS.get(each.code, each.message))
        for number, each in zip(numbers, errors, strict=True)
    ]


def _form_page(
    request: Request,
    viewer: Viewer,
    services: Services,
    kind: str,
    given: dict[str, str],
    outcome: Outcome | None = None,
) -> Response:
    return page(
        request,
        "new_job.html",
        viewer=viewer,
        section="new",
        status_code=422 if outcome is not None and outcome.error is not None else 200,
        kind=kind,
        given=defaultdict(str, given),
        outcome=outcome,
        models=model_names(services),
        priorities=list(Priority),
        item_fields=ITEMS.field_names,
        is_part=False,
        form_id=secrets.token_urlsafe(16),
    )
