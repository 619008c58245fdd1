"""From a file to a batch: its lines are judged and resolved as those of any job are, and stored as one.

Knows no HTTP. What is wrong with the file makes a batch that has failed; what is wrong with us makes none.
"""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from tempfile import SpooledTemporaryFile
from typing import IO

from sqlalchemy.orm import Session

from api.http.bodies import SPOOL_IN_MEMORY_BYTES
from api.http.errors import (
    IdempotencyMismatchError,
    InvalidRequestError,
    LineError,
    ModelAmbiguousError,
    UnavailableError,
)
from api.jobs.schemas import MAX_NAME_CHARACTERS, Options
from api.openai.batch_schemas import BatchBody
from api.openai.generation import endpoint_defaults
from api.openai.lines import BatchLines, first_model
from api.openai.storage import opened
from api.settings import Settings
from api.submissions.inspection import Inspection
from api.submissions.item_source import ReadOptions
from api.submissions.planned_items import PlannedItems
from api.submissions.planning import Planner
from api.submissions.submission import StoredJob, model_of, store_job
from db.base import new_id
from db.queries import batches, idempotency
from db.queries.batches import NewBatch
from db.queries.idempotency import RequestKey
from db.queries.jobs import Facts
from db.queries.models import RegisteredModel
from db.session import Database
from domain.json_values import JsonObject
from telemetry import tracing

OK = 200
CODES = {
    "extra_forbidden": "unknown_parameter",
    "no_items": "empty_file",
    "too_many_items": "too_many_tasks",
    "unknown_model": "model_not_found",
}
"""Our error codes that have another name at OpenAI -> that name."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request for a batch, and what makes it the repeat of another: a key, or else how long ago that was."""

    body: BatchBody
    file_id: uuid.UUID
    num_bytes: int
    key: RequestKey | None
    repeat_seconds: int | None
    batch_id: uuid.UUID = field(default_factory=new_id)
    """The id that the batch gets if this is no repeat; known before, so that whoever asks can withdraw it."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The batch that the client is told of; `replayed` when an earlier request had made it."""

    batch_id: uuid.UUID
    replayed: bool = False
    job: StoredJob | None = None


class _NotWantedAnyMore(Exception):  # noqa: N818 - no error: it rolls the job back
    """The batch was cancelled while its file was read."""


def accept_batch(settings: Settings, database: Database, tenant_id: uuid.UUID, asked: Asked) -> Accepted:
    """Store the batch, with its job or with what is wrong with its file. A repeated request gets the first batch.

    Raises `FileGoneError` where the file is removed while it is read.
    """
    with database.transaction() as session:
        batches.take_turns(session, tenant_id)
        first = _made_before(session, tenant_id, asked)
        if first is not None:
            return Accepted(first, replayed=True)
        _begin(session, tenant_id, asked)
    batch_id = asked.batch_id
    try:
        with opened(database, asked.file_id, asked.num_bytes) as file:
            return _Reading(settings, database, tenant_id, batch_id, asked.body).accepted(file)
    except InvalidRequestError as error:
        with database.transaction() as session:
            batches.refuse(session, batch_id, _as_batch_errors(error))
        return Accepted(batch_id)
    except BaseException:
        withdraw_batch(database, asked)
        raise


def withdraw_batch(database: Database, asked: Asked) -> None:
    """The request has failed: where nothing was decided on its batch, there has been none, and it may be sent again."""
    with database.transaction() as session:
        if batches.withdraw(session, asked.batch_id) and asked.key is not None:
            idempotency.forget(session, asked.key)


def _made_before(session: Session, tenant_id: uuid.UUID, asked: Asked) -> uuid.UUID | None:
    if asked.key is not None:
        stored = idempotency.find(session, asked.key)
        if stored is None:
            return None
        if stored.request_digest != asked.key.request_digest:
            raise IdempotencyMismatchError
        first = uuid.UUID(str(stored.response["batch_id"]))
        if not batches.was_interrupted(session, first):
            return first
        idempotency.forget(session, asked.key)
        return None
    if asked.repeat_seconds is None:
        return None
    return batches.find_repeated(
        session, tenant_id=tenant_id, fingerprint=asked.body.fingerprint, seconds=asked.repeat_seconds
    )


def _begin(session: Session, tenant_id: uuid.UUID, asked: Asked) -> None:
    body = asked.body
    new = NewBatch(
        endpoint=body.endpoint,
        input_file_id=asked.file_id,
        completion_window=body.completion_window,
        metadata=dict(body.metadata or {}),
        fingerprint=body.fingerprint,
        output_seconds=None if body.output_expires_after is None else body.output_expires_after.seconds,
    )
    batches.insert_batch(session, tenant_id=tenant_id, batch_id=asked.batch_id, new=new)
    if asked.key is not None:
        if not idempotency.hold(session, asked.key):  # tenants' batches take turns, so only an expired one can be there
            raise UnavailableError
        idempotency.answer(session, asked.key, status_code=OK, response={"batch_id": str(asked.batch_id)})


@dataclass(frozen=True, slots=True)
class _Reading:
    """One file on its way to a job."""

    settings: Settings
    database: Database
    tenant_id: uuid.UUID
    batch_id: uuid.UUID
    body: BatchBody

    def accepted(self, file: IO[bytes]) -> Accepted:
        """The batch with its job; or without, where it was cancelled meanwhile."""
        began_ns = time.time_ns()
        with SpooledTemporaryFile(max_size=SPOOL_IN_MEMORY_BYTES) as spool:
            planned = PlannedItems(spool)
            with self.database.glancing() as session:
                lines, model = self._for_its_model(session, file)
                planner = Planner(self.settings, self.tenant_id, lines, model)
                planned.write(planner.items(session))
            try:
                job_id = self._stored(planned, lines.head.options, model, planner.facts)
            except _NotWantedAnyMore:
                return Accepted(self.batch_id)
        tracing.submitted(job_id, began_ns=began_ns, num_items=planned.num_items)
        return Accepted(self.batch_id, job=StoredJob(job_id, model.digest, is_awaited=model.is_ready))

    def _stored(self, planned: PlannedItems, options: Options, model: RegisteredModel, facts: Facts) -> uuid.UUID:
        with self.database.transaction() as session:
            job_id = store_job(session, planned, options, tenant_id=self.tenant_id, model=model, facts=facts)
            if not batches.hand_over(session, self.batch_id, job_id):
                raise _NotWantedAnyMore
        return job_id

    def _for_its_model(self, session: Session, file: IO[bytes]) -> tuple[BatchLines, RegisteredModel]:
        """The lines with the options of their job, and the model that they name; or all that is wrong with them."""
        lines = BatchLines(file, self.body.endpoint, self.settings.unknown_users)
        named = first_model(file)
        errors: list[LineError] = []
        if named is not None:
            place, name = named
            options = self._options(name)
            lines = replace(lines, model=name, head=ReadOptions(options, place))
            try:
                model = model_of(session, lines)
            except (InvalidRequestError, ModelAmbiguousError) as error:
                errors = list(error.errors) or [place.error(error.code, error.detail, "/model")]
            else:
                defaults = endpoint_defaults(lines.endpoint, model.description.max_length)
                options = options.model_copy(update={"defaults": defaults})
                return replace(lines, head=ReadOptions(options, place)), model
        inspection = Inspection(self.settings.max_items)
        inspection.add(*errors)
        for _ in lines.candidates(session, self.tenant_id, inspection):
            pass
        inspection.conclude()
        raise InvalidRequestError

    def _options(self, model: str) -> Options:
        """The options of the batch's job; the fields were validated with the body and are not validated again."""
        schedule = {name: getattr(self.body, name) for name in ("priority", "completion_window", "not_before")}
        metadata = self.body.metadata or {}
        return Options.model_construct(metadata=metadata, model=model, name=_name_in(metadata), **schedule)


def _name_in(metadata: Mapping[str, str]) -> str | None:
    """The name of the batch's job: what its metadata calls so, as far as a name may be that long."""
    return "".join(filter(str.isprintable, metadata.get("name", "")))[:MAX_NAME_CHARACTERS].strip() or None


def _as_batch_errors(error: InvalidRequestError) -> list[JsonObject]:
    """The errors as a batch lists them: a parameter in dots, a line counted from 1."""
    shown: list[JsonObject] = [
        {
            "code": CODES.get(each.code, each.code),
            "message": each.message,
            "param": each.pointer.strip("/").replace("/", ".") or None,
            "line": each.line,
        }
        for each in error.errors
    ]
    if not shown:
        shown = [{"code": error.code, "message": error.detail, "param": None, "line": None}]
    if error.num_errors > len(shown):
        message = f"There are {error.num_errors} errors; the first {len(shown)} are shown."
        shown.append({"code": "too_many_errors", "message": message, "param": None, "line": None})
    return shown
