"""Where work that takes Python's time for seconds is done: beside the process that answers everybody.

A thread would share its interpreter: while one large job is read, every status poll would wait for it.
"""

import asyncio
import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from importlib import import_module
from multiprocessing import resource_sharer
from typing import Concatenate, ParamSpec, Protocol, TypeVar

import structlog
from starlette.concurrency import run_in_threadpool

from api.http.errors import UnavailableError
from api.settings import Settings
from db.session import Database
from domain import fault_points
from telemetry import tracing
from telemetry.logs import LogLevelError, configure_logs
from telemetry.metrics import Counted, FaultsSince, add, watch
from telemetry.tracing import TracingError, configure_tracing

MOST_PROCESSES = 4
"""As many as `Lanes.heavy` lets in. Each is started, in a second or two, when work finds all others busy."""
NICENESS = 10
"""Where processors are few, whoever is answered in milliseconds goes first."""
COLLECT_AFTER = 100_000
"""Objects. A job's rows are tuples that go as they came: looking for circles among them costs a tenth of the time."""

USED_BY_MOST = "api.submissions.accepting"
"""A new process imports it before there is work for it, which takes most of a second of a processor."""
STOP_SECONDS = 5.0
"""So long the thread that hands bodies over may take to end."""

T = TypeVar("T")
P = ParamSpec("P")
Work = Callable[Concatenate[Settings, Database, P], T]

log = structlog.get_logger(__name__)


class Bulk(Protocol):
    """Runs a function on the API's settings and database, aside."""

    def run(self, work: Work[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
        """Call `work` with settings, database and these arguments; returns or raises what it does."""
        ...

    def close(self) -> None:
        """End what was started; work that has begun is waited for."""
        ...


class BulkThreads:
    """In threads of this process: for tests, and for who brings a database that lives in memory."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database

    async def run(self, work: Work[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `work` with settings, database and these arguments; returns or raises what it does."""
        return await run_in_threadpool(work, self._settings, self._database, *args, **kwargs)

    def close(self) -> None:
        """Do nothing: no process was started."""


class BulkProcesses:
    """In processes of its own, which live on until they are closed: `work`, arguments and answer are pickled.

    A process that dies takes the work of all of them with it; whoever waits for it gets `UnavailableError`, and the
    next work begins with new processes.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._pool = self._begun()

    async def run(self, work: Work[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `work` with settings, database and these arguments; returns or raises what it does."""
        pool, future = await run_in_threadpool(self._submitted, work, args, kwargs)
        try:
            answer, counted = await asyncio.wrap_future(future)
        except BrokenProcessPool as error:
            log.warning("bulk_process_died")
            await run_in_threadpool(self._replace, pool)
            raise UnavailableError("The process that was storing this has died. Send the request again.") from error
        add(counted)
        return answer

    def warm_up(self) -> None:
        """Begin to start the first process, if none was needed so far: the next large job will not wait for it."""
        with suppress(OSError, RuntimeError):  # it cannot be started, or is not wanted any more: whoever needs it sees
            self._pool.submit(int)

    def close(self) -> None:
        """End the processes; work that has begun is waited for."""
        self._pool.shutdown(cancel_futures=True)

    def _submitted(
        self, work: Callable[..., T], args: tuple[object, ...], kwargs: dict[str, object]
    ) -> tuple[ProcessPoolExecutor, "Future[tuple[T, Counted]]"]:
        pool = self._pool
        try:
            try:
                return pool, pool.submit(_run, work, args, kwargs, tracing.carried())
            except BrokenProcessPool:  # it died while it had nothing to do
                pool = self._replace(pool)
                return pool, pool.submit(_run, work, args, kwargs, tracing.carried())
        except (OSError, BrokenProcessPool) as error:
            # A process could not be started, or another has just died. Work may be in the queue: it is not given twice.
            log.warning("bulk_process_not_started", error=type(error).__name__)
            raise UnavailableError("No process could be started to store this. Send the request again.") from error

    def _replace(self, broken: ProcessPoolExecutor) -> ProcessPoolExecutor:
        with self._lock:
            if self._pool is broken:
                broken.shutdown(wait=False)
                _close_what_nobody_fetched()
                self._pool = self._begun()
            return self._pool

    def _begun(self) -> ProcessPoolExecutor:
        spawn = multiprocessing.get_context("spawn")  # a fork would inherit connections, threads and their locks
        return ProcessPoolExecutor(MOST_PROCESSES, spawn, initializer=_begin, initargs=(self._settings,))


def _close_what_nobody_fetched() -> None:
    """Bodies on their way to processes that have died: each would stay open, and its bytes on the disk, for ever."""
    with suppress(OSError):  # of a listener that is gone nobody fetches anything
        resource_sharer.stop(STOP_SECONDS)


_database: Database
_settings: Settings
_faults = FaultsSince()


def _begin(settings: Settings) -> None:
    """Prepare a new process for work: lower priority, no Ctrl-C of its own, a database, and what it will import."""
    global _database, _settings
    os.nice(NICENESS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the API ends its own processes
    threading.Thread(target=_end_with_the_api, daemon=True).start()
    with suppress(LogLevelError, TracingError):  # the API has said so
        configure_logs()
        configure_tracing("padserve-api")
    fault_points.arm()
    _settings, _database = settings, Database(settings.database_url)
    watch(_database)
    import_module(USED_BY_MOST)  # not above: it is who asks for work to be done here
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)


def _end_with_the_api() -> None:
    """An API that is killed cannot end its processes."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run(
    work: Callable[..., T], args: tuple[object, ...], kwargs: dict[str, object], carrier: dict[str, str]
) -> tuple[T, Counted]:
    """The answer, and what this process has counted since it last gave one: nobody scrapes it."""
    with tracing.working_for(carrier):
        answer = work(_settings, _database, *args, **kwargs)
    return answer, _faults.take()
