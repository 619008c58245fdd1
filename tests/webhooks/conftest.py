"""Webhooks against receivers on loopback ports, on both databases; tests end jobs as workers do."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from sqlalchemy import select, update
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from api.settings import Settings
from api.webhooks import delivering
from api.webhooks.delivering import Deliverer
from db.queries import claims
from db.session import Database, clock
from db.webhook_models import WebhookDelivery
from domain.attempts import Outcome
from tests.api.apps import take_back
from tests.api.conftest import Api, an_api
from tests.builders import DIGEST, a_job
from tests.webhooks.receiver import Receiver, a_receiver

TENANT = "acme"


@pytest.fixture
def receivers() -> Iterator[Callable[[], Receiver]]:
    """Makes receivers that live as long as the test."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(a_receiver())


@pytest.fixture
def receiver(receivers: Callable[[], Receiver]) -> Receiver:
    return receivers()


@pytest.fixture
def api(database: Database) -> Iterator[Api]:
    """An application that lets webhooks name addresses of this machine."""
    url = database.url.render_as_string(hide_password=False)
    settings = Settings(database_url=url, redis_url="redis://127.0.0.1:1/0", webhook_private_addresses=True)
    api = an_api(settings, database)
    yield api
    for publisher in api.queue.publishers:
        publisher.close(0)
    take_back()


@pytest.fixture
def client(api: Api) -> TestClient:
    return api.client(tenant=TENANT)


@pytest.fixture
def logs() -> Iterator[list[Any]]:
    with capture_logs() as logs:
        yield logs


@pytest.fixture
def deliver(database: Database, logs: list[Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Deliverer]]:
    """Starts a deliverer, as an API process does; several share the work."""
    started = []
    monkeypatch.setattr(delivering, "STOP_SECONDS", 0.1)

    def start() -> Deliverer:
        deliverer = Deliverer(database, allow_private=True, look_seconds=0.02)
        deliverer.start()
        started.append(deliverer)
        return deliverer

    yield start
    for deliverer in started:
        deliverer.close(30)  # it uses the database until it has ended


def add_webhook(client: TestClient, receiver: Receiver, *event_types: str, **fields: object) -> dict[str, Any]:
    body = {"url": receiver.url, **({"event_types": list(event_types)} if event_types else {}), **fields}
    answer = client.post("/v1/webhooks", json=body)
    assert answer.status_code == 201, answer.text
    added: dict[str, Any] = answer.json()
    return added


def a_completed_job(database: Database, tenant: str = TENANT) -> uuid.UUID:
    """A job of one item, which a worker has decoded."""
    job_id = a_job(database, tenant=tenant)
    complete(database)
    return job_id


def complete(database: Database, num_items: int = 1) -> None:
    """Do a worker's part for the next items."""
    owner = uuid.uuid4()
    with database.transaction() as session:
        claimed = claims.claim(session, owner=owner, model_digest=DIGEST, limit=num_items, lease_seconds=60)
    assert len(claimed) == num_items
    said = {"text": "tea", "finish_reason": "stop", "num_prompt_tokens": 3, "num_completion_tokens": 4}
    with database.transaction() as session:
        claims.save(session, owner=owner, outcomes=[Outcome(one.item_id, one.attempt, **said) for one in claimed])  # type: ignore[arg-type] # fields by name


def deliveries_of(database: Database) -> list[WebhookDelivery]:
    with database.reading() as session:
        return list(session.scalars(select(WebhookDelivery).order_by(WebhookDelivery.id)))


def bring_forward(database: Database) -> None:
    """What is postponed is due now."""
    with database.transaction() as session:
        due = update(WebhookDelivery).where(WebhookDelivery.state == "pending").values(next_attempt_at=clock(-1))
        session.execute(due)
