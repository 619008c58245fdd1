"""Shared by the tests of client and command line: a running API."""

from collections.abc import Iterator

import pytest

from db.session import Database
from tests.padserve.running_api import Server, running_api


@pytest.fixture
def server(sqlite_database: Database, redis_url: str) -> Iterator[Server]:
    with running_api(sqlite_database, redis_url) as server:
        yield server
