"""A submission from its body to its answer: read in its form, let in when its turn has come, stored, and made known.

A large one is stored aside (`api.bulk`); here, where everybody is answered, only a worker is woken for it.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import structlog
from starlette.concurrency import run_in_threadpool

from api.campaigns.items import Campaign, read_campaign
from api.csv.tables import CSV, IS_CSV, looks_like_csv
from api.http.admission import LIGHT_BYTES
from api.http.bodies import JSON, SpooledBody
from api.http.dependencies import Services
from api.http.errors import InvalidRequestError, LineError, MalformedBodyError
from api.settings import Settings
from api.submissions.dry_runs import rehearse
from api.submissions.item_rows import csv_rows, json_rows, ndjson_rows
from api.submissions.item_source import ItemSource
from api.submissions.submission import Answer, StoredJob, accept
from db.queries.idempotency import RequestKey
from db.session import Database
from domain import fault_points
from domain.fault_points import FaultPoint
from domain.text_files import foreign_format

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Form:
    """How a body is to be read, besides its media type, and what is to be done with it."""

    may_name_users: bool = False
    """The client may read profiles, so that errors may say whose attribute is missing."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """The field that each named column of a CSV holds; empty for other forms."""
    options: object = None
    """What the job of a CSV says once for all of its items; None for other forms, which say it in the body."""
    is_dry_run: bool = False


async def accept_body(
    services: Services, tenant_id: uuid.UUID, body: SpooledBody, key: RequestKey | None, form: Form
) -> Answer:
    """Store the job and wake a worker, or raise all that is wrong with it. A repeated request gets its first answer.

    A dry run stores nothing.
    """
    answer = await _stored(services, tenant_id, body, key, form)
    make_known(services, answer.stored)
    return answer


def make_known(services: Services, job: StoredJob | None) -> None:
    """Wake a worker for a job that has just been stored, if one has. Returns at once, whatever ails Redis."""
    if job is None:
        return
    log.info("job_stored", job_id=str(job.id))
    fault_points.reach(FaultPoint.AFTER_COMMIT_BEFORE_PUBLISH)
    if job.is_awaited:
        services.publisher.wake(job.id, job.model_digest)


async def _stored(
    services: Services, tenant_id: uuid.UUID, body: SpooledBody, key: RequestKey | None, form: Form
) -> Answer:
    lanes = services.lanes
    if body.num_bytes <= LIGHT_BYTES:
        async with lanes.light.slot(tenant_id):
            accept_here = partial(_accept_here, services.settings, services.database, tenant_id, body)
            answer = await run_in_threadpool(accept_here, key=key, form=form)
        if answer is not None:
            return answer
    async with lanes.heavy.slot(tenant_id):
        return await services.bulk.run(_accept_aside, tenant_id, body, key=key, form=form)


def _accept_here(
    settings: Settings,
    database: Database,
    tenant_id: uuid.UUID,
    body: SpooledBody,
    *,
    key: RequestKey | None,
    form: Form,
) -> Answer | None:
    """None where it must be done aside: a small campaign may be a large job, which shows when it is read."""
    source = _read(body, settings, form)
    return None if isinstance(source, Campaign) else _use(settings, database, tenant_id, source, key=key, form=form)


def _accept_aside(
    settings: Settings,
    database: Database,
    tenant_id: uuid.UUID,
    body: SpooledBody,
    *,
    key: RequestKey | None,
    form: Form,
) -> Answer:
    with body.file:
        return _use(settings, database, tenant_id, _read(body, settings, form), key=key, form=form)


def _use(
    settings: Settings,
    database: Database,
    tenant_id: uuid.UUID,
    source: ItemSource,
    *,
    key: RequestKey | None,
    form: Form,
) -> Answer:
    if form.is_dry_run:
        return rehearse(settings, database, tenant_id, source)
    return accept(settings, database, tenant_id, source, key)


def _read(body: SpooledBody, settings: Settings, form: Form) -> ItemSource:
    """The form of submission that the body is in."""
    if body.media_type == CSV:
        return csv_rows(body, form.columns, form.options)
    if body.media_type != JSON:
        return ndjson_rows(body)
    try:
        value = body.json()
    except MalformedBodyError:
        if foreign_format(body.start) is None and looks_like_csv(body):
            raise MalformedBodyError(IS_CSV) from None
        raise
    if not isinstance(value, dict):
        raise InvalidRequestError(errors=[LineError("not_an_object", "A job is a JSON object.", "")])
    is_campaign = "items" not in value and ("audience" in value or "prompt" in value)
    if is_campaign:
        return read_campaign(
            value,
            max_characters=settings.max_prompt_characters,
            max_users=settings.max_items,
            may_name_users=form.may_name_users,
        )
    return json_rows(value)
