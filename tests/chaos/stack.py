"""The processes of a chaos run: kept running as a supervisor would, and hurt one after the other."""

import datetime as dt
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeAlias

import psutil
import redis

from tests.chaos.databases import DatabaseUnderFire, Misfortune
from tests.system.processes import ECHO_WORKER, Process, Stack, engine_of

LEASE_SECONDS = 3.0
ENGINE_SILENCE_SECONDS = 6.0
REST_SECONDS = (0.6, 1.8)
"""Between two misfortunes."""
PATIENCE_SECONDS = 8.0
MOST_AT_ONCE = 3
RESTART_SECONDS = 1.0
"""Between two starts of one program: it may find nobody to talk to."""
SETTINGS = {
    "model": "tiny",
    "lease_seconds": LEASE_SECONDS,
    "reconcile_seconds": 0.5,
    "drain_seconds": 2,
    "engine_silence_seconds": ENGINE_SILENCE_SECONDS,
    "log_level": "debug",
}


class _Due(NamedTuple):
    at: float
    target: str
    end: Callable[[], None]


class StackUnderFire:
    """An API, a Redis and some workers with the test decoder; each target suffers one misfortune at a time."""

    def __init__(self, stack: Stack, database: DatabaseUnderFire, num_workers: int, draws: random.Random) -> None:
        self.num_suffered: Counter[str] = Counter()
        self._stack = stack
        self._database = database
        self._workers = [f"worker-{number}" for number in range(num_workers)]
        self._draws = draws
        self._due: list[_Due] = []
        self._started: dict[str, float] = {}
        self._saves = _Saves(self.logs)
        self._has_saved = False
        self._next_misfortune = self._out_of_patience = 0.0

    @property
    def logs(self) -> list[Path]:
        """What API and workers have said."""
        return [self._stack.folder / f"{name}.log" for name in ("api", *self._workers)]

    def start(self) -> None:
        """Everything, and wait until the API answers."""
        self._stack.start_redis()
        for name in self._workers:
            self._start(name)
        self._stack.start_api()

    def suffer(self) -> None:
        """End what is due, start what is down, and begin something when it is time; call it often.

        It is time after a rest in which something was saved: however slow the machine, it is work that is hurt, and
        not programs that are still starting. What stands still is hurt all the same when patience runs out.
        """
        self._recover(time.monotonic())
        self._has_saved = self._saves.have_come() or self._has_saved
        if time.monotonic() >= (self._next_misfortune if self._has_saved else self._out_of_patience):
            self._next_misfortune = time.monotonic() + self._draws.uniform(*REST_SECONDS)
            self._out_of_patience = time.monotonic() + PATIENCE_SECONDS
            self._has_saved = False
            self._begin()

    def keep_running(self) -> None:
        """As `suffer`, without anything new."""
        self._recover(time.monotonic())

    def calm_down(self) -> None:
        """End every misfortune."""
        self._recover(float("inf"))

    def _recover(self, now: float) -> None:
        due = [one for one in self._due if one.at <= now]
        self._due = [one for one in self._due if one.at > now]
        for one in due:
            one.end()
            self._note(f"{one.target}: over")
        for name in ("redis", "api", *self._workers):
            is_meant = any(one.target == name for one in self._due)
            if not is_meant and self._stack.process(name).poll() is not None:
                self._start(name)

    def _start(self, name: str) -> None:
        if time.monotonic() < self._started.get(name, 0.0) + RESTART_SECONDS:
            return
        self._started[name] = time.monotonic()
        if name == "redis":
            self._stack.start_redis()
        elif name == "api":
            self._stack.start("api", [sys.executable, "-m", "api"])
        else:
            self._stack.start(name, [sys.executable, str(ECHO_WORKER)])

    def _begin(self) -> None:
        busy = {one.target for one in self._due}
        targets = ["api", "redis", "database", *self._workers, *self._workers]  # who holds items suffers most
        free = [name for name in targets if name not in busy]
        if len(busy) >= MOST_AT_ONCE or not free:
            return
        target = self._draws.choice(free)
        misfortune = self._draws.choice(self._misfortunes(target))
        seconds = self._draws.uniform(*misfortune.seconds)
        self.num_suffered[f"{target.partition('-')[0]}: {misfortune.name}"] += 1
        self._due.append(_Due(time.monotonic() + seconds, target, misfortune.end))
        misfortune.begin()
        self._note(f"{target}: {misfortune.name} for {seconds:.1f} s")

    def _note(self, line: str) -> None:
        """For whoever has to find out what a run did when."""
        with (self._stack.folder / "chaos.log").open("a") as log:
            log.write(f"{dt.datetime.now(dt.UTC).isoformat()} {line}\n")

    def _misfortunes(self, target: str) -> tuple[Misfortune, ...]:
        if target == "database":
            return self._database.misfortunes
        process = self._stack.process(target)
        kill = Misfortune("kill -9", partial(_kill, process), _nothing, (0.0, 2.0))
        pause = _pause("pause", process, (0.5, 3.0))
        if target == "api":
            return kill, pause
        if target == "redis":
            return kill, pause, Misfortune("FLUSHALL", self._flush, _nothing, (0.0, 0.0))
        engine = engine_of(process)
        return (
            kill,
            Misfortune("SIGTERM", process.terminate, _nothing, (0.0, 2.0)),
            _pause("pause past the lease", process, (LEASE_SECONDS, LEASE_SECONDS + 3)),
            Misfortune("engine kill -9", partial(_signal, engine, signal.SIGKILL), _nothing, (0.0, 0.0)),
            _pause("engine pause", engine, (0.5, ENGINE_SILENCE_SECONDS + 2)),
        )

    def _flush(self) -> None:
        with suppress(redis.RedisError), redis.Redis(port=self._stack.redis_port, socket_timeout=1) as client:
            client.flushall()


class _Saves:
    """Whether workers have saved anything lately, by what they say."""

    def __init__(self, logs: Sequence[Path]) -> None:
        self._read = dict.fromkeys(logs, 0)

    def have_come(self) -> bool:
        """Since this was last asked."""
        is_new = False
        for log, offset in self._read.items():
            if log.exists():
                with log.open("rb") as file:
                    file.seek(offset)
                    written = file.read()
                self._read[log] += len(written)
                is_new = is_new or b'"said": "saved"' in written
        return is_new


_Process: TypeAlias = Process | psutil.Process


def _pause(name: str, process: _Process | None, seconds: tuple[float, float]) -> Misfortune:
    return Misfortune(
        name, partial(_signal, process, signal.SIGSTOP), partial(_signal, process, signal.SIGCONT), seconds
    )


def _kill(process: Process) -> None:
    process.kill()
    process.wait()


def _signal(process: _Process | None, number: signal.Signals) -> None:
    if process is not None:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _nothing() -> None:
    return
