"""Reading a job's results, in input order, also while it runs: a page at a time as JSON, or all at once as NDJSON."""

from collections.abc import Collection, Iterator
from enum import StrEnum
from functools import partial
from itertools import islice
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from pydantic_core import to_json
from starlette.responses import Response

from api.bodies import JSON, NDJSON, NDJSON_TYPES, ndjson_response, qualities
from api.bounds import Position
from api.deadlines import reading_job
from api.dependencies import ServicesDep
from api.errors import (
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
    UnauthorizedError,
    UnavailableError,
    responses,
)
from api.job_schemas import ResultPage
from api.jobs import JobId, Reader
from db.base import JsonObject
from db.holdouts import Holdout
from db.queries.jobs import JobRecord
from db.queries.results import ResultRow, read_results
from db.session import Database
from db.states import TERMINAL_ITEM_STATES, ItemState

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


class EndedState(StrEnum):
    """The states of items that have a result."""

    SUCCEEDED = ItemState.SUCCEEDED.value
    FAILED = ItemState.FAILED.value
    CANCELLED = ItemState.CANCELLED.value


After = Annotated[Position | None, Query(description="Read on behind this position: a page's `next_after`.")]
Limit = Annotated[
    int | None, Query(ge=1, le=MAX_LIMIT, description="How many at most: 100 per page if unsaid, all in NDJSON.")
]


def asked_format(
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
    json = next((accepted[name] for name in (JSON, "application/*", "*/*") if name in accepted), 0.0)
    return ResultFormat.NDJSON if ndjson > 0 and ndjson >= json else ResultFormat.JSON


@router.get(
    "/v1/jobs/{job_id}/results",
    summary="Read results",
    response_model=ResultPage,
    responses={200: {"content": {NDJSON: {"schema": {"$ref": "#/components/schemas/ResultOut"}}}}},
)
def read_job_results(
    job_id: JobId,
    caller: Reader,
    services: ServicesDep,
    as_format: Annotated[ResultFormat, Depends(asked_format)],
    *,
    after: After = None,
    limit: Limit = None,
    state: EndedState | None = None,
) -> Response:
    """Results in input order: a page, or with `Accept: application/x-ndjson` all of them, one per line.

    Items that have not ended are left out; `complete` (in NDJSON the header `X-Incomplete`) says whether there are any.
    While a job runs, an item may still end in front of the place you have read to: what you read then is a preview, and
    what you read once the job is complete is the whole.
    """
    with reading_job(services.database, caller.tenant_id, job_id) as (_, job):
        pass
    wanted = TERMINAL_ITEM_STATES if state is None else (ItemState(state),)
    start = 0 if after is None else after + 1
    if as_format is ResultFormat.JSON:
        return _page(services.database, job, start, limit or DEFAULT_LIMIT, wanted)
    rows = ended_items(services.database, job, start, limit or job.counts.total, wanted)
    headers = {**VARY, "X-Incomplete": "true" if job.counts.unfinished else "false"}
    results = map(partial(_result, holdout=job.facts.holdout), islice(rows, limit))
    return ndjson_response(results, services.lanes.streams, caller.tenant_id, headers=headers)


def _page(database: Database, job: JobRecord, start: int, size: int, states: Collection[ItemState]) -> Response:
    found = list(islice(ended_items(database, job, start, size + 1, states), size + 1))
    page = {
        "object": "list",
        "data": [_result(row, holdout=job.facts.holdout) for row in found[:size]],
        "has_more": len(found) > size,
        "next_after": found[size - 1].position if len(found) > size else None,
        "complete": not job.counts.unfinished,
        "num_unfinished": job.counts.unfinished,
    }
    return Response(to_json(page), media_type=JSON, headers=VARY)


def ended_items(
    database: Database, job: JobRecord, start: int, num_wanted: int, states: Collection[ItemState]
) -> Iterator[ResultRow]:
    """Items that ended in one of these states, from `start` on; read in short transactions, as a reader may be slow.

    The first read is as long as what is wanted; where it finds too little, the next ones are longer.
    """
    num_positions = min(num_wanted, ROWS_PER_READ)
    while start < job.counts.total:
        positions = range(start, start + num_positions)
        with database.reading() as session:
            rows = read_results(session, job_id=job.id, positions=positions, states=states)
        yield from rows
        start = positions.stop
        num_positions = min(2 * num_positions, ROWS_PER_READ)


def _result(row: ResultRow, *, holdout: Holdout | None) -> JsonObject:
    """A row as `ResultOut` has it; plain, because an export writes many thousands a second."""
    num_prompt, num_completion = row.num_prompt_tokens, row.num_completion_tokens
    usage = None
    if num_prompt is not None and num_completion is not None:
        usage = {
            "prompt_tokens": num_prompt,
            "completion_tokens": num_completion,
            "total_tokens": num_prompt + num_completion,
        }
    return {
        "custom_id": row.custom_id,
        "position": row.position,
        "user_id": row.user_id or None,
        "profile_version": row.profile_version or None,
        "preference_hash": row.preference_hash,
        "state": row.state,
        "text": row.text,
        "finish_reason": row.finish_reason,
        "usage": usage,
        "reward": row.reward,
        "rewards": row.rewards,
        "kl": row.kl,
        "holdout": None if holdout is None else holdout.holds_out(row.user_id),
        "choices": row.choices,
        "error": None if row.error_code is None else {"code": row.error_code, "message": row.error_message},
        "finished_at": row.finished_at,
        "attempts": row.attempts,
    }
