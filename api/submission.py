"""From a submission to a stored job: read it once to judge it, once more to store it, in one transaction.

Knows no HTTP and no form of submission: an `ItemSource` yields the items, whatever they were written as.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy.orm import Session

from api.dependencies import Services
from api.errors import IdempotencyMismatchError, LineError, PolicyRequiredError, UnavailableError
from api.guidance import Guidance
from api.inspection import Inspection
from api.job_schemas import Options, Overrides
from api.job_views import job_view
from api.settings import Settings
from db.base import JsonObject, new_id
from db.batches import batches
from db.queries import idempotency, items, jobs
from db.queries.idempotency import RequestKey
from db.queries.items import NewItem
from db.queries.profiles import PinnedProfile
from worker.queue import enqueue

ITEMS_PER_INSERT = 1000
PREFERENCES_PER_INSERT = 10_000
ACCEPTED = 202
NO_ITEMS = "A job needs at least one item."
NO_MODEL = "No model is configured: set PADSERVE_MODEL and start the server again."


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a submission something was written: a line of NDJSON, or a pointer into one JSON text."""

    line: int | None = None
    prefix: str = ""

    def error(self, code: str, message: str, pointer: str = "") -> LineError:
        """Something is wrong here."""
        return LineError(code=code, message=message, pointer=self.prefix + pointer, line=self.line)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One item that is right in itself, and the profile of its user."""

    place: Place
    pointer: str
    """Where its text was written."""
    custom_id: str
    profile: PinnedProfile
    messages: list[JsonObject]
    own: Overrides


class ItemSource(Protocol):
    """One form in which a job can be submitted. It is read twice."""

    options: Options
    option_errors: list[LineError]

    def candidates(self, session: Session, tenant_id: uuid.UUID, inspection: Inspection) -> Iterator[Candidate]:
        """The items, in order. One that is wrong is noted in `inspection` instead."""
        ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What the client is told; `job_id` is None when it was told before."""

    status_code: int
    response: JsonObject
    job_id: uuid.UUID | None


def accept(services: Services, tenant_id: uuid.UUID, source: ItemSource, key: RequestKey | None) -> Answer:
    """Store the job and wake a worker, or raise what is wrong with it; a repeated request gets its first answer."""
    if services.settings.model_name is None:
        raise UnavailableError(NO_MODEL)
    intake = _Intake(services.settings, tenant_id, source)
    with services.database.reading() as session:
        given = _given_before(session, key)
        if given is not None:
            return given
        intake.judge(session)
    with services.database.transaction() as session:
        answer = intake.store(session, key)
    if answer.job_id is not None:
        enqueue(services.queue, answer.job_id)
    return answer


def _given_before(session: Session, key: RequestKey | None) -> Answer | None:
    stored = None if key is None else idempotency.find(session, key)
    if key is None or stored is None:
        return None
    if stored.request_digest != key.request_digest:
        raise IdempotencyMismatchError
    return Answer(stored.status_code, stored.response, job_id=None)


class _Intake:
    """One submission on its way into the database."""

    def __init__(self, settings: Settings, tenant_id: uuid.UUID, source: ItemSource) -> None:
        self._settings = settings
        self._model = settings.model_name or ""
        self._tenant_id = tenant_id
        self._source = source
        self._guidance = Guidance(settings, source.options.defaults)

    def judge(self, session: Session) -> None:
        """Read everything and store nothing; raise what is wrong."""
        for _ in self._items(session):
            pass

    def store(self, session: Session, key: RequestKey | None) -> Answer:
        """Store job, items, preferences and the answer to the request."""
        if key is not None and not idempotency.hold(session, key):
            given = _given_before(session, key)
            if given is not None:
                return given
        job_id = new_id()
        jobs.insert_job(
            session,
            tenant_id=self._tenant_id,
            job_id=job_id,
            model=self._model,
            metadata=dict(self._source.options.metadata),
        )
        self._store_items(session, job_id)
        stored = jobs.find_job(session, tenant_id=self._tenant_id, job_id=job_id)
        response = job_view(session, stored).model_dump(mode="json")
        if key is not None:
            idempotency.answer(session, key, status_code=ACCEPTED, response=response)
        return Answer(ACCEPTED, response, job_id)
