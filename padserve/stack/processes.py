"""Child processes of the local stack: started with a log, watched, ended for certain. Does not know what they do."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from padserve.errors import StackError
from padserve.stack import guarded_exec
from padserve.stack.home import create_private

NUM_LAST_LINES = 5
MAX_LINE_CHARACTERS = 300
KILLED_SECONDS = 5.0
"""So long a killed process may take to be gone: one that waits for a disk is not gone at once."""
OTHERS_HAVE_NOTHING = 0o077
_TAIL_BYTES = 16_384
MOST_LOG_BYTES = 10 * 2**20
"""A log that is longer is put aside, and begins anew."""
KEPT_LOGS = 4
"""Logs that are put aside; the oldest goes."""


class Child:
    """One running process in a session of its own, so that a Ctrl-C at the terminal reaches its parent alone."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        self._started_at = time.monotonic()
        self._log_start = log.stat().st_size if log.exists() else 0
        self._aside_start: int | None = None
        """Where it begins in the log that was put aside last; None while none was since it started."""
        create_private(log)
        with log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - the commands are this package's own
                guarded(command),
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                umask=OTHERS_HAVE_NOTHING,
            )

    @property
    def pid(self) -> int:
        """The process id; also the id of its process group."""
        return self._process.pid

    @property
    def uptime_seconds(self) -> float:
        """Time since it was started."""
        return time.monotonic() - self._started_at

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative for the signal that killed it."""
        return self._process.poll()

    def stop(self, grace_seconds: float) -> None:
        """SIGTERM, then SIGKILL after the grace; whatever it started and left behind goes with it."""
        if self.exit_code is None:
            self._process.terminate()
            try:
                self._process.wait(grace_seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self.sweep()

    def sweep(self) -> None:
        """Kill what is left of its process group."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return  # nothing is left

    def await_end(self) -> None:
        """Wait for the end of a process that was killed, and take its exit code from the system."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(KILLED_SECONDS)

    def rotate_log(self, *, most_bytes: int = MOST_LOG_BYTES, kept: int = KEPT_LOGS) -> None:
        """Put its log aside where it has grown too long (`rotate`)."""
        if rotate(self.log, most_bytes=most_bytes, kept=kept):
            self._aside_start, self._log_start = self._log_start, 0

    def last_lines(self) -> list[str]:
        """The end of what it has logged since it started."""
        put_aside = b"" if self._aside_start is None else _tail(aside(self.log, 1), self._aside_start)
        lines = (put_aside + _tail(self.log, self._log_start)).decode(errors="replace").splitlines()
        return [line[:MAX_LINE_CHARACTERS] for line in lines if line.strip()][-NUM_LAST_LINES:]


def _tail(log: Path, start: int) -> bytes:
    """The end of a log from `start` on; of one that has been emptied since, from its beginning."""
    if not log.exists():
        return b""
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(start if start <= size else 0, size - _TAIL_BYTES))
        return file.read()


def guarded(command: Sequence[str]) -> list[str]:
    """The command line of a program that the kernel kills when this process ends, even by kill -9.

    "This process" is the thread that starts it: start it from one that lives as long.
    """
    return [sys.executable, "-I", "-S", guarded_exec.__file__, str(os.getpid()), *command]


def rotate(log: Path, *, most_bytes: int, kept: int) -> bool:
    """Put a log that has grown too long aside as `<name>.1`, older ones a number further, `kept` of them.

    Whoever writes holds the file open, to append: it is copied and emptied. What is written in between is copied too,
    but for what comes between the last look and the emptying. A disk that cannot hold the copy keeps the log as it is:
    the answer is False then, as where it was short.
    """
    try:
        if log.stat().st_size <= most_bytes:
            return False
        for number in range(kept - 1, 0, -1):
            older = aside(log, number)
            if older.exists():
                older.replace(aside(log, number + 1))
        create_private(aside(log, 1))
        with log.open("rb+") as source, aside(log, 1).open("wb") as copy:
            shutil.copyfileobj(source, copy)
            source.truncate(0)
    except (OSError, StackError):
        return False
    return True


def aside(log: Path, number: int) -> Path:
    """The path of a log after it was put aside `number` times: `<name>.<number>`."""
    return log.with_name(f"{log.name}.{number}")


def describe_exit(exit_code: int) -> str:
    """How a process ended, in words."""
    if exit_code >= 0:
        return f"exited with code {exit_code}"
    try:
        return f"was killed by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"was killed by signal {-exit_code}"
