"""The real API on a loopback port and Anthropic's own client, on both databases; tests do the worker's part."""

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from anthropic import Anthropic
from structlog.testing import capture_logs

from api.http.dependencies import Scope
from db.queries import keys
from tests.openai.conftest import Site, running, tenant

__all__ = ["running", "tenant"]
Connect = Callable[..., Anthropic]


@pytest.fixture
def site(running: Site) -> Iterator[Site]:
    with capture_logs():
        yield running
    running.end_everything()


@pytest.fixture
def connect(site: Site) -> Iterator[Connect]:
    """Makes clients of a tenant; without a name, of one that nobody else has."""
    clients: list[Anthropic] = []

    def made(tenant: str | None = None, *scopes: Scope, **options: Any) -> Anthropic:  # noqa: ANN401 - the client's
        client = Anthropic(
            **{"base_url": site.url, "api_key": a_key(site, tenant, *scopes), "max_retries": 0, **options}
        )
        clients.append(client)
        return client

    yield made
    for client in clients:
        client.close()


@pytest.fixture
def client(connect: Connect) -> Anthropic:
    return connect()


def a_key(site: Site, tenant: str | None = None, *scopes: Scope) -> str:
    with site.database.transaction() as session:
        owner = keys.create_tenant(session, tenant or f"tenant-{uuid.uuid4()}")
        return keys.create_key(session, owner.id, "test", scopes or ["admin"])[1]
