"""Profiles as NDJSON, and as CSV too where they come in: import all or nothing, export everything.

An export is a valid import that changes nothing.
"""

import uuid
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from pydantic import ValidationError
from starlette.responses import StreamingResponse

from api.csv.cells import PROFILES, profile_of
from api.csv.tables import CSV, MAX_COLUMNS, ColumnAndField, parse_columns, refuse_csv, table_rows
from api.http.bodies import (
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
from api.http.dependencies import ServicesDep
from api.http.errors import (
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
from api.profiles.routes import Reader, TagFilter, Writer, require_policy
from api.profiles.rows import read_row
from api.profiles.schemas import PROFILE_EXAMPLE, ImportReport
from api.settings import Settings
from api.submissions.model_choice import known_methods
from db.batches import batches
from db.queries import profile_imports, profiles
from db.queries.profile_imports import ImportCounts, Row
from db.session import Database
from domain.preferences import Method

ROWS_PER_STATEMENT = 1000

router = APIRouter(
    tags=["profiles"], responses=responses(UnauthorizedError, ForbiddenError, InvalidRequestError, UnavailableError)
)


async def imported_body(request: Request, services: ServicesDep, caller: Writer) -> AsyncIterator[SpooledBody]:
    """A dependency: the whole body; closed when the answer has left."""
    media_type = require_media_type(request, *NDJSON_TYPES, CSV)
    settings = services.settings
    max_lines = None if media_type == CSV else settings.max_import_profiles
    async with services.lanes.receiving.slot(caller.tenant_id):
        body = await spool(request, max_bytes=settings.max_body_bytes, max_lines=max_lines)
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
    *,
    dry_run: Annotated[bool, Query(description="Check everything and count, but store nothing.")] = False,
    column: Annotated[
        list[ColumnAndField] | None,
        Query(
            max_length=MAX_COLUMNS,
            description="Of a CSV: `COLUMN=FIELD` says what a column is, as in `Mail=attributes.mail`; `COLUMN=` "
            "leaves it out, `*=attributes` makes all others attributes, `*=` leaves them out.",
        ),
    ] = None,
) -> ImportReport:
    """Create or change one profile per line, or per row of a CSV.

    Nothing is stored when any line is wrong; every wrong line is named.

    What a line leaves out stays as it is, null removes, lists are replaced: a line is a patch (RFC 7396) of a profile
    that there may not be yet, and so is a row, whose empty cells say nothing. Weights that feedback has learnt stay
    until a line states others than were stated before.
    """
    async with services.lanes.heavy.slot(caller.tenant_id):
        columns = parse_columns(column or ())
        return await services.bulk.run(_import, caller.tenant_id, body, columns, dry_run=dry_run)


def _import(
    settings: Settings,
    database: Database,
    tenant_id: uuid.UUID,
    body: SpooledBody,
    columns: Mapping[str, str],
    *,
    dry_run: bool,
) -> ImportReport:
    with body.file:
        lines = Lines(body, columns)
        num_profiles = _check(lines, most=settings.max_import_profiles, known=known_methods(database))
        counts = (_count if dry_run else _store)(database, tenant_id, lines)
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


@dataclass(frozen=True, slots=True)
class Lines:
    """The lines of an import, or the rows of its table; they can be read twice."""

    body: SpooledBody
    columns: Mapping[str, str]

    def values(self) -> Iterator[tuple[int, object, LineError | None]]:
        """What each says, with the line it begins on; or what is wrong with it."""
        if self.body.media_type == CSV:
            for row in table_rows(self.body, self.columns, PROFILES):
                yield row.line, profile_of(row), row.error
            return
        if self.columns:
            message = f"This is for bodies of `Content-Type: {CSV}`."
            raise InvalidRequestError(errors=[LineError("not_csv", message, "column")])
        refuse_csv(self.body)
        for line, text in self.body.lines():
            try:
                yield line, parse_json(text), None
            except JsonSyntaxError as error:
                yield line, None, LineError("invalid_json", f"This line is not valid JSON: {error}.", "", line)


def _check(lines: Lines, *, most: int, known: Collection[Method]) -> int:
    """How many profiles the body holds; raises with everything that is wrong."""
    findings = Findings()
    lines_of: dict[str, int] = {}
    num_profiles = 0
    for line, value, fault in lines.values():
        num_profiles += 1
        if num_profiles > most:
            raise BodyTooLargeError(f"More than {most} profiles: send them in parts.")
        if fault is not None:
            findings.add(fault)
            continue
        try:
            row = read_row(value, line)
            require_policy(row.method, known)
        except ValidationError as error:
            findings.add(*line_errors(error, line=line))
        except PolicyRequiredError as error:
            findings.add(LineError(error.code, error.detail, "/method", line))
        else:
            first = lines_of.setdefault(row.user_id, line)
            if first != line:
                message = f"Line {first} has the same user_id."
                findings.add(LineError("duplicate_user_id", message, "/user_id", line))
    findings.raise_if_any()
    return num_profiles


def _count(database: Database, tenant_id: uuid.UUID, lines: Lines) -> ImportCounts:
    counts = ImportCounts()
    with database.glancing() as session:
        for batch in batches(_rows(lines), ROWS_PER_STATEMENT):
            counts += profile_imports.count_differences(session, tenant_id, batch)
    return counts


def _store(database: Database, tenant_id: uuid.UUID, lines: Lines) -> ImportCounts:
    counts = ImportCounts()
    with database.transaction() as session:
        profile_imports.wait_for_other_imports(session, tenant_id)
        for batch in batches(_rows(lines), ROWS_PER_STATEMENT):
            counts += profile_imports.store_profiles(session, tenant_id, batch)
    return counts


def _rows(lines: Lines) -> Iterator[Row]:
    """The checked body once more: reading it twice is cheaper than keeping it."""
    for line, value, _ in lines.values():
        row = read_row(value, line)
        yield Row(row.user_id, row.change)
