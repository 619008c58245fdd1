"""The end of a batch is an event of OpenAI's types: recorded once, and read by the client's `unwrap`."""

import time
import uuid

import pytest
from openai import OpenAI
from openai.types import Batch
from sqlalchemy import select, update

from api.webhooks.signing import signed_headers
from db.models import Job, Tenant
from db.openai_models import Batch as BatchRow
from db.queries import batches, webhooks
from db.queries.events import EventType, event_name
from db.session import clock
from db.webhook_models import Webhook, WebhookDelivery
from tests.openai.conftest import Site
from tests.openai.requests import a_batch


def subscribe(site: Site, tenant: str, *event_types: str) -> None:
    with site.database.transaction() as session:
        tenant_id = session.scalars(select(Tenant.id).where(Tenant.name == tenant)).one()
        webhooks.create_webhook(
            session,
            tenant_id=tenant_id,
            url="https://receiver.example/",
            description="",
            event_types=event_types or tuple(EventType),
            limit=20,
        )


def told(site: Site, tenant: str) -> list[tuple[str, str]]:
    """The type and what it is of, of each event for the tenant, as the client reads them."""
    wanted = (
        select(WebhookDelivery, Webhook.secret)
        .join(Webhook, Webhook.id == WebhookDelivery.webhook_id)
        .join(Tenant, Tenant.id == Webhook.tenant_id)
        .where(Tenant.name == tenant)
        .order_by(WebhookDelivery.event_type)
    )
    with site.database.reading() as session:
        rows = session.execute(wanted).all()
    read: list[tuple[str, str]] = []
    for delivery, secret in rows:
        body = delivery.payload.encode()
        headers = signed_headers(event_name(delivery.event_id), int(time.time()), body, [secret])
        event = OpenAI(api_key="none").webhooks.unwrap(body, headers, secret=secret)
        read.append((event.type, event.data.id))  # type: ignore[union-attr] # each of ours has one
    return read


def test_a_batch_that_is_done_is_told_as_a_batch_and_as_a_job(site: Site, tenant: str) -> None:
    client = site.client(tenant)
    subscribe(site, tenant)
    batch = a_batch(client)

    site.decode(1)

    job_id = batch.model_dump()["job_id"]
    assert told(site, tenant) == [("batch.completed", batch.id), ("job.completed", job_id)]


def test_a_cancelled_batch_is_told_once(site: Site, tenant: str) -> None:
    client = site.client(tenant)
    subscribe(site, tenant, "batch.cancelled")
    batch = a_batch(client)

    for _ in range(2):
        client.batches.cancel(batch.id)

    assert told(site, tenant) == [("batch.cancelled", batch.id)]


def test_a_batch_whose_time_is_over_is_told_by_whoever_reads_it_first(site: Site, tenant: str) -> None:
    client = site.client(tenant)
    subscribe(site, tenant, "batch.expired")
    batch = a_batch(client)
    end_its_time(site, batch)

    assert [client.batches.retrieve(batch.id).status for _ in range(2)] == ["expired", "expired"]

    assert told(site, tenant) == [("batch.expired", batch.id)]


def test_a_refused_file_is_told_as_a_failed_batch(site: Site, tenant: str) -> None:
    client = site.client(tenant)
    subscribe(site, tenant)

    batch = a_batch(client, b"nonsense")

    assert batch.status == "failed"
    assert told(site, tenant) == [("batch.failed", batch.id)]


def test_a_batch_that_is_cancelled_while_its_file_is_read_is_told_once(site: Site, tenant: str) -> None:
    client = site.client(tenant)
    subscribe(site, tenant)
    batch = a_batch(client, b"nonsense")
    batch_id = uuid.UUID(batch.id.removeprefix("batch_"))
    with site.database.transaction() as session:  # as it was before that was decided
        session.execute(update(BatchRow).where(BatchRow.id == batch_id).values(failed_at=None, errors=None))

    with site.database.transaction() as session:
        batches.cancel(session, batch_id)
        batches.cancel(session, batch_id)
        batches.refuse(session, batch_id, [])

    assert told(site, tenant) == [("batch.cancelled", batch.id), ("batch.failed", batch.id)]


def test_an_answer_at_once_is_told_to_nobody(site: Site, tenant: str) -> None:
    client = site.client(tenant, timeout=1.0)
    subscribe(site, tenant)

    with pytest.raises(Exception, match="timed out"):
        client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "tea"}])

    assert told(site, tenant) == []


def end_its_time(site: Site, batch: Batch) -> None:
    job_id = uuid.UUID(batch.model_dump()["job_id"])
    with site.database.transaction() as session:
        session.execute(update(Job).where(Job.id == job_id).values(expires_at=clock(-1)))
