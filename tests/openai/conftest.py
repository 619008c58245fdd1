"""The real API on a loopback port and OpenAI's own client, on both databases; tests do the worker's part."""

import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from openai import OpenAI
from sqlalchemy import URL, delete, select
from structlog.testing import capture_logs

from api.app import create_app
from api.http.dependencies import Scope
from api.settings import Settings
from db.models import Job
from db.queries import cancelling, claims, keys
from db.registry_models import Model, Worker
from db.session import Database
from domain.attempts import Outcome
from tests.api.conftest import RecordingQueue
from tests.builders import DIGEST, a_description, a_model, a_profile
from tests.servers import copy_of

MODEL = "hub/tiny-model"
ALIAS = "tiny"


@dataclass
class Site:
    """A running API, the database behind it, and the clients that were made for it."""

    url: str
    database: Database
    settings: Settings
    clients: list[OpenAI] = field(default_factory=list)

    def client(self, tenant: str | None = None, *scopes: Scope, **options: Any) -> OpenAI:  # noqa: ANN401 - the client's
        """A client of a tenant; without a name, of one that nobody else has."""
        with self.database.transaction() as session:
            owner = keys.create_tenant(session, tenant or f"tenant-{uuid.uuid4()}")
            _, api_key = keys.create_key(session, owner.id, "test", scopes or ["admin"])
        client = OpenAI(base_url=f"{self.url}/v1", api_key=api_key, **{"max_retries": 0, **options})
        self.clients.append(client)
        return client

    def give_profile(self, tenant: str, user_id: str, *principles: str) -> None:
        a_profile(self.database, *principles, user_id=user_id, tenant=tenant)

    def decode(self, num_items: int, *, error_code: str | None = None, **fields: object) -> list[claims.ClaimedItem]:
        """Do a worker's part for the next items: each gets its prompt in capitals, or the error."""
        owner = uuid.uuid4()
        with self.database.transaction() as session:
            claimed = claims.claim(session, owner=owner, model_digest=DIGEST, limit=num_items, lease_seconds=60)
        assert len(claimed) == num_items
        with self.database.transaction() as session:
            claims.save(session, owner=owner, outcomes=[_outcome(item, error_code, fields) for item in claimed])
        return claimed

    def serve(self) -> None:
        """A worker that is ready with the one model."""
        a_model(self.database, MODEL, a_description(max_length=4096), aliases=(ALIAS,))

    def forget_models(self) -> None:
        """As before any worker was started."""
        with self.database.transaction() as session:
            session.execute(delete(Worker))
            session.execute(delete(Model))

    def end_everything(self) -> None:
        """Leave nothing open for the next test."""
        with self.database.transaction() as session:
            for job_id in session.scalars(select(Job.id).where(Job.finished_at.is_(None))).all():
                cancelling.cancel(session, job_id)


def _outcome(item: claims.ClaimedItem, error_code: str | None, fields: dict[str, Any]) -> Outcome:
    if error_code is not None:
        return Outcome(item.item_id, item.attempt, error_code=error_code, error_message="No.")
    text = str(item.messages[-1]["content"]).upper()
    said = {"text": text, "finish_reason": "stop", "num_prompt_tokens": 3, "num_completion_tokens": 4, **fields}
    return Outcome(item.item_id, item.attempt, **said)


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def running(
    request: pytest.FixtureRequest, migrated_sqlite_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    if request.param == "sqlite":
        file = tmp_path_factory.mktemp("openai") / "padserve.db"
        file.write_bytes(migrated_sqlite_file.read_bytes())
        with a_site(f"sqlite:///{file}") as site:
            yield site
        return
    server: URL = request.getfixturevalue("migrated_postgresql")
    with copy_of(server) as url, a_site(url) as site:
        yield site


class a_site:  # noqa: N801 - read as a sentence
    """The API in a thread of this process, with one model and a worker that is said to serve it."""

    def __init__(self, database_url: str, **settings: object) -> None:
        given: dict[str, Any] = {"database_url": database_url, "redis_url": "redis://127.0.0.1:1/0", **settings}
        self.settings = Settings(**given)
        self.database = Database(database_url)
        self.queue: Any = RecordingQueue()

    def __enter__(self) -> Site:
        app = create_app(self.settings, database=self.database, queue=self.queue)
        self.publisher = app.state.services.publisher
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.listener]})
        self.thread.start()
        site = Site(f"http://127.0.0.1:{self.listener.getsockname()[1]}", self.database, self.settings)
        site.serve()
        return site

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join()
        self.listener.close()
        self.publisher.close(0)
        self.database.dispose()


@pytest.fixture
def site(running: Site) -> Iterator[Site]:
    with capture_logs():
        yield running
    running.end_everything()
    for client in running.clients:
        client.close()
    running.clients.clear()


@pytest.fixture
def client(site: Site) -> OpenAI:
    """A client of the tenant "acme-…" whose name is `tenant`'s."""
    return site.client()


@pytest.fixture
def tenant() -> str:
    return f"tenant-{uuid.uuid4()}"


@pytest.fixture
def connect(site: Site) -> Callable[..., OpenAI]:
    return site.client
