"""A batch's output and error file: views on its job's results, which are stored nowhere else."""

import datetime as dt
import uuid
from collections.abc import Iterator
from typing import Any

from pydantic_core import to_json
from sqlalchemy.exc import SQLAlchemyError

from api.jobs.results import ended_items
from api.openai.answers import AnswerFormat
from api.openai.batch_schemas import BatchUsage
from api.openai.batch_views import FoundBatch, find_one, seconds
from api.openai.errors import NoSuchFileError
from api.openai.file_schemas import FileObject
from api.openai.generation import Endpoint
from api.openai.ids import FileName, Part
from db.faults import is_passing
from db.queries import batches
from db.session import Database
from domain.json_values import JsonObject
from domain.states import ItemState

STATES = {Part.OUTPUT: (ItemState.SUCCEEDED,), Part.ERROR: (ItemState.FAILED, ItemState.CANCELLED)}
SIZES = {Part.OUTPUT: "output_bytes", Part.ERROR: "error_bytes"}


def find_results(database: Database, tenant_id: uuid.UUID, name: FileName) -> FoundBatch:
    """The batch whose results a file holds; or `NoSuchFileError`, also for one that is not to be seen any more."""
    found = find_one(database, tenant_id, name.id)
    if found is None or name.part is None or not is_visible(found, name.part):
        raise NoSuchFileError(str(name))
    return found


def is_visible(found: FoundBatch, part: Part) -> bool:
    """Whether the batch has this file: there is something in it, and it was neither deleted nor has it expired."""
    batch = found.batch
    deleted_at = batch.output_deleted_at if part is Part.OUTPUT else batch.error_deleted_at
    expires_at = _expires_at(found)
    is_over = expires_at is not None and expires_at <= batch.read_at
    return deleted_at is None and not is_over and found.num_lines(part) > 0


def result_lines(database: Database, found: FoundBatch, part: Part) -> Iterator[JsonObject]:
    """The lines of one file, in the order of the batch's own; read in short transactions."""
    batch, job = found.batch, found.job
    if job is None:
        return
    answers = AnswerFormat(batch.id, Endpoint(batch.endpoint), job.model)
    yield from map(answers.line, ended_items(database, job, 0, job.counts.total, STATES[part]))


def result_file(found: FoundBatch, part: Part) -> FileObject:
    """One file as clients see it."""
    created_at = found.ended_at or (found.job.created_at if found.job is not None else found.batch.created_at)
    size = totals_of(found).get(SIZES[part], 0)
    return FileObject(
        id=str(FileName(found.batch.id, part)),
        bytes=size if isinstance(size, int) else 0,
        created_at=int(created_at.timestamp()),
        expires_at=seconds(_expires_at(found)),
        filename=f"batch_{found.batch.id.hex}_{part}.jsonl",
        purpose="batch_output",
    )


def measured(database: Database, found: FoundBatch, part: Part) -> FileObject:
    """The same with its size, which is counted once, when the batch has ended and somebody asks."""
    totals = totals_of(found)
    if found.ended_at is None or SIZES[part] in totals:
        return result_file(found, part)
    num_bytes = sum(len(to_json(line)) + 1 for line in result_lines(database, found, part))
    _keep(database, found, {**totals, SIZES[part]: num_bytes})
    return result_file(found, part).model_copy(update={"bytes": num_bytes})


def usage_of(database: Database, found: FoundBatch) -> BatchUsage | None:
    """The tokens of a batch that has ended, which are added up once."""
    if found.job is None or found.ended_at is None:
        return None
    totals = totals_of(found)
    if "tokens" not in totals:
        with database.reading() as session:
            totals = {**totals, "tokens": list(batches.num_tokens(session, found.job.id))}
        _keep(database, found, totals)
    tokens: Any = totals["tokens"]  # as written here
    given, written = tokens
    return BatchUsage(input_tokens=given, output_tokens=written, total_tokens=given + written)


def totals_of(found: FoundBatch) -> JsonObject:
    """What has been counted since the batch ended; a retry may let it end again."""
    totals, ended_at = found.batch.totals, found.ended_at
    return {} if totals is None or ended_at is None or totals.get("ended_at") != ended_at.isoformat() else totals


def _keep(database: Database, found: FoundBatch, totals: JsonObject) -> None:
    """A database that can only be read just now is read."""
    if found.ended_at is None:
        return
    try:
        with database.transaction() as session:
            batches.keep_totals(session, found.batch.id, {**totals, "ended_at": found.ended_at.isoformat()})
    except SQLAlchemyError as error:
        if not is_passing(error):
            raise


def _expires_at(found: FoundBatch) -> dt.datetime | None:
    kept_for, ended_at = found.batch.output_seconds, found.ended_at
    return None if kept_for is None or ended_at is None else ended_at + dt.timedelta(seconds=kept_for)
