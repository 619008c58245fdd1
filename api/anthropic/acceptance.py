"""From a body to a message batch: its requests are judged and resolved as those of any job are, and stored as one.

Knows no HTTP. A batch is stored with its job in one transaction, or refused with all that is wrong with it.
"""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from mmap import ACCESS_READ, mmap
from tempfile import SpooledTemporaryFile

from pydantic import ValidationError
from sqlalchemy.orm import Session

from api.anthropic.batch_schemas import CreateFields
from api.anthropic.generation import message_defaults
from api.anthropic.requests import PARAMS, REQUESTS, BatchRequests, all_parts, value_of
from api.http.bodies import MAX_LINE_BYTES, SPOOL_IN_MEMORY_BYTES, SpooledBody
from api.http.errors import (
    IdempotencyMismatchError,
    InvalidRequestError,
    LineError,
    ModelAmbiguousError,
    UnavailableError,
    json_pointer,
    line_errors,
)
from api.http.json_parts import Text
from api.jobs.schemas import Options
from api.settings import Settings
from api.submissions.inspection import Inspection
from api.submissions.item_source import Place, ReadOptions
from api.submissions.planned_items import PlannedItems
from api.submissions.planning import Planner
from api.submissions.submission import StoredJob, model_of, store_job
from db.queries import batches, idempotency, message_batches
from db.queries.idempotency import RequestKey
from db.queries.models import RegisteredModel
from db.session import Database
from telemetry import tracing

OK = 200


@dataclass(frozen=True, slots=True)
class Asked:
    """One request for a batch, and what makes it the repeat of another: a key, or else how long ago that was."""

    fingerprint: str
    user_profile_id: str | None
    key: RequestKey | None
    repeat_seconds: int | None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The batch that the client is told of; without a job when an earlier request had made it."""

    batch_id: uuid.UUID
    job: StoredJob | None = None


@dataclass(frozen=True, slots=True)
class _Head:
    """What a body says beside its requests, and the model that the first of them names."""

    fields: CreateFields
    errors: list[LineError]
    model: tuple[Place, str] | None


def accept_aside(
    settings: Settings, database: Database, tenant_id: uuid.UUID, body: SpooledBody, asked: Asked
) -> Accepted:
    """`accept_batch` in another process, which closes its own copy of the file."""
    with body.file:
        return accept_batch(settings, database, tenant_id, body, asked)


def accept_batch(
    settings: Settings, database: Database, tenant_id: uuid.UUID, body: SpooledBody, asked: Asked
) -> Accepted:
    """Store the batch, or raise all that is wrong with it. A repeated request gets the first batch."""
    began_ns = time.time_ns()
    with _text_of(body) as text, SpooledTemporaryFile(max_size=SPOOL_IN_MEMORY_BYTES) as file:
        planned = PlannedItems(file)
        with database.glancing() as session:
            first = _made_before(session, tenant_id, asked)
            if first is not None:
                return Accepted(first)
            requests = BatchRequests(text, settings.unknown_users, asked.user_profile_id)
            requests, model = _for_its_model(session, requests, settings, tenant_id)
            planner = Planner(settings, tenant_id, requests, model)
            planned.write(planner.items(session))
        with database.transaction() as session:
            batches.take_turns(session, tenant_id)
            first = _made_before(session, tenant_id, asked)
            if first is not None:
                return Accepted(first)
            options, facts = requests.head.options, planner.facts
            job_id = store_job(session, planned, options, tenant_id=tenant_id, model=model, facts=facts)
            batch_id = message_batches.insert_batch(
                session, tenant_id=tenant_id, job_id=job_id, fingerprint=asked.fingerprint
            )
            _answer(session, asked, batch_id)
    tracing.submitted(job_id, began_ns=began_ns, num_items=planned.num_items)
    return Accepted(batch_id, StoredJob(job_id, model.digest, is_awaited=model.is_ready))


@contextmanager
def _text_of(body: SpooledBody) -> Iterator[Text]:
    """The whole text, of which only what is looked at is in memory where it is long."""
    if body.num_bytes <= SPOOL_IN_MEMORY_BYTES:
        body.file.seek(0)
        yield body.file.read()
        return
    with mmap(body.file.fileno(), 0, access=ACCESS_READ) as text:
        yield text


def _made_before(session: Session, tenant_id: uuid.UUID, asked: Asked) -> uuid.UUID | None:
    if asked.key is not None:
        stored = idempotency.find(session, asked.key)
        if stored is None:
            return None
        if stored.request_digest != asked.key.request_digest:
            raise IdempotencyMismatchError
        return uuid.UUID(str(stored.response["batch_id"]))
    if asked.repeat_seconds is None:
        return None
    return message_batches.find_repeated(
        session, tenant_id=tenant_id, fingerprint=asked.fingerprint, seconds=asked.repeat_seconds
    )


def _answer(session: Session, asked: Asked, batch_id: uuid.UUID) -> None:
    if asked.key is None:
        return
    if not idempotency.hold(session, asked.key):  # tenants' batches take turns, so only an expired one can be there
        raise UnavailableError
    idempotency.answer(session, asked.key, status_code=OK, response={"batch_id": str(batch_id)})


def _for_its_model(
    session: Session, requests: BatchRequests, settings: Settings, tenant_id: uuid.UUID
) -> tuple[BatchRequests, RegisteredModel]:
    """The requests with the options of their job, and the model that they name; or all that is wrong with them."""
    head = _read_head(requests.text)
    errors = list(head.errors)
    if head.model is not None:
        place, name = head.model
        options = _options(head.fields, name)
        requests = replace(requests, model=name, head=ReadOptions(options, place))
        try:
            model = model_of(session, requests)
        except (InvalidRequestError, ModelAmbiguousError) as error:
            errors += list(error.errors) or [place.error(error.code, error.detail, "/model")]
        else:
            options = options.model_copy(update={"defaults": message_defaults(model.description.max_length)})
            return replace(requests, head=ReadOptions(options, place, errors)), model
    inspection = Inspection(settings.max_items)
    inspection.add(*errors)
    for _ in requests.candidates(session, tenant_id, inspection):
        pass
    inspection.conclude()
    raise InvalidRequestError


def _read_head(text: Text) -> _Head:
    members: dict[str, object] = {}
    named: tuple[Place, str] | None = None
    num_requests, errors = 0, list[LineError]()
    for part in all_parts(text):
        if part.number is None:
            if part.data is None:
                errors.append(_too_long(part.name))
            else:
                members[part.name] = value_of(part)
            continue
        num_requests += 1
        if named is None and part.data is not None:
            named = _model_of(value_of(part), Place(prefix=f"/{REQUESTS}/{part.number}{PARAMS}"))
    if REQUESTS in members:
        errors.append(LineError("list_type", "Must be a list.", f"/{REQUESTS}"))
        del members[REQUESTS]
    elif not num_requests and not errors:
        errors.append(LineError("no_requests", "A batch needs at least one request.", f"/{REQUESTS}"))
    try:
        fields = CreateFields.model_validate(members)
    except ValidationError as error:
        return _Head(CreateFields(), [*errors, *line_errors(error)], named)
    return _Head(fields, errors, named)


def _too_long(name: str) -> LineError:
    return LineError("field_too_long", f"At most {MAX_LINE_BYTES} bytes are allowed.", json_pointer([name]))


def _model_of(value: object, place: Place) -> tuple[Place, str] | None:
    params = value.get("params") if isinstance(value, dict) else None
    model = params.get("model") if isinstance(params, dict) else None
    return (place, model) if isinstance(model, str) and model else None


def _options(fields: CreateFields, model: str) -> Options:
    """The options of the batch's job; the fields were validated with the body and are not validated again."""
    schedule = {name: getattr(fields, name) for name in ("priority", "completion_window", "not_before")}
    return Options.model_construct(metadata=fields.metadata, model=model, **schedule)
