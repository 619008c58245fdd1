"""The application over HTTP, on a real migrated SQLite database and a queue that records what is published."""

import math
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import delete, update
from starlette.testclient import TestClient

from api.http.dependencies import Scope
from api.settings import Settings
from db.queries import keys, workers
from db.registry_models import Model, Worker
from db.session import Database
from domain.model_descriptions import ModelDescription
from domain.states import WorkerState
from tests.api.apps import client_of, create_app, take_back
from tests.builders import a_description, a_model
from worker.queue import Publisher

MODEL = "hub/tiny-model"
EVERY_SCOPE = tuple(Scope)
SEEN_AGO_SECONDS = 5.0
"""The worker that a test begins with was last seen so long ago at most; it counts as alive for 30."""


class RecordingQueue:
    """What the API uses of a Celery application; the messages go into a list."""

    def __init__(self) -> None:
        self.publishers: list[Publisher] = []
        self._queues: list[str] = []
        self._published: list[tuple[str, list[str]]] = []

    @property
    def published(self) -> list[tuple[str, list[str]]]:
        """Every message that was asked for: its task and its arguments."""
        self._flush()
        return self._published

    @property
    def queues(self) -> list[str]:
        """Where those messages went."""
        self._flush()
        return self._queues

    def _flush(self) -> None:
        assert all(publisher.flush(30) for publisher in self.publishers)

    def send_task(self, name: str, *, args: list[str], queue: str, expires: float, retry: bool) -> None:
        assert not retry, "a request must not wait for Redis"
        assert expires > 0, "what nobody reads must not stay for ever"
        self._queues.append(queue)
        self._published.append((name, args))


@dataclass
class Api:
    """One application and what its tests need of it."""

    settings: Settings
    database: Database
    queue: RecordingQueue = field(default_factory=RecordingQueue)

    def key(self, *scopes: Scope, tenant: str = "acme") -> str:
        """A new API key's text."""
        with self.database.transaction() as session:
            owner = keys.create_tenant(session, tenant)
            return keys.create_key(session, owner.id, "test", scopes)[1]

    def tenant_id(self, name: str = "acme") -> uuid.UUID:
        with self.database.transaction() as session:
            return keys.create_tenant(session, name).id

    def client(self, *scopes: Scope, tenant: str = "acme") -> TestClient:
        """A client with a key of `tenant`, by default one that may do anything but administer."""
        key = self.key(*(scopes or EVERY_SCOPE[:-1]), tenant=tenant)
        return self.anonymous_client(headers={"Authorization": f"Bearer {key}"})

    def serve(self, name: str = MODEL, description: ModelDescription | None = None, *aliases: str) -> uuid.UUID:
        """A worker, ready with this model, by its id; by default the model with a policy."""
        return a_model(self.database, name, description or a_description(max_length=4096), aliases=aliases)

    def serve_without_policy(self) -> None:
        """The model as it would be had its worker been started without a policy."""
        self.serve(MODEL, a_description(has_policy=False, max_length=4096))

    def announce(self, name: str) -> None:
        """A worker has begun to load what it will register under this name."""
        with self.database.transaction() as session:
            workers.register(session, worker_id=uuid.uuid4(), model=name)

    def forget_models(self) -> None:
        """As before any worker was started."""
        with self.database.transaction() as session:
            session.execute(delete(Worker))
            session.execute(delete(Model))

    def stop_workers(self) -> None:
        """Every worker has ended; what they registered stays."""
        with self.database.transaction() as session:
            session.execute(update(Worker).values(state=WorkerState.STOPPED))

    def anonymous_client(self, headers: dict[str, str] | None = None) -> TestClient:
        app = create_app(self.settings, database=self.database, queue=self.queue)
        self.queue.publishers.append(app.state.services.publisher)
        return client_of(app, headers=headers)


def an_api(settings: Settings, database: Database) -> Api:
    """With one model, which has a policy, and a worker that serves it."""
    api = Api(settings, database)
    api.serve()
    return api


@pytest.fixture(scope="session")
def serve_in(migrated_sqlite_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], None]:
    """Makes an SQLite database one with a model and a worker that serves it: a copy, as hundreds of tests begin so."""
    template = tmp_path_factory.mktemp("served") / "template.db"
    made_at = -math.inf

    def copy_to(file: Path) -> None:
        nonlocal made_at
        if time.monotonic() - made_at > SEEN_AGO_SECONDS:
            shutil.copy(migrated_sqlite_file, template)
            database = Database(f"sqlite:///{template}")
            a_model(database, MODEL, a_description(max_length=4096))
            database.dispose()
            made_at = time.monotonic()
        shutil.copy(template, file)

    return copy_to


@pytest.fixture
def settings(sqlite_url: str) -> Settings:
    return Settings(database_url=sqlite_url, redis_url="redis://127.0.0.1:1/0")


@pytest.fixture
def api(
    settings: Settings, sqlite_database: Database, serve_in: Callable[[Path], None], tmp_path: Path
) -> Iterator[Api]:
    """With one model, which has a policy, and a worker that serves it."""
    serve_in(tmp_path / "padserve.db")
    api = Api(settings, sqlite_database)
    yield api
    for publisher in api.queue.publishers:
        publisher.close(0)


@pytest.fixture
def client(api: Api) -> TestClient:
    """A client of the tenant "acme" that may read and write everything of its own."""
    return api.client()


@pytest.fixture(autouse=True)
def _applications() -> Iterator[None]:
    yield
    take_back()
