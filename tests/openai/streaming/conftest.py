"""One site per database for all files on streaming, with a real Redis, and a writer for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.openai.conftest import Site, a_site
from tests.openai.streaming.writing import Writer
from tests.servers import copy_of


@pytest.fixture(scope="package", params=["sqlite", "postgresql"])
def streaming(
    request: pytest.FixtureRequest, migrated_sqlite_file: Path, tmp_path_factory: pytest.TempPathFactory, redis_url: str
) -> Iterator[Site]:
    if request.param == "sqlite":
        file = tmp_path_factory.mktemp("streaming") / "padserve.db"
        file.write_bytes(migrated_sqlite_file.read_bytes())
        with a_site(f"sqlite:///{file}", redis_url=redis_url) as site:
            yield site
        return
    server: URL = request.getfixturevalue("migrated_postgresql")
    with copy_of(server) as url, a_site(url, redis_url=redis_url) as site:
        yield site


@pytest.fixture
def site(streaming: Site) -> Iterator[Site]:
    yield streaming
    streaming.end_everything()
    for client in streaming.clients:
        client.close()
    streaming.clients.clear()


@pytest.fixture
def writer(site: Site) -> Iterator[Writer]:
    writer = Writer(site)
    yield writer
    writer.close()
