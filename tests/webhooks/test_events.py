"""An event is recorded once, in the transaction in which it happens, whoever ends a job."""

import json
import uuid
from collections.abc import Callable

import pytest
from sqlalchemy import event, update
from starlette.testclient import TestClient

from db.models import Job
from db.queries import audit, cancelling, claims, deadlines, retrying
from db.session import Database, clock
from domain.attempts import Outcome
from tests.api.conftest import Api
from tests.builders import DIGEST, a_job, preference, wind_up
from tests.webhooks.conftest import TENANT, a_completed_job, add_webhook, complete, deliveries_of
from tests.webhooks.receiver import Receiver

OWNER = uuid.UUID(int=1)


def by_a_worker(database: Database) -> uuid.UUID:
    return a_completed_job(database)


def by_a_cancel(database: Database) -> uuid.UUID:
    job_id = a_job(database, tenant=TENANT)
    with database.transaction() as session:
        assert cancelling.cancel(session, job_id)
    wind_up(database, job_id)
    return job_id


def by_its_deadline(database: Database) -> uuid.UUID:
    job_id = a_job(database, tenant=TENANT)
    with database.transaction() as session:
        session.execute(update(Job).where(Job.id == job_id).values(expires_at=clock(-1)))
    for _ in range(2):  # two that notice end it once
        with database.transaction() as session:
            deadlines.enforce(session, job_id)
    return job_id


def by_an_audit(database: Database) -> uuid.UUID:
    """A version that kept no counters has ended its items."""
    job_id = a_job(database, tenant=TENANT)
    complete_unnoticed(database, job_id)
    with database.transaction() as session:
        assert audit.audit(session, [job_id])
    return job_id


def complete_unnoticed(database: Database, job_id: uuid.UUID) -> None:
    complete(database)
    with database.transaction() as session:
        session.execute(update(Job).where(Job.id == job_id).values(state="running", finished_at=None))
        session.connection().exec_driver_sql("DELETE FROM webhook_deliveries")


@pytest.mark.parametrize(
    ("end", "event_type"),
    [
        (by_a_worker, "job.completed"),
        (by_a_cancel, "job.cancelled"),
        (by_its_deadline, "job.expired"),
        (by_an_audit, "job.completed"),
    ],
)
def test_the_end_of_a_job_is_one_event(
    database: Database,
    client: TestClient,
    receiver: Receiver,
    end: Callable[[Database], uuid.UUID],
    event_type: str,
) -> None:
    add_webhook(client, receiver)

    job_id = end(database)

    (recorded,) = deliveries_of(database)
    sent = json.loads(recorded.payload)
    assert (recorded.event_type, sent["type"], sent["data"]["id"]) == (event_type, event_type, str(job_id))
    assert sent["id"] == f"evt_{recorded.event_id.hex}"
    assert sum(sent["data"]["counts"].values()) == 2 * sent["data"]["counts"]["total"]


def test_what_is_saved_of_a_job_that_was_cancelled_meanwhile_is_no_second_end(
    database: Database, client: TestClient, receiver: Receiver
) -> None:
    add_webhook(client, receiver)
    cancelled, completed = (a_job(database, tenant=TENANT) for _ in range(2))
    with database.transaction() as session:
        items = claims.claim(session, owner=OWNER, model_digest=DIGEST, limit=2, lease_seconds=60)
        assert cancelling.cancel(session, cancelled)

    with database.transaction() as session:
        outcomes = [Outcome(item.item_id, item.attempt, text="text") for item in items]
        assert claims.save(session, owner=OWNER, outcomes=outcomes) == {completed}

    recorded = {(each.event_type, json.loads(each.payload)["data"]["id"]) for each in deliveries_of(database)}
    assert recorded == {("job.cancelled", str(cancelled)), ("job.completed", str(completed))}
    assert len(deliveries_of(database)) == 2


def test_an_event_holds_no_text_and_no_user(database: Database, client: TestClient, receiver: Receiver) -> None:
    add_webhook(client, receiver)
    a_completed_job(database)

    (recorded,) = deliveries_of(database)

    assert set(json.loads(recorded.payload)) == {"id", "object", "type", "created_at", "timestamp", "data"}
    assert set(json.loads(recorded.payload)["data"]) == {"id", "state", "counts"}


def test_jobs_that_end_in_one_transaction_have_an_event_each(
    database: Database, client: TestClient, receiver: Receiver
) -> None:
    add_webhook(client, receiver)
    ended = {a_job(database, tenant=TENANT) for _ in range(3)}
    a_job(database, [preference("formal"), preference("brief")], tenant=TENANT)

    complete(database, 4)

    told = [json.loads(recorded.payload)["data"]["id"] for recorded in deliveries_of(database)]
    assert sorted(told) == sorted(map(str, ended))


def test_what_is_rolled_back_is_told_to_nobody(database: Database, client: TestClient, receiver: Receiver) -> None:
    add_webhook(client, receiver)
    job_id = a_job(database, tenant=TENANT)

    with database.reading() as session:  # nothing done in it is kept
        assert cancelling.cancel(session, job_id)

    assert deliveries_of(database) == []


def test_a_job_that_is_retried_ends_once_more(database: Database, client: TestClient, receiver: Receiver) -> None:
    add_webhook(client, receiver)
    job_id = by_its_deadline(database)
    wind_up(database, job_id)

    with database.transaction() as session:
        assert retrying.retry(session, job_id)
    complete(database)

    expired, completed = deliveries_of(database)
    assert (expired.event_type, completed.event_type) == ("job.expired", "job.completed")
    assert expired.event_id != completed.event_id


def test_every_webhook_hears_of_what_it_is_for_and_of_nothing_else(
    database: Database, api: Api, client: TestClient, receiver: Receiver
) -> None:
    for_all, for_completed = add_webhook(client, receiver), add_webhook(client, receiver, "job.completed")
    add_webhook(client, receiver, "job.cancelled")
    disabled = add_webhook(client, receiver)
    assert client.patch(f"/v1/webhooks/{disabled['id']}", json={"enabled": False}).status_code == 200
    add_webhook(api.client(tenant="rival"), receiver)

    a_completed_job(database)

    recorded = deliveries_of(database)
    assert {str(each.webhook_id) for each in recorded} == {for_all["id"], for_completed["id"]}
    assert len({each.event_id for each in recorded}) == 1


def test_an_answer_at_once_is_no_event(database: Database, client: TestClient, receiver: Receiver) -> None:
    add_webhook(client, receiver)

    a_job(database, tenant=TENANT, is_announced=False)
    complete(database)

    assert deliveries_of(database) == []


def test_a_save_that_ends_no_job_asks_nothing_of_webhooks(
    database: Database, client: TestClient, receiver: Receiver
) -> None:
    add_webhook(client, receiver)
    a_job(database, [preference("formal")] * 3, tenant=TENANT)
    asked: list[str] = []

    def note(_c: object, _u: object, statement: str, *_: object) -> None:
        asked.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    complete(database, 2)
    num_before = sum("webhook" in statement for statement in asked)
    complete(database, 1)

    assert num_before == 0
    assert sum("webhook" in statement for statement in asked) == 3
