"""The local stack: Redis, API and workers as child processes over one data folder. Starts, watches and ends them."""

import ssl
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from padserve.errors import StackError
from padserve.settings import Settings, child_environment
from padserve.stack import database, redis_server
from padserve.stack.home import Home, create_private
from padserve.stack.network import claim_port, url_of
from padserve.stack.processes import Child, describe_exit
from padserve.stack.served import ServedModel
from padserve.stack.signals import Interruption, held_back
from padserve.stack.supervision import EndStack, LeaveStopped, Restart, Role, after_exit

POLL_SECONDS = 0.05
PROBE_SECONDS = 1.0
START_SECONDS = 60.0
STEADY_SECONDS = 60.0  # after so long a life an end is no longer part of a series
GRACE_SECONDS = 15.0  # longer than the API lets a request take to finish
# Threads that spin while they wait for each other would take the cores from the rest of the stack.
MACHINE_IS_SHARED = {"OMP_WAIT_POLICY": "PASSIVE"}
# The stack's own API speaks no TLS: reading the machine's certificates at every look took most of a processor.
NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
# -P: the installed packages, not whatever lies in the working directory under the same name.
PYTHON_MODULE = (sys.executable, "-P", "-m")


@dataclass(frozen=True, slots=True)
class Programs:
    """What the stack runs as its API and its workers."""

    api: tuple[str, ...] = (*PYTHON_MODULE, "api")
    worker: tuple[str, ...] = (*PYTHON_MODULE, "worker")


@dataclass(slots=True)
class _Service:
    """One process of the stack, through all its incarnations."""

    name: str
    command: tuple[str, ...]
    role: Role
    grace_seconds: float = GRACE_SECONDS
    log_name: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    """What it is told beside what all are told."""
    model: ServedModel | None = None
    """What it serves, where it is one of several workers."""
    child: Child | None = None
    was_ready: bool = False
    has_served: bool = False
    """Whether any of its incarnations was ready."""
    num_restarts: int = 0
    restart_at: float | None = None


class Stack:
    """One local stack. `start` returns when the API answers; call `check` often after it; `stop` leaves no process."""

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str],
        *,
        report: Callable[[str], None],
        programs: Programs | None = None,
        models: Sequence[ServedModel] = (),
    ) -> None:
        programs = programs or Programs()
        self.home = Home(settings.home)
        self.url = ""
        self.api_key = ""
        self._settings = settings
        self._environment = MACHINE_IS_SHARED | child_environment(environ)
        self._report = report
        self._api = _Service("API", programs.api, Role.ESSENTIAL)
        self._workers = _workers(programs.worker, models, settings.drain_seconds + GRACE_SECONDS)
        self._redis = _Service("Redis", (), Role.ESSENTIAL)
        self._services = (self._api, *self._workers, self._redis)
        self._next_probe = 0.0

    @property
    def is_ready(self) -> bool:
        """Whether every worker that may still be has said, since it was last started, that it can do work."""
        hopeful = [worker for worker in self._workers if not _is_hopeless(worker)]
        return bool(hopeful) and all(worker.was_ready for worker in hopeful)

    @property
    def ready_models(self) -> list[ServedModel]:
        """Where there are several models, those whose workers can do work."""
        return [worker.model for worker in self._workers if worker.model is not None and worker.was_ready]

    def start(self) -> None:
        """Start everything that has no URL yet, in the order in which one needs the other."""
        settings = self._settings
        port = claim_port(settings.host, settings.port)
        self.url = url_of(settings.host, port)
        database_url = settings.database_url or self.home.database_url
        redis_url = settings.redis_url or self._start_redis()
        self._environment |= {
            "PADSERVE_HOST": settings.host,
            "PADSERVE_PORT": str(port),
            "PADSERVE_DATABASE_URL": database_url,
            "PADSERVE_REDIS_URL": redis_url,
            "PADSERVE_DRAIN_SECONDS": str(settings.drain_seconds),
        }
        self._prepare_database(database_url)
        self._launch(self._api)
        self._await(self._api, lambda: self._answers("/healthz"))
        for worker in self._workers:
            self._launch(worker)
        self.home.url_file.write_text(self.url + "\n")

    def _prepare_database(self, url: str) -> None:
        if self._settings.database_url is None:
            create_private(self.home.database)
        self.api_key = database.prepare(url, self._settings.api_key or self.home.api_key)
        if self._settings.api_key is None and self.home.api_key is None:
            self.home.keep_api_key(self.api_key)

    def _start_redis(self) -> str:
        configuration, url = redis_server.write_configuration(self.home.redis, claim_port("127.0.0.1", 0))
        self._redis.command = (redis_server.find_redis_server(), str(configuration))
        self._launch(self._redis)
        self._await(self._redis, lambda: redis_server.answers(url))
        return url

    def _launch(self, service: _Service) -> None:
        service.restart_at = None
        log = self.home.logs / f"{service.log_name or service.name.lower()}.log"
        environment = child_environment({**self._environment, **service.settings})
        with held_back():  # a process that was started is known here, whatever comes in between
            service.child = Child(service.name, service.command, environment, log)

    def _await(self, service: _Service, answers: Callable[[], bool]) -> None:
        """Wait until the service answers; its end or a minute of silence is an error."""
        deadline = time.monotonic() + START_SECONDS
        while not answers():
            self._look_after(service)
            if time.monotonic() > deadline:
                lines = service.child.last_lines() if service.child else []
                raise StackError(f"The {service.name} did not answer within {START_SECONDS:.0f} seconds.", lines)
            time.sleep(POLL_SECONDS)

    def check(self) -> None:
        """Look after every process once; raises `StackError` when one is lost that the stack cannot be without."""
        for service in self._services:
            self._look_after(service)
            if service.child is not None:
                service.child.rotate_log()
        waiting = [worker for worker in self._workers if worker.child is not None and not worker.was_ready]
        if waiting and time.monotonic() >= self._next_probe:
            self._next_probe = time.monotonic() + PROBE_SECONDS
            self._probe(waiting)

    def _probe(self, waiting: Sequence[_Service]) -> None:
        """Ask the server who is ready: a stack of one model is when it is, of several each says so under its name."""
        answer = self._answer("/readyz")
        if answer is None:
            return
        ready = {model["id"] for model in _models_of(answer) if model["state"] == "ready"}
        for worker in waiting:
            worker.was_ready = answer.is_success if worker.model is None else worker.model.name in ready
            worker.has_served = worker.has_served or worker.was_ready

    def _look_after(self, service: _Service) -> None:
        if service.child is None:
            if service.restart_at is not None and time.monotonic() >= service.restart_at:
                self._launch(service)
        elif (exit_code := service.child.exit_code) is not None:
            self._handle_exit(service, service.child, exit_code)

    def _handle_exit(self, service: _Service, child: Child, exit_code: int) -> None:
        child.sweep()
        service.child = None
        if child.uptime_seconds >= STEADY_SECONDS:
            service.num_restarts = 0
        ending, lines = f"The {service.name} {describe_exit(exit_code)}", child.last_lines()
        verdict = after_exit(service.role, exit_code, has_served=service.has_served, num_restarts=service.num_restarts)
        service.was_ready = False
        match verdict:
            case EndStack():
                raise StackError(f"{ending}.", lines)
            case LeaveStopped() if all(map(_is_hopeless, self._workers)):
                raise StackError(f"{ending}, and would again: put this right, then start anew.", lines)
            case LeaveStopped():
                self._report("\n  ".join([f"{ending}, and would again: put this right, then start anew.", *lines]))
            case Restart(after_seconds):
                service.num_restarts += 1
                service.restart_at = time.monotonic() + after_seconds
                self._report("\n  ".join([f"{ending}; started again in {after_seconds:.0f} s. It last wrote:", *lines]))

    def _answers(self, path: str) -> bool:
        answer = self._answer(path)
        return answer is not None and answer.is_success

    def _answer(self, path: str) -> httpx.Response | None:
        try:
            return httpx.get(self.url + path, timeout=PROBE_SECONDS, trust_env=False, verify=NO_CERTIFICATES)
        except httpx.TransportError:
            return None

    def stop(self) -> None:
        """End every process: what feeds the others first. Where that is interrupted, kill what is left."""
        try:
            self.home.url_file.unlink(missing_ok=True)
            for service in self._services:
                if service.child is not None:
                    service.child.stop(service.grace_seconds)
        finally:
            with held_back():
                self.kill()
                for service in self._services:
                    if service.child is not None:
                        service.child.await_end()

    def kill(self) -> None:
        """End every process now; waits for none, so that it may be called in the middle of anything."""
        for service in self._services:
            if service.child is not None:
                service.child.sweep()


def _workers(command: tuple[str, ...], models: Sequence[ServedModel], grace_seconds: float) -> list[_Service]:
    """One, on the environment as it is, or one for each model."""
    if not models:
        return [_Service("worker", command, Role.REPLACEABLE, grace_seconds)]
    if len(models) == 1:
        return [_Service("worker", command, Role.REPLACEABLE, grace_seconds, settings=models[0].settings)]
    return [
        _Service(
            f"worker for {model.name}",
            command,
            Role.REPLACEABLE,
            grace_seconds,
            log_name=f"worker-{model.file_name}",
            settings=model.settings,
            model=model,
        )
        for model in models
    ]


def _is_hopeless(worker: _Service) -> bool:
    return worker.child is None and worker.restart_at is None


def _models_of(answer: httpx.Response) -> list[dict[str, str]]:
    try:
        models: list[dict[str, str]] = answer.json().get("models", [])
    except ValueError:
        return []
    return models


@contextmanager
def running_stack(
    settings: Settings,
    environ: Mapping[str, str],
    *,
    report: Callable[[str], None],
    programs: Programs | None = None,
    models: Sequence[ServedModel] = (),
) -> Iterator[Stack]:
    """A started stack, ended with the block. SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt in the block.

    While the stack is being ended, one more such signal kills what is left at once. Main thread only.
    """
    stack = Stack(settings, environ, report=report, programs=programs, models=models)
    interruption = Interruption(at_once=stack.kill)
    with stack.home.held(), interruption.handled():
        try:
            yield from _started(stack, interruption, report)
        finally:
            stack.stop()


def _started(stack: Stack, interruption: Interruption, report: Callable[[str], None]) -> Iterator[Stack]:
    try:
        stack.start()
        yield stack
    except KeyboardInterrupt:
        report("Stopping what was started (once more: at once) ...")
        raise
    except OSError as error:
        raise StackError(f"Cannot go on in {stack.home.path}: {error.strerror or error}.") from error
    finally:
        interruption.is_ending = True
        stack.stop()
