"""Events: what webhooks are told of. Each is recorded in the transaction in which it happens, once for each webhook.

So none is lost that was committed, and none is told of that was not. An event holds ids and counts, and never a text,
a user's id or metadata: whoever received it need not forget anything.
"""

import datetime as dt
import json
import uuid
from collections.abc import Collection, Iterator
from enum import StrEnum
from functools import cache
from typing import Any

from sqlalchemy import Row, Select, and_, bindparam, exists, insert, literal, or_, select
from sqlalchemy.orm import Session

from db.base import new_id
from db.models import Job
from db.openai_models import Batch
from db.session import clock, now
from db.webhook_models import Webhook, WebhookDelivery, WebhookTopic
from domain.json_values import JsonObject
from domain.states import DeliveryState, JobState


class EventType(StrEnum):
    """What can happen. A batch ends as OpenAI says it, and as the job that it is."""

    JOB_COMPLETED = "job.completed"
    JOB_CANCELLED = "job.cancelled"
    JOB_EXPIRED = "job.expired"
    BATCH_COMPLETED = "batch.completed"
    BATCH_CANCELLED = "batch.cancelled"
    BATCH_EXPIRED = "batch.expired"
    BATCH_FAILED = "batch.failed"


TEST = "webhook.test"
"""Not an event that is waited for: sent when a client asks for it."""
_ENDS = {
    JobState.COMPLETED: (EventType.JOB_COMPLETED, EventType.BATCH_COMPLETED),
    JobState.CANCELLED: (EventType.JOB_CANCELLED, EventType.BATCH_CANCELLED),
    JobState.EXPIRED: (EventType.JOB_EXPIRED, EventType.BATCH_EXPIRED),
}
_ANY_WEBHOOK = select(literal(1)).where(exists().where(Webhook.is_enabled))


def record_ends(session: Session, job_ids: Collection[uuid.UUID]) -> None:
    """Record the ends of jobs that this transaction has ended, for the webhooks of their tenants.

    One small statement where nobody has any; jobs among them that have not ended are passed over.
    """
    if not job_ids or session.scalars(_ANY_WEBHOOK).one_or_none() is None:
        return
    found = session.execute(_ends_wanted(), {"the_jobs": list(job_ids)})
    events: dict[tuple[uuid.UUID, str], tuple[uuid.UUID, str]] = {}
    rows = list(_deliveries_of_ends(found.all(), events))
    if rows:
        session.execute(insert(WebhookDelivery).values(next_attempt_at=clock(), created_at=clock()), rows)


def record_batch(session: Session, *, tenant_id: uuid.UUID, batch_id: uuid.UUID, event_type: EventType) -> None:
    """Record the end of a batch that never became a job."""
    wanted = select(Webhook.id).join(WebhookTopic, WebhookTopic.webhook_id == Webhook.id)
    wanted = wanted.where(Webhook.tenant_id == tenant_id, Webhook.is_enabled, WebhookTopic.event_type == event_type)
    event_id = new_id()
    payload = _payload(event_id, event_type, now(session), {"id": _batch_name(batch_id)})
    rows = [_row(webhook_id, event_id, event_type, payload) for webhook_id in session.scalars(wanted)]
    if rows:
        session.execute(insert(WebhookDelivery).values(next_attempt_at=clock(), created_at=clock()), rows)


def record_test(session: Session, webhook_id: uuid.UUID) -> int:
    """Have an event delivered that means nothing; return the delivery's id."""
    event_id = new_id()
    payload = _payload(event_id, TEST, now(session), {"id": str(webhook_id)})
    row = _row(webhook_id, event_id, TEST, payload)
    inserted = insert(WebhookDelivery).values(**row, next_attempt_at=clock(), created_at=clock())
    return session.execute(inserted.returning(WebhookDelivery.id)).scalar_one()


def event_name(event_id: uuid.UUID) -> str:
    """An event's id on the wire: the `webhook-id` of every attempt to deliver it."""
    return f"evt_{event_id.hex}"


@cache  # asked at the end of every job: building it takes longer than running it
def _ends_wanted() -> Select[*tuple[Any, ...]]:
    columns = (Job.id, Job.state, Job.num_succeeded, Job.num_failed, Job.num_cancelled, Job.num_items, Job.finished_at)
    is_its_end = or_(*(and_(Job.state == state, WebhookTopic.event_type.in_(types)) for state, types in _ENDS.items()))
    return (
        select(*columns, Batch.id.label("batch_id"), Webhook.id.label("webhook_id"), WebhookTopic.event_type)
        .join(Webhook, and_(Webhook.tenant_id == Job.tenant_id, Webhook.is_enabled))
        .join(WebhookTopic, WebhookTopic.webhook_id == Webhook.id)
        .outerjoin(Batch, Batch.job_id == Job.id)
        .where(Job.id.in_(bindparam("the_jobs", expanding=True)), Job.finished_at.is_not(None), Job.is_announced)
        .where(is_its_end)
        .order_by(Webhook.id)
    )


def _deliveries_of_ends(
    found: Collection[Row[*tuple[Any, ...]]], events: dict[tuple[uuid.UUID, str], tuple[uuid.UUID, str]]
) -> Iterator[JsonObject]:
    """A row for each webhook; `events` holds the id and the payload that those of one event share."""
    for row in found:
        is_batch = row.event_type.startswith("batch.")
        if is_batch and row.batch_id is None:
            continue
        key = (row.id, row.event_type)
        if key not in events:
            event_id = new_id()
            data = _batch_data(row) if is_batch else _job_data(row)
            events[key] = event_id, _payload(event_id, row.event_type, row.finished_at, data)
        yield _row(row.webhook_id, events[key][0], row.event_type, events[key][1])


def _row(webhook_id: uuid.UUID, event_id: uuid.UUID, event_type: str, payload: str) -> JsonObject:
    return {
        "webhook_id": webhook_id,
        "event_id": event_id,
        "event_type": str(event_type),
        "payload": payload,
        "state": DeliveryState.PENDING,
    }


def _payload(event_id: uuid.UUID, event_type: str, moment: dt.datetime, data: JsonObject) -> str:
    """As OpenAI's events, with the `timestamp` of Standard Webhooks."""
    event = {
        "id": event_name(event_id),
        "object": "event",
        "type": str(event_type),
        "created_at": int(moment.timestamp()),
        "timestamp": moment.astimezone(dt.UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "data": data,
    }
    return json.dumps(event, separators=(",", ":"))


def _job_data(row: Row[*tuple[Any, ...]]) -> JsonObject:
    counts = {"succeeded": row.num_succeeded, "failed": row.num_failed, "cancelled": row.num_cancelled}
    data: JsonObject = {"id": str(row.id), "state": str(row.state), "counts": {**counts, "total": row.num_items}}
    return data if row.batch_id is None else {**data, "batch_id": _batch_name(row.batch_id)}


def _batch_data(row: Row[*tuple[Any, ...]]) -> JsonObject:
    return {"id": _batch_name(row.batch_id), "job_id": str(row.id)}


def _batch_name(batch_id: uuid.UUID) -> str:
    """As OpenAI's clients know it; `api.openai.ids` reads it."""
    return f"batch_{batch_id.hex}"
