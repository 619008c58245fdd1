"""The application over HTTP, on a real migrated SQLite database and a queue that records what is published."""

import uuid
from dataclasses import dataclass, field

import pytest
from starlette.testclient import TestClient

from api.app import create_app
from api.dependencies import Scope
from api.settings import Settings
from db.queries import keys
from db.session import Database

EVERY_SCOPE = tuple(Scope)


class RecordingQueue:
    """What the API uses of a Celery application; the messages go into a list."""

    def __init__(self) -> None:
        self.published: list[tuple[str, list[str]]] = []

    def send_task(self, name: str, *, args: list[str], retry: bool) -> None:
        assert not retry, "a request must not wait for Redis"
        self.published.append((name, args))


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

    def anonymous_client(self, headers: dict[str, str] | None = None) -> TestClient:
        app = create_app(self.settings, database=self.database, queue=self.queue)
        return TestClient(app, headers=headers, raise_server_exceptions=False)


@pytest.fixture
def settings(sqlite_url: str) -> Settings:
    return Settings(
        database_url=sqlite_url, redis_url="redis://127.0.0.1:1/0", model="hub/tiny-model", policy="hub/policy"
    )


@pytest.fixture
def api(settings: Settings, sqlite_database: Database) -> Api:
    return Api(settings, sqlite_database)


@pytest.fixture
def client(api: Api) -> TestClient:
    """A client of the tenant "acme" that may read and write everything of its own."""
    return api.client()
