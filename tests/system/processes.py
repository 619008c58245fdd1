"""Real processes for system tests: a Redis, an API and workers that can be killed and started again."""

import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

import httpx
import psutil
import redis

from padserve.stack.processes import guarded
from padserve.stack.signals import held_back
from tests.servers import free_port, redis_executable
from tests.system import forked
from tests.system.forked import ForkedProcess

ROOT = Path(__file__).parents[2]
KEY = "pad_system_test-key-of-no-consequence"
NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""There is no TLS here: to read the machine's certificates for every look took half of a processor."""
ECHO_WORKER = Path(__file__).parent / "programs" / "echo_worker.py"
POLL_SECONDS = 0.1
"""Between two looks: asked fifty times a second, API and test took as much of the processors as the engine."""


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not in {seconds:.0f} seconds: {what}"
        time.sleep(POLL_SECONDS)


Process: TypeAlias = subprocess.Popen[bytes] | ForkedProcess
PROGRAMS = {
    ("-m", "api"): forked.API,
    ("-m", "worker"): forked.WORKER,
    ("-m", "bench.system.worker"): forked.BENCH_WORKER,
    (str(ECHO_WORKER),): forked.ECHO_WORKER,
}


def engine_of(worker: Process) -> psutil.Process | None:
    """None while it is being started."""
    with suppress(psutil.Error):
        for child in worker.children() if isinstance(worker, ForkedProcess) else psutil.Process(worker.pid).children():
            if "resource_tracker" not in " ".join(child.cmdline()):
                return child
    return None


@dataclass
class Stack:
    """One database, one Redis, one API and any number of workers, in one folder."""

    folder: Path
    environment: Mapping[str, str]
    redis_port: int
    api_port: int
    forks: bool = False
    """Whether the project's own programs are spared their imports (`tests.system.forked`)."""
    _processes: list[Process] = field(default_factory=list)
    _latest: dict[str, Process] = field(default_factory=dict)

    @property
    def client(self) -> httpx.Client:
        url, headers = f"http://127.0.0.1:{self.api_port}", {"Authorization": f"Bearer {KEY}"}
        return httpx.Client(base_url=url, headers=headers, timeout=60, verify=NO_CERTIFICATES)

    def process(self, name: str) -> Process:
        """The last that was started as "redis", "api" or "worker"."""
        return self._latest[name]

    def start_what_is_missing(self) -> None:
        """Redis, API and a worker run, whatever an earlier test has killed, and a model is served."""
        for name, start in (("redis", self.start_redis), ("api", self.start_api), ("worker", self.start_worker)):
            if name not in self._latest or self._latest[name].poll() is not None:
                start()
        wait_until(self.is_ready, 240, "a model is served")

    def start_redis(self) -> Process:
        """Without persistence: whatever was in it is gone when it dies."""
        options = ("--port", self.redis_port, "--bind", "127.0.0.1", "--dir", self.folder, "--save", "")
        process = self.start("redis", [redis_executable(), *map(str, options)])
        wait_until(self.redis_answers, 30, "Redis answers")
        return process

    def start_api(self) -> Process:
        process = self.start("api", [sys.executable, "-m", "api"])
        wait_until(self.api_answers, 120, "the API answers")
        return process

    def start_worker(self, **settings: object) -> Process:
        given = {f"PADSERVE_{name.upper()}": str(value) for name, value in settings.items()}
        return self.start("worker", [sys.executable, "-m", "worker"], given)

    def stop(self) -> None:
        """End every process that was started here; the API and the workers kindly, so that engines end too.

        Whatever interrupts that, as a time limit does, kills what is left.
        """
        try:
            for process in reversed(self._processes):
                process.send_signal(signal.SIGCONT)
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(30)
        finally:
            with held_back():
                for process in self._processes:
                    process.kill()
                    process.wait()

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def start(self, name: str, command: list[str], settings: Mapping[str, str] = MappingProxyType({})) -> Process:
        environment = {**self.environment, **settings}
        process = self._begin(command, environment, self.folder / f"{name}.log")
        self._processes.append(process)
        self._latest[name] = process
        return process

    def _begin(self, command: list[str], environment: Mapping[str, str], log: Path) -> Process:
        if self.forks and command[0] == sys.executable:
            for program, module in PROGRAMS.items():
                if tuple(command[1 : 1 + len(program)]) == program:
                    return ForkedProcess(module, command[1 + len(program) :], environment, log)
        with log.open("ab") as file:
            return subprocess.Popen(guarded(command), cwd=ROOT, env=environment, stdout=file, stderr=file)

    def redis_answers(self) -> bool:
        with suppress(redis.RedisError), redis.Redis(port=self.redis_port) as client:
            return bool(client.ping())
        return False

    def api_answers(self) -> bool:
        with suppress(httpx.HTTPError), self.client as client:
            return client.get("/healthz").status_code == httpx.codes.OK
        return False

    def is_ready(self) -> bool:
        with self.client as client:
            return client.get("/readyz").status_code == httpx.codes.OK


@contextmanager
def a_stack(folder: Path, database_url: str, **settings: object) -> Iterator[Stack]:
    """A stack with nothing started yet; whatever was started is ended with the block."""
    redis_port, api_port = free_port(), free_port()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PADSERVE_")}
    given = {f"PADSERVE_{name.upper()}": str(value) for name, value in settings.items()}
    environment = inherited | {
        "OMP_NUM_THREADS": "1",
        "PADSERVE_DATABASE_URL": database_url,
        "PADSERVE_REDIS_URL": f"redis://127.0.0.1:{redis_port}/0",
        "PADSERVE_PORT": str(api_port),
        **given,
    }
    stack = Stack(folder, environment, redis_port, api_port)
    try:
        yield stack
    finally:
        stack.stop()


@contextmanager
def a_forking_stack(folder: Path, database_url: str, **settings: object) -> Iterator[Stack]:
    """The same, of programs that are forked where they have been imported already."""
    with a_stack(folder, database_url, **settings) as stack:
        stack.forks = True
        yield stack
