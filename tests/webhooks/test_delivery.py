"""Every event reaches its receiver, signed, at least once, under one id, whatever fails; nobody waits for others."""

import json
import threading
from collections.abc import Callable
from functools import partial

import pytest
from openai import OpenAI
from sqlalchemy import update
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

from api import metrics
from api.webhooks import delivering
from api.webhooks.delivering import Deliverer
from api.webhooks.retries import PAUSES_SECONDS
from api.webhooks.sending import Sender
from db.queries import deliveries
from db.session import Database, clock, now
from db.webhook_models import Webhook
from domain.states import DeliveryState
from tests.api.conftest import Api
from tests.counts import counted
from tests.webhooks.conftest import a_completed_job, add_webhook, bring_forward, deliveries_of
from tests.webhooks.receiver import Receiver, until

Deliver = Callable[[], Deliverer]


def ended(database: Database, state: DeliveryState = DeliveryState.DELIVERED) -> bool:
    return all(each.state == state for each in deliveries_of(database))


def attempts(database: Database) -> list[int]:
    """Of each delivery, those of which it is known what became of them."""
    return [each.attempt for each in deliveries_of(database) if each.fault is not None or each.status_code is not None]


def test_openais_client_accepts_the_event(
    database: Database, client: TestClient, receiver: Receiver, deliver: Deliver
) -> None:
    webhook = add_webhook(client, receiver)
    job_id = a_completed_job(database)

    deliver()

    (received,) = receiver.wait_for(1)
    unwrapped = OpenAI(api_key="none").webhooks.unwrap(received.body, received.headers, secret=webhook["secret"])
    assert (unwrapped.type, unwrapped.data.id) == ("job.completed", str(job_id))  # type: ignore[union-attr] # a type of ours
    assert received.headers["webhook-id"] == json.loads(received.body)["id"]
    assert received.headers["content-type"] == "application/json"
    until(lambda: ended(database))
    assert deliveries_of(database)[0].status_code == 204


def test_another_secret_does_not_verify_it(
    database: Database, client: TestClient, receiver: Receiver, deliver: Deliver
) -> None:
    other = add_webhook(client, receiver, "job.expired")
    add_webhook(client, receiver)
    a_completed_job(database)

    deliver()

    (received,) = receiver.wait_for(1)
    with pytest.raises(ValueError, match="signature"):
        OpenAI(api_key="none").webhooks.unwrap(received.body, received.headers, secret=other["secret"])


def test_both_secrets_verify_it_for_a_day_after_a_rotation(
    database: Database, client: TestClient, receiver: Receiver, deliver: Deliver
) -> None:
    webhook = add_webhook(client, receiver)
    rotated = client.post(f"/v1/webhooks/{webhook['id']}/rotate-secret").json()
    a_completed_job(database)

    deliver()

    (received,) = receiver.wait_for(1)
    openai = OpenAI(api_key="none")
    for secret in (webhook["secret"], rotated["secret"]):
        openai.webhooks.unwrap(received.body, received.headers, secret=secret)
    assert received.headers["webhook-signature"].count("v1,") == 2


def test_after_a_day_the_old_secret_signs_no_more(database: Database, client: TestClient, receiver: Receiver) -> None:
    webhook = add_webhook(client, receiver)
    rotated = client.post(f"/v1/webhooks/{webhook['id']}/rotate-secret").json()
    with database.transaction() as session:
        past = [{"secret": webhook["secret"], "until": now(session).timestamp() - 1}]
        session.execute(update(Webhook).values(retired_secrets=past))
    a_completed_job(database)

    with database.transaction() as session:
        (due,) = deliveries.due_webhooks(session)
        (claimed,) = deliveries.claim(session, due.id, limit=4)

    assert claimed.secrets == (rotated["secret"],)


@pytest.mark.parametrize(("status", "headers"), [(500, {}), (302, {"Location": "/elsewhere"}), (404, {})])
def test_what_is_not_taken_is_sent_again_under_the_same_id(
    database: Database,
    client: TestClient,
    receiver: Receiver,
    deliver: Deliver,
    *,
    status: int,
    headers: dict[str, str],
) -> None:
    webhook = add_webhook(client, receiver)
    a_completed_job(database)
    receiver.status, receiver.headers = status, headers

    deliver()
    until(lambda: attempts(database) == [1])
    (failed,) = deliveries_of(database)
    failing = client.get(f"/v1/webhooks/{webhook['id']}").json()["failing_since"]
    receiver.status = 200
    bring_forward(database)
    until(lambda: ended(database))

    first, second = receiver.received
    assert (failed.state, failed.status_code, failed.fault) == ("pending", status, f"The receiver answered {status}.")
    assert failing is not None
    assert client.get(f"/v1/webhooks/{webhook['id']}").json()["failing_since"] is None
    assert (first.path, first.body) == (second.path, second.body) == ("/hook", first.body)
    assert first.headers["webhook-id"] == second.headers["webhook-id"]


def test_a_receiver_that_does_not_answer_is_tried_again(
    database: Database, client: TestClient, receiver: Receiver, deliver: Deliver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivering, "Sender", partial(Sender, seconds=0.2))
    receiver.hold = threading.Event()
    add_webhook(client, receiver)
    a_completed_job(database)

    deliver()

    until(lambda: attempts(database) == [1])
    (failed,) = deliveries_of(database)
    assert (failed.state, failed.status_code) == (DeliveryState.PENDING, None)
    assert failed.fault is not None
    assert "did not answer" in failed.fault


def test_of_a_receiver_that_never_comes_to_its_answer_only_so_much_is_read(
    database: Database, client: TestClient, receiver: Receiver, deliver: Deliver
) -> None:
    receiver.forever = b"HTTP/1.1 100 Continue\r\n\r\n"
    add_webhook(client, receiver)
    a_completed_job(database)

    deliver()

    until(lambda: attempts(database) == [1])
    assert deliveries_of(database)[0].fault == "The receiver's answer has no end."
    assert receiver.num_said < 2**24  # what is read, and the buffers of the connection


def test_a_receiver_that_is_away_is_tried_again(
    database: Database, client: TestClient, receiver: Receiver, deliver: Deliver
) -> None:
    add_webhook(client, receiver, url="http://127.0.0.1:9/")
    a_completed_job(database)

    deliver()

    until(lambda: attempts(database) == [1])
    assert deliveries_of(database)[0].fault == "No connection to the receiver could be made."


def test_410_disables_the_webhook(database: Database, client: TestClient, receiver: Receiver, deliver: Deliver) -> None:
    webhook = add_webhook(client, receiver)
    a_completed_job(database)
    receiver.status = 410

    with counted(metrics.WEBHOOK_ATTEMPTS, metrics.DISABLED_WEBHOOKS) as counts:
        deliverer = deliver()
        until(lambda: ended(database, DeliveryState.FAILED))
        deliverer.close(30)

    assert counts.changed == {
        'padserve_webhook_attempts_total{outcome="given_up"}': 1,
        "padserve_disabled_webhooks_total": 1,
    }
    disabled = client.get(f"/v1/webhooks/{webhook['id']}").json()
    assert (disabled["enabled"], disabled["disabled_reason"]) == (False, "The receiver answered 410 Gone.")
    enabled = client.patch(f"/v1/webhooks/{webhook['id']}", json={"enabled": True}).json()
    assert (enabled["enabled"], enabled["disabled_reason"]) == (True, None)


@pytest.mark.parametrize(
    ("num_days", "reason"), [(1, None), (4, "Nothing could be delivered for 2 days. Last: The receiver answered 503.")]
)
def test_a_webhook_that_has_failed_for_days_is_disabled_when_a_delivery_is_given_up(
    database: Database,
    client: TestClient,
    receiver: Receiver,
    deliver: Deliver,
    *,
    num_days: int,
    reason: str | None,
) -> None:
    webhook = add_webhook(client, receiver)
    a_completed_job(database)
    receiver.status = 503
    with database.transaction() as session:
        session.execute(update(Webhook).values(failing_since=clock(-num_days * 86_400)))
        (delivery,) = deliveries_of(database)
        session.execute(update(type(delivery)).values(attempt=len(PAUSES_SECONDS)))

    deliver()
    until(lambda: ended(database, DeliveryState.FAILED))

    disabled = client.get(f"/v1/webhooks/{webhook['id']}").json()
    assert (disabled["enabled"], disabled["disabled_reason"]) == (reason is None, reason)


def test_whoever_dies_between_claim_and_answer_leaves_the_event_to_others(
    database: Database, client: TestClient, receiver: Receiver, deliver: Deliver
) -> None:
    add_webhook(client, receiver)
    a_completed_job(database)
    with database.transaction() as session:
        (due,) = deliveries.due_webhooks(session)
        (lost,) = deliveries.claim(session, due.id, limit=4)
    with database.reading() as session:
        assert deliveries.due_webhooks(session) == []

    bring_forward(database)  # its time is over
    deliver()
    until(lambda: ended(database))
    with database.transaction() as session:  # and the late word of whoever was thought dead changes nothing
        deliveries.give_up(session, lost, status_code=500, fault="Late.", disables="Late.")

    (delivered,) = deliveries_of(database)
    assert (delivered.state, delivered.attempt, delivered.fault) == (DeliveryState.DELIVERED, 2, None)
    assert len(receiver.received) == 1


def test_several_processes_deliver_each_event_once(
    database: Database, client: TestClient, receiver: Receiver, deliver: Deliver
) -> None:
    add_webhook(client, receiver)
    for _ in range(30):
        a_completed_job(database)

    for _ in range(3):
        deliver()
    until(lambda: ended(database))

    ids = [received.headers["webhook-id"] for received in receiver.received]
    assert len(ids) == len(set(ids)) == 30


def test_a_slow_receiver_holds_up_nobody_elses_events(
    database: Database,
    api: Api,
    client: TestClient,
    receivers: Callable[[], Receiver],
    *,
    deliver: Deliver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delivering, "MAX_CONNECTIONS", 24)
    slow, quick = receivers(), receivers()
    slow.hold = threading.Event()
    for _ in range(6):
        add_webhook(client, slow)
    add_webhook(api.client(tenant="rival"), quick)
    for _ in range(8):
        a_completed_job(database)
    deliver()
    slow.wait_for(delivering.MAX_PER_TENANT)

    for _ in range(20):
        a_completed_job(database, tenant="rival")

    assert len(quick.wait_for(20)) == 20
    assert len(slow.received) == delivering.MAX_PER_TENANT


def test_a_replay_sends_what_was_delivered_once_more_under_its_id(
    database: Database, client: TestClient, receiver: Receiver, deliver: Deliver
) -> None:
    webhook = add_webhook(client, receiver)
    a_completed_job(database)
    deliver()
    until(lambda: ended(database))
    (delivered,) = client.get(f"/v1/webhooks/{webhook['id']}/deliveries").json()["data"]

    again = client.post(f"/v1/webhooks/{webhook['id']}/deliveries/{delivered['id']}/replay")

    first, second = receiver.wait_for(2)
    assert (again.status_code, delivered["state"]) == (202, "delivered")
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == delivered["event_id"]


def test_a_test_event_says_what_became_of_it(
    database: Database, client: TestClient, receiver: Receiver, deliver: Deliver
) -> None:
    webhook = add_webhook(client, receiver, "job.expired")

    sent = client.post(f"/v1/webhooks/{webhook['id']}/test").json()
    deliver()
    until(lambda: ended(database))

    said = client.get(f"/v1/webhooks/{webhook['id']}/deliveries/{sent['id']}").json()
    assert (said["event_type"], said["state"], said["status_code"]) == ("webhook.test", "delivered", 204)


def test_a_private_address_is_refused_at_the_connection_as_well(
    database: Database, client: TestClient, receiver: Receiver
) -> None:
    add_webhook(client, receiver)  # named while that was allowed
    a_completed_job(database)
    strict = Deliverer(database, allow_private=False, look_seconds=0.02)

    strict.start()
    until(lambda: attempts(database) == [1])
    strict.close()

    assert deliveries_of(database)[0].fault == "The address is not a public one."
    assert receiver.received == []


def test_a_database_that_is_away_for_a_while_is_waited_for(
    database: Database, client: TestClient, receiver: Receiver, deliver: Deliver, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_webhook(client, receiver)
    a_completed_job(database)
    look = deliveries.due_webhooks
    failures = iter([OperationalError("", None, Exception()), ValueError("nobody thought of it")])

    def due(session: object) -> object:
        for failure in failures:
            raise failure
        return look(session)  # type: ignore[arg-type]

    monkeypatch.setattr(deliveries, "due_webhooks", due)

    deliver()

    assert len(receiver.wait_for(1)) == 1
