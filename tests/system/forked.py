"""The project's programs, forked from a process that has imported them: a start without two seconds of imports.

What runs is a process as any other, with its own environment, log and exit code, to be killed and paused. How people
start the same programs is tested where that is the point: in `tests/api/test_start.py` and `test_stack.py` here.
"""

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from importlib import import_module
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext
from multiprocessing.forkserver import ForkServer
from multiprocessing.util import get_temp_dir
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from unittest.mock import patch

import psutil

from padserve.stack.guarded_exec import die_with_parent
from worker.supervision import supervisor

ROOT = Path(__file__).parents[2]
API, WORKER, ECHO_WORKER = "api.__main__", "worker.__main__", "tests.system.programs.echo_worker"
BENCH_WORKER = "bench.system.worker"
STAND_INS = "tests.padserve.programs.fake_up"
DECODER = "worker.texts.decoder"
TOY_GROUP = "tests.engine.parallel.toy_group"
PRELOADED = [
    API,
    WORKER,
    ECHO_WORKER,
    BENCH_WORKER,
    STAND_INS,
    "celery.apps.worker",
    "celery.concurrency.thread",
    "kombu.transport.redis",
]
PRELOADED += ["celery.bin.celery", "celery.worker.consumer", "celery.worker.strategy"]
PRELOADED += ["uvicorn.protocols.http.auto", "psycopg"]

_forkserver: ForkServer = vars(forkserver)["_forkserver"]
"""The one that `multiprocessing` knows."""


class ForkedProcess:
    """A program, running, with as much of `subprocess.Popen` as tests use."""

    def __init__(self, module: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        log.touch()  # it is read before the process has written
        self._process = context().Process(target=_run, args=(module, tuple(arguments), dict(environment), log))
        with with_torch() if module in {WORKER, TOY_GROUP} else nullcontext():
            self._process.start()

    @property
    def pid(self) -> int:
        """What it is known by."""
        assert self._process.pid is not None
        return self._process.pid

    def children(self) -> list[psutil.Process]:
        """The processes that it has started: a worker's engine."""
        started = psutil.Process(self.pid).children()
        return [child for server in started for child in server.children()]

    def poll(self) -> int | None:
        """The exit code, or the negative of the signal that ended it; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """The same once it has ended; raises `subprocess.TimeoutExpired` where it does not."""
        self._process.join(timeout)
        exit_code = self._process.exitcode
        if exit_code is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired([self._process.name], timeout)
        return exit_code

    def send_signal(self, number: int) -> None:
        """Nothing where it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Tell it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


def context() -> ForkServerContext:
    """Starts processes in which the programs and the test decoder are imported already."""
    forking = multiprocessing.get_context("forkserver")
    forking.set_forkserver_preload(PRELOADED)
    return forking


@contextmanager
def with_torch() -> Iterator[None]:
    """What is started meanwhile can load a model at once."""
    with patch.object(forkserver, "connect_to_new_process", _with_torch().connect_to_new_process):
        yield


@cache
def _with_torch() -> ForkServer:
    """Starts processes in which a model can be loaded at once. It takes as long as one engine: few tests need it."""
    server = ForkServer()
    server.set_forkserver_preload([*PRELOADED, DECODER])
    return server


def fork_servers(not_theirs: Sequence[int]) -> None:
    """Both are children of this process from now on, and serve all its forks: nothing is imported twice.

    They close the descriptors that are not theirs: whoever waits for the end of a pipe would wait for them.
    """
    for server, modules in ((_forkserver, PRELOADED), (_with_torch(), [DECODER])):
        for module in modules:
            import_module(module)
        address, our_end, _ = _fork_server(f"programs-{module}", not_theirs)
        vars(server).update(_forkserver_address=address, _forkserver_alive_fd=our_end)
        vars(server)["ensure_running"] = resource_tracker.ensure_running  # to look after it is for its parent only


def _run(module: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
    die_with_parent()  # the fork server, which ends with the tests
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(ROOT)
    with log.open("ab") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    sys.argv = [module, *arguments]
    if module == API:
        _track_its_semaphores_itself()
    if module in (WORKER, ECHO_WORKER, BENCH_WORKER):
        _fork_engines_too()
    sys.exit(cast("Callable[[], int]", import_module(module).main)())


def _track_its_semaphores_itself() -> None:
    """What a killed program leaves of its pool of processes its own tracker clears away, as where it was started.

    The tests' tracker would keep five semaphores of each, and end with a warning of all.
    """
    its_own = resource_tracker.ResourceTracker()
    for name in ("ensure_running", "register", "unregister", "getfd"):
        setattr(resource_tracker, name, getattr(its_own, name))


def _fork_engines_too() -> None:
    """This program's engines come from a child that has imported what it has, and has neither thread nor socket."""
    address, our_end, pid = _fork_server("engines")
    vars(_forkserver).update(_forkserver_address=address, _forkserver_alive_fd=our_end, _forkserver_pid=pid)
    patch.object(supervisor, "multiprocessing", SimpleNamespace(get_context=lambda _method: context())).start()


def _fork_server(name: str, not_its: Sequence[int] = ()) -> tuple[str, int, int]:
    """A fork server as `multiprocessing` starts one, only that nothing is executed anew: a child of this process.

    Its address, what must stay open while it is wanted, and its process.
    """
    listener = socket.socket(socket.AF_UNIX)
    address = str(Path(get_temp_dir(), f"{name}-{os.getpid()}"))
    listener.bind(address)
    listener.listen()
    end_here, our_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        for end in (our_end, *not_its):
            os.close(end)
        try:
            forkserver.main(listener.detach(), end_here, [])
        finally:
            os._exit(0)
    os.close(end_here)
    listener.close()
    return address, our_end, pid
