"""Profiles as NDJSON: import all or nothing, export everything. An export is a valid import that changes nothing."""

import uuid
from collections.abc import AsyncIterator, Collection, Iterator
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from pydantic import ValidationError
from starlette.responses import StreamingResponse

from api.bodies import (
    NDJSON,
    NDJSON_TYPES,
    JsonSyntaxError,
    SpooledBody,
    ndjson_example,
    ndjson_response,
    parse_json,
    request_body,
    require_media_type,
    spool,
)
from api.dependencies import ServicesDep
from api.errors import (
    BodyTooLargeError,
    Findings,
    ForbiddenError,
    InvalidRequestError,
    LineError,
    PolicyRequiredError,
    TooManyRequestsError,
    UnauthorizedError,
    UnavailableError,
    UnsupportedMediaTypeError,
    line_errors,
    responses,
)
from api.model_choice import known_methods
from api.profile_rows import read_row
from api.profile_schemas import PROFILE_EXAMPLE, ImportReport
from api.profiles import Reader, TagFilter, Writer, require_policy
from api.settings import Settings
from db.batches import batches
from db.preferences import Method
from db.queries import profile_imports, profiles
from db.queries.profile_imports import ImportCounts, Row
from db.session import Database

ROWS_PER_STATEMENT = 1000

router = APIRouter(
    tags=["profiles"], responses=responses(UnauthorizedError, ForbiddenError, InvalidRequestError, UnavailableError)
)


async def imported_body(request: Request, services: ServicesDep, caller: Writer) -> AsyncIterator[SpooledBody]:
    """A dependency: the whole body; closed when the answer has left."""
    require_media_type(request, *NDJSON_TYPES)
    settings = services.settings
    async with services.lanes.receiving.slot(caller.tenant_id):
        body = await spool(request, max_bytes=settings.max_body_bytes, max_lines=settings.max_import_profiles)
        with body.file:
            yield body


@router.post(
    "/v1/profiles:import",
    summary="Import profiles",
    responses=responses(BodyTooLargeError, UnsupportedMediaTypeError, InvalidRequestError, TooManyRequestsError),
    openapi_extra=request_body(
        {"$ref": "#/components/schemas/ImportedProfile"},
        *NDJSON_TYPES,
        example=ndjson_example({"user_id": "ada", **PROFILE_EXAMPLE}, {"user_id": "bob", "tags": ["beta"]}),
    ),
)
async def import_profiles(
    caller: Writer,
    services: ServicesDep,
    body: Annotated[SpooledBody, Depends(imported_body)],
    dry_run: Annotated[bool, Query(description="Check everything and count, but store nothing.")] = False,  # noqa: FBT002 - a query parameter
) -> ImportReport:
    """Create or change one profile per line. Nothing is stored when any line is wrong; every wrong line is named.

    What a line leaves out stays as it is, null removes, lists are replaced: a line is a patch (RFC 7396) of a profile
    that there may not be yet. Weights that feedback has learnt stay until a line states others than were stated before.
    """
    async with services.lanes.heavy.slot(caller.tenant_id):
        return await services.bulk.run(_import, caller.tenant_id, body, dry_run=dry_run)


def _import(
    settings: Settings, database: Database, tenant_id: uuid.UUID, body: SpooledBody, *, dry_run: bool
) -> ImportReport:
    with body.file:
        num_profiles = _check(body, most=settings.max_import_profiles, known=known_methods(database))
        counts = (_count if dry_run else _store)(database, tenant_id, body)
    return ImportReport(
        dry_run=dry_run,
        num_profiles=num_profiles,
        num_created=counts.num_created,
        num_updated=counts.num_updated,
        num_unchanged=counts.num_unchanged,
    )


@router.get(
    "/v1/profiles:export",
    summary="Export profiles",
    response_class=StreamingResponse,
    responses={200: {"content": {NDJSON: {"schema": {"$ref": "#/components/schemas/ImportedProfile"}}}}},
)
def export_profiles(caller: Reader, services: ServicesDep, tag: TagFilter = []) -> StreamingResponse:  # noqa: B006 - FastAPI copies defaults
    """One profile per line, by user id, in the form that an import takes."""

    def rows() -> Iterator[object]:
        """Page after page, each in a short transaction: a slow reader holds no connection."""
        after: str | None = None
        while True:
            with services.database.reading() as session:
                page = profiles.list_profiles(
                    session, caller.tenant_id, tags=tag, after=after, limit=profiles.ROWS_PER_QUERY
                )
            yield from ({"user_id": profile.user_id, **profile.body} for profile in page)
            if len(page) < profiles.ROWS_PER_QUERY:
                return
            after = page[-1].user_id

    headers = {"Content-Disposition": 'attachment; filename="profiles.ndjson"'}
    return ndjson_response(rows(), services.lanes.streams, caller.tenant_id, headers=headers)


def _check(body: SpooledBody, *, most: int, known: Collection[Method]) -> int:
    """How many profiles the body holds; raises with everything that is wrong."""
    findings = Findings()
    lines_of: dict[str, int] = {}
    num_profiles = 0
    for line, text in body.lines():
        num_profiles += 1
        if num_profiles > most:
            raise BodyTooLargeError(f"More than {most} profiles: send them in parts.")
        try:
            row = read_row(parse_json(text), line)
            require_policy(row.method, known)
        except ValidationError as error:
            findings.add(*line_errors(error, line=line))
        except JsonSyntaxError as error:
            findings.add(LineError("invalid_json", f"This line is not valid JSON: {error}.", "", line))
        except PolicyRequiredError as error:
            findings.add(LineError(error.code, error.detail, "/method", line))
        else:
            first = lines_of.setdefault(row.user_id, line)
            if first != line:
                message = f"Line {first} has the same user_id."
                findings.add(LineError("duplicate_user_id", message, "/user_id", line))
    findings.raise_if_any()
    return num_profiles


def _count(database: Database, tenant_id: uuid.UUID, body: SpooledBody) -> ImportCounts:
    counts = ImportCounts()
    with database.reading() as session:
        for batch in batches(_rows(body), ROWS_PER_STATEMENT):
            counts += profile_imports.count_differences(session, tenant_id, batch)
    return counts


def _store(database: Database, tenant_id: uuid.UUID, body: SpooledBody) -> ImportCounts:
    counts = ImportCounts()
    with database.transaction() as session:
        profile_imports.wait_for_other_imports(session, tenant_id)
        for batch in batches(_rows(body), ROWS_PER_STATEMENT):
            counts += profile_imports.store_profiles(session, tenant_id, batch)
    return counts


def _rows(body: SpooledBody) -> Iterator[Row]:
    """The checked body once more: reading it twice is cheaper than keeping it."""
    for line, text in body.lines():
        row = read_row(parse_json(text), line)
        yield Row(row.user_id, row.change)
