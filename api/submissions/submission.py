"""From a submission to a stored job: first everything is judged and resolved, then stored in one transaction.

Knows no HTTP, and no form of submission. Judging reads only: a refused job, however large, never holds the database's
one writer, and an accepted one holds it no longer than its rows take.
"""

import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from tempfile import SpooledTemporaryFile

from sqlalchemy.orm import Session

from api.campaigns.schemas import MAX_USERS_NAMED, AudienceOut, DefaultedAttribute, SkippedUser
from api.http.bodies import SPOOL_IN_MEMORY_BYTES
from api.http.errors import IdempotencyMismatchError, InvalidRequestError, UnavailableError
from api.jobs.schemas import Options
from api.jobs.views import view_of
from api.settings import Settings
from api.submissions.inspection import AudienceFindings
from api.submissions.item_source import ItemSource
from api.submissions.model_choice import choose_model
from api.submissions.planned_items import PlannedBatch, PlannedItems
from api.submissions.planning import Planner
from db.queries import idempotency, items, jobs
from db.queries.idempotency import RequestKey
from db.queries.items import NewItem
from db.queries.jobs import Facts
from db.queries.models import RegisteredModel
from db.session import Database
from domain.json_values import JsonObject
from telemetry import tracing

BATCHES_PER_INSERT = 20
PREFERENCES_PER_INSERT = 10_000
ACCEPTED = 202


@dataclass(frozen=True, slots=True)
class Answer:
    """What the client is told about its job; `replayed` when an earlier request was told the same."""

    status_code: int
    job: JsonObject
    replayed: bool = False
    stored: "StoredJob | None" = None
    """The job, where this request has stored it: nobody has been woken for it yet."""


@dataclass(frozen=True, slots=True)
class StoredJob:
    """A job for whose model a worker may have to be woken."""

    id: uuid.UUID
    model_digest: str
    is_awaited: bool
    """A worker is ready. Otherwise nobody would read the message: a worker that begins looks for work by itself."""


def accept(
    settings: Settings,
    database: Database,
    tenant_id: uuid.UUID,
    source: ItemSource,
    key: RequestKey | None,
    *,
    is_announced: bool = True,
) -> Answer:
    """Store the job, or raise all that is wrong with it. A repeated request gets its first answer.

    `is_announced`: whether webhooks are told of its end.
    """
    began_ns = time.time_ns()
    with SpooledTemporaryFile(max_size=SPOOL_IN_MEMORY_BYTES) as file:
        planned = PlannedItems(file)
        with database.glancing() as session:
            if key is not None and (given := _given_before(session, key)) is not None:
                return given
            model = model_of(session, source)
            planner = Planner(settings, tenant_id, source, model)
            planned.write(planner.items(session))
        with database.transaction() as session:
            if key is not None and not idempotency.hold(session, key):
                return _given_meanwhile(session, key)
            options = source.head.options
            job_id = store_job(
                session,
                planned,
                options,
                tenant_id=tenant_id,
                model=model,
                facts=planner.facts,
                is_announced=is_announced,
            )
            job = view_of(session, tenant_id, job_id).model_dump(mode="json")
            answer = Answer(ACCEPTED, job | _about_the_audience(planner.inspection.audience))
            if key is not None:
                idempotency.answer(session, key, status_code=answer.status_code, response=answer.job)
        tracing.submitted(job_id, began_ns=began_ns, num_items=planned.num_items)
        return replace(answer, stored=StoredJob(job_id, model.digest, is_awaited=model.is_ready))


def model_of(session: Session, source: ItemSource) -> RegisteredModel:
    """The model that the source names, or InvalidRequestError with what is wrong with its options."""
    head = source.head
    try:
        return choose_model(session, head.options.model, head.place)
    except InvalidRequestError as error:  # wrong options are as if unsaid, and so is the model that they named
        raise InvalidRequestError(errors=head.errors or error.errors) from error


def store_job(
    session: Session,
    planned: PlannedItems,
    options: Options,
    *,
    tenant_id: uuid.UUID,
    model: RegisteredModel,
    facts: Facts,
    is_announced: bool = True,
) -> uuid.UUID:
    """Store a job with its items and their preferences in this transaction; return its id."""
    named = {"model": model.name, "model_digest": model.digest}
    job_id = jobs.insert_job(
        session,
        tenant_id=tenant_id,
        **named,
        metadata=dict(options.metadata),
        num_items=planned.num_items,
        schedule=options.schedule,
        facts=facts,
        is_announced=is_announced,
    )
    planned_batches, unstored = planned.read(), dict[str, JsonObject]()
    while first := next(planned_batches, None):
        some = chain([first], islice(planned_batches, BATCHES_PER_INSERT - 1))
        items.insert_items(session, job_id=job_id, **named, items=_noting(unstored, some))
        if len(unstored) >= PREFERENCES_PER_INSERT:
            items.store_preferences(session, tenant_id=tenant_id, bodies=unstored)
            unstored.clear()
    items.store_preferences(session, tenant_id=tenant_id, bodies=unstored)
    return job_id


def audience_out(found: AudienceFindings) -> AudienceOut:
    """What became of an audience, as clients see it."""
    return AudienceOut(
        num_skipped=found.num_skipped,
        skipped=[SkippedUser(user_id=user_id, missing=list(missing)) for user_id, missing in found.skipped],
        defaulted=[
            DefaultedAttribute(attribute=name, num_users=number) for name, number in found.num_defaulted.most_common()
        ],
        num_excluded=found.num_excluded,
        num_unknown_excluded=len(found.unknown_excluded),
        unknown_excluded=list(found.unknown_excluded[:MAX_USERS_NAMED]),
    )


def _about_the_audience(found: AudienceFindings | None) -> JsonObject:
    return {} if found is None else {"audience": audience_out(found).model_dump(mode="json")}


def _noting(unstored: dict[str, JsonObject], planned: Iterable[PlannedBatch]) -> Iterator[NewItem]:
    """The items, one by one: the database works while the next are read. Their preferences go into `unstored`."""
    for batch in planned:
        unstored.update(batch.preferences)
        yield from batch.items


def _given_before(session: Session, key: RequestKey) -> Answer | None:
    stored = idempotency.find(session, key)
    if stored is None:
        return None
    if stored.request_digest != key.request_digest:
        raise IdempotencyMismatchError
    return Answer(stored.status_code, stored.response, replayed=True)


def _given_meanwhile(session: Session, key: RequestKey) -> Answer:
    """The answer to the parallel request that held the key first."""
    given = _given_before(session, key)
    if given is None:
        raise UnavailableError("The answer stored under this Idempotency-Key has just expired; send the request again.")
    return given
