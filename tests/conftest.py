"""Shared by every tier: migrated databases, fresh for each test, and a real Redis."""

import gc
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

import pytest
from sqlalchemy import URL

from db import schema
from db.session import Database
from tests.certificates import share_certificates
from tests.servers import administer, copy_of, memory, postgresql_server, redis_server
from tests.statements import share_compiled_statements
from tests.zygote import fork_workers

TESTS = Path(__file__).parent
BROWSER = TESTS / "browser"
SYSTEM = TESTS / "system"
WAITING = {BROWSER, SYSTEM, TESTS / "bench" / "test_system.py", TESTS / "docs" / "test_blocks.py"}
"""Tests that mostly wait for processes of their own, and the longest of all."""
NUM_COMPUTING = 2
ON_ONE_STACK = (BROWSER, SYSTEM / "test_kill.py")

share_compiled_statements()
share_certificates()
gc.disable()  # until all is imported and collected: nothing of that is garbage, and looking for some took a third of it


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the tests of the dashboard keep pictures of its pages."""
    parser.addoption("--screenshots", metavar="FOLDER", help="keep pictures of the dashboard's pages here")


def pytest_configure(config: pytest.Config) -> None:
    """Of tests side by side, each process computes on one thread: two on as many processors only wait for each other.

    So do the processes that tests start. The folders of all are in memory where there is room. All hear a Ctrl-C: what
    a shell starts in the background is deaf to it, and so would be whatever it starts.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    folder = memory()
    if folder is not None:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(folder))
    if hasattr(config, "workerinput"):
        os.environ["OMP_NUM_THREADS"] = "1"
        if "torch" in sys.modules:  # a conftest.py further down has imported it, and it has read the environment
            sys.modules["torch"].set_num_threads(1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config, specs: list[object]) -> None:
    """Tests side by side are imported once, and not in every process."""
    fork_workers(config.invocation_params.args, len(specs))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of tests side by side, all processes but two begin with their share of those that mostly wait for others.

    Otherwise they would stand together in one process's part, and all would wait for it in the end. The last two
    compute meanwhile: as many as build machines have processors. What shares a stack stays together, and begins.
    Every process must find the same order.
    """
    if not hasattr(config, "workerinput"):
        return
    num_processes = int(config.workerinput["workercount"])
    groups: dict[object, list[pytest.Item]] = {}
    others: list[pytest.Item] = []
    for item in items:
        if _is_among(WAITING, item):
            groups.setdefault(_stack_of(item), []).append(item)
        else:
            others.append(item)
    num_waiting = max(1, num_processes - NUM_COMPUTING)
    largest_first = sorted(groups.values(), key=len, reverse=True)
    rest = iter(others)
    ordered: list[pytest.Item] = []
    for number in range(num_processes):
        own = largest_first[number::num_waiting] if number < num_waiting else []
        waiting = list(chain.from_iterable(own))
        share = (len(items) - len(ordered)) // (num_processes - number)  # as xdist gives them out
        ordered += [*waiting, *islice(rest, max(0, share - len(waiting)))]
    items[:] = [*ordered, *rest]


def pytest_collection_finish() -> None:
    """Every later search for garbage passes over what was collected: it stays until the end."""
    gc.freeze()
    gc.enable()


def _stack_of(item: pytest.Item) -> object:
    """Equal for tests on one stack."""
    return next((path for path in ON_ONE_STACK if _is_among({path}, item)), item.nodeid)


def _is_among(paths: set[Path], item: pytest.Item) -> bool:
    """Whether its file or a folder above it is one of these."""
    return not paths.isdisjoint((item.path, *item.path.parents))


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis for the whole session."""
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(scope="session")
def migrated_sqlite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("sqlite") / "template.db"
    database = Database(f"sqlite:///{file}")
    schema.upgrade(database)
    database.dispose()
    return file


@pytest.fixture(scope="session")
def migrated_postgresql() -> Iterator[URL]:
    template = f"padserve_test_template_{os.getpid()}"  # a given server may be shared with other runs
    with postgresql_server() as server:
        administer(server, f"CREATE DATABASE {template}")
        url = server.set(database=template)
        database = Database(url.render_as_string(hide_password=False))
        schema.upgrade(database)
        database.dispose()
        yield url
        administer(server, f"DROP DATABASE {template}")


@pytest.fixture
def sqlite_url(migrated_sqlite_file: Path, tmp_path: Path) -> str:
    file = tmp_path / "padserve.db"
    shutil.copy(migrated_sqlite_file, file)
    return f"sqlite:///{file}"


@pytest.fixture
def postgresql_url(migrated_postgresql: URL) -> Iterator[str]:
    with copy_of(migrated_postgresql) as url:
        yield url


@pytest.fixture
def sqlite_database(sqlite_url: str) -> Iterator[Database]:
    database = Database(sqlite_url)
    yield database
    database.dispose()


@pytest.fixture
def postgresql_database(postgresql_url: str) -> Iterator[Database]:
    database = Database(postgresql_url)
    yield database
    database.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Database:
    """A migrated database, empty, once of each kind."""
    database: Database = request.getfixturevalue(f"{request.param}_database")
    return database
