"""Reading a job's results, in input order, also while it runs: a page as JSON, or all at once as NDJSON or CSV."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from itertools import islice
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from pydantic import StringConstraints
from pydantic_core import to_json
from starlette.responses import Response

from api.csv.tables import CSV
from api.http.bodies import JSON, NDJSON, NDJSON_TYPES, ndjson_response, qualities, streamed
from api.http.bounds import Position
from api.http.dependencies import Scope, ServicesDep
from api.http.errors import (
    ForbiddenError,
    InvalidRequestError,
    NoSuchJobError,
    NotFoundError,
    UnauthorizedError,
    UnavailableError,
    responses,
)
from api.jobs.deadlines import reading_job
from api.jobs.result_rows import FoundResult, Shown, as_object, csv_chunks
from api.jobs.routes import JobId, Reader
from api.jobs.schemas import ResultPage
from api.profiles.schemas import MAX_ATTRIBUTES, AttributeName
from db.batches import batches
from db.queries.jobs import JobRecord
from db.queries.results import PROFILES_PER_QUERY, ResultRow, is_kept, pinned_attributes, read_results
from db.session import Database
from domain.states import TERMINAL_ITEM_STATES, ItemState

ROWS_PER_READ = 2000
DEFAULT_LIMIT = 100
MAX_LIMIT = 1000
VARY = {"Vary": "Accept"}

router = APIRouter(
    tags=["jobs"],
    responses=responses(UnauthorizedError, ForbiddenError, NotFoundError, InvalidRequestError, UnavailableError),
)


class ResultFormat(StrEnum):
    """How results are written."""

    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"


class Included(StrEnum):
    """What results can carry besides."""

    PROMPT = "prompt"


class EndedState(StrEnum):
    """The states of items that have a result."""

    SUCCEEDED = ItemState.SUCCEEDED.value
    FAILED = ItemState.FAILED.value
    CANCELLED = ItemState.CANCELLED.value


After = Annotated[Position | None, Query(description="Read on behind this position: a page's `next_after`.")]
Limit = Annotated[
    int | None, Query(ge=1, le=MAX_LIMIT, description="How many at most: 100 per page if unsaid, all in NDJSON.")
]


async def asked_format(
    request: Request,
    format_: Annotated[
        ResultFormat | None, Query(alias="format", description="Instead of the `Accept` header.")
    ] = None,
) -> ResultFormat:
    """A dependency: the format the client wants."""
    if format_ is not None:
        return format_
    accepted = qualities(request.headers.get("accept", ""))
    ndjson = max(accepted.get(media_type, 0.0) for media_type in NDJSON_TYPES)
    csv = next((accepted[name] for name in (CSV, "text/*") if name in accepted), 0.0)
    json = next((accepted[name] for name in (JSON, "application/*", "*/*") if name in accepted), 0.0)
    if ndjson > 0 and ndjson >= max(json, csv):
        return ResultFormat.NDJSON
    return ResultFormat.CSV if csv > 0 and csv >= json else ResultFormat.JSON


Includes = Annotated[
    list[Included] | None,
    Query(max_length=4, description="`prompt`: what was asked, attributes and all. Needs `profiles:read`."),
]
Attributes = Annotated[
    list[Annotated[AttributeName, StringConstraints(max_length=64)]] | None,
    Query(
        max_length=MAX_ATTRIBUTES,
        description="Show these attributes, of the profile as it was for the item. Needs `profiles:read`.",
    ),
]


async def shown_beside(
    caller: Reader,
    include: Includes = None,
    attribute: Attributes = None,
) -> Shown:
    """A dependency: what is to be shown besides what always is."""
    if (include or attribute) and not caller.may(Scope.PROFILES_READ):
        shown = "`include=prompt`" if include else "`attribute`"  # a campaign's prompts hold its users' attributes
        raise ForbiddenError(f"This API key lacks the scope `{Scope.PROFILES_READ}`, which {shown} needs.")
    return Shown(prompt=Included.PROMPT in (include or ()), attributes=tuple(dict.fromkeys(attribute or ())))


@router.get(
    "/v1/jobs/{job_id}/results",
    summary="Read results",
    response_model=ResultPage,
    responses={
        200: {
            "content": {
                NDJSON: {"schema": {"$ref": "#/components/schemas/ResultOut"}},
                CSV: {"schema": {"type": "string"}},
            }
        }
    },
)
def read_job_results(
    job_id: JobId,
    caller: Reader,
    services: ServicesDep,
    as_format: Annotated[ResultFormat, Depends(asked_format)],
    beside: Annotated[Shown, Depends(shown_beside)],
    *,
    after: After = None,
    limit: Limit = None,
    state: EndedState | None = None,
    bom: Annotated[bool, Query(description="Begin a CSV with a byte order mark, which Excel wants.")] = False,
) -> Response:
    """Results in input order: a page, or all of them with `Accept: application/x-ndjson` or `text/csv`.

    Items that have not ended are left out; `complete` (elsewhere the header `X-Incomplete`) says whether there are any.
    While a job runs, an item may still end in front of the place you have read to: what you read then is a preview, and
    what you read once the job is complete is the whole.

    In a CSV, a text that a spreadsheet would take for a formula has a `'` before it.
    """
    with reading_job(services.database, caller.tenant_id, job_id) as (_, job):
        pass
    wanted = TERMINAL_ITEM_STATES if state is None else (ItemState(state),)
    start = 0 if after is None else after + 1
    shown = replace(beside, holdout=job.facts.holdout)
    if as_format is ResultFormat.JSON:
        return _page(services.database, job, Window(start, limit or DEFAULT_LIMIT, wanted), shown)
    found = islice(_found(services.database, job, Window(start, limit or job.counts.total, wanted), shown), limit)
    headers = {**VARY, "X-Incomplete": "true" if job.counts.unfinished else "false"}
    lane = services.lanes.streams
    if as_format is ResultFormat.NDJSON:
        rows = map(partial(as_object, shown=shown), found)
        return ndjson_response(rows, lane, caller.tenant_id, headers=headers)
    headers["Content-Disposition"] = f'attachment; filename="{job_id}.csv"'
    chunks = csv_chunks(found, shown, with_mark=bom)
    return streamed(chunks, lane, caller.tenant_id, media_type=f"{CSV}; charset=utf-8; header=present", headers=headers)


@dataclass(frozen=True, slots=True)
class Window:
    """Which results are wanted: from a position on, so many, of items that ended in one of these states."""

    start: int
    size: int
    states: Collection[ItemState]


def _page(database: Database, job: JobRecord, window: Window, shown: Shown) -> Response:
    size = window.size
    found = list(islice(_found(database, job, replace(window, size=size + 1), shown), size + 1))
    page = {
        "object": "list",
        "data": [as_object(each, shown) for each in found[:size]],
        "has_more": len(found) > size,
        "next_after": found[size - 1].row.position if len(found) > size else None,
        "complete": not job.counts.unfinished,
        "num_unfinished": job.counts.unfinished,
    }
    return Response(to_json(page), media_type=JSON, headers=VARY)


def _found(database: Database, job: JobRecord, window: Window, shown: Shown) -> Iterator[FoundResult]:
    """The results, each with what of its user's profile is shown; as many as there are."""
    rows = ended_items(database, job, window.start, window.size, window.states, with_messages=shown.prompt)
    if not shown.attributes:
        yield from map(FoundResult, rows)
        return
    for some in batches(rows, PROFILES_PER_QUERY):
        with database.reading() as session:
            pinned = {(row.user_id, row.profile_version) for row in some}
            known = pinned_attributes(session, job.tenant_id, pinned)
        for row in some:
            its = known.get((row.user_id, row.profile_version))
            yield FoundResult(row, None if its is None else {name: its.get(name) for name in shown.attributes})


def ended_items(
    database: Database,
    job: JobRecord,
    start: int,
    num_wanted: int,
    states: Collection[ItemState],
    *,
    with_messages: bool = False,
) -> Iterator[ResultRow]:
    """Items that ended in one of these states, from `start` on; read in short transactions, as a reader may be slow.

    The first read is as long as what is wanted; where it finds too little, the next ones are longer. Raises
    `NoSuchJobError` where the job is deleted meanwhile: what is left of its results never passes for all of them.
    """
    num_positions = min(num_wanted, ROWS_PER_READ)
    while start < job.counts.total:
        positions = range(start, start + num_positions)
        with database.glancing() as session:
            rows = read_results(session, job_id=job.id, positions=positions, states=states, with_messages=with_messages)
            if not is_kept(session, job.id):
                raise NoSuchJobError
        yield from rows
        start = positions.stop
        num_positions = min(2 * num_positions, ROWS_PER_READ)
