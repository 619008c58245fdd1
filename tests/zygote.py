"""Tests side by side run in forks of one process that has imported and collected them all.

Otherwise each of xdist's processes would do that: 14 seconds of a processor for each. The programs that tests start are
forked from it too (`tests.system.forked`), before it has imported what they do not need.
"""

import ast
import atexit
import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO

import psutil
import pytest
from execnet import gateway_io
from execnet.gateway_base import ExecModel, Popen2IO
from execnet.xspec import XSpec

from tests.system import forked

ROOT = Path(__file__).parents[1]


class ForkedWorker(Popen2IO):
    """A fork as execnet sees it: bytes to and from a process that runs what it reads first."""

    def __init__(self, zygote: "subprocess.Popen[bytes]", to: IO[bytes], of: IO[bytes], execmodel: ExecModel) -> None:
        super().__init__(to, of, execmodel)
        self._zygote = zygote

    def wait(self) -> int:
        """Until all forks have ended: they do so together."""
        return self._zygote.wait()

    def kill(self) -> None:
        """All of them."""
        for process in psutil.Process(self._zygote.pid).children():
            process.kill()
        self._zygote.kill()


def fork_workers(arguments: Sequence[str], num_workers: int) -> None:
    """So many processes that execnet asks for are forks; one that replaces a process that has died starts anew."""
    to_workers, of_workers = ([os.pipe() for _ in range(num_workers)] for _ in range(2))
    theirs = [(reading, writing) for (reading, _), (_, writing) in zip(to_workers, of_workers, strict=True)]
    program = f"from tests.zygote import main; main({theirs!r}, {list(arguments)!r})"
    zygote = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        pass_fds=[end for pair in theirs for end in pair],
    )
    for end in (end for pair in theirs for end in pair):
        os.close(end)
    ours = zip((end for _, end in to_workers), (end for end, _ in of_workers), strict=True)
    forks = (partial(ForkedWorker, zygote, os.fdopen(to, "wb"), os.fdopen(of, "rb")) for to, of in ours)
    setattr(gateway_io, "create_io", _first(forks, gateway_io.create_io))  # noqa: B010 - assigning needs an ignore


def _first(
    forks: Iterator[Callable[[ExecModel], ForkedWorker]], anew: Callable[[XSpec, ExecModel], Popen2IO]
) -> Callable[[XSpec, ExecModel], Popen2IO]:
    def create_io(spec: XSpec, execmodel: ExecModel) -> Popen2IO:
        fork = next(forks, None)
        return anew(spec, execmodel) if fork is None else fork(execmodel)

    return create_io


def main(ends: Sequence[tuple[int, int]], arguments: Sequence[str]) -> None:
    """Import, collect, fork, and wait for the forks."""
    gc.disable()  # hardly anything here is garbage
    with _silence():
        forked.fork_servers([end for pair in ends for end in pair])
        pytest.main([*arguments, "--collect-only", "--numprocesses=0", "--quiet"])
    gc.disable()
    gc.freeze()
    pids = []
    for reading, writing in ends:
        pids.append(os.fork())
        if not pids[-1]:
            _become_worker(reading, writing, ends)
            _end()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt ends the forks, and they end this
    for end in (end for pair in ends for end in pair):
        os.close(end)
    for pid in pids:
        os.waitpid(pid, 0)
    _end()


@contextmanager
def _silence() -> Iterator[None]:
    """Neither this process nor a child that begins here prints: what is wrong with a test, the forks will say."""
    kept = os.dup(1), os.dup(2)
    with Path(os.devnull).open("w") as nowhere:
        for stream in (1, 2):
            os.dup2(nowhere.fileno(), stream)
    try:
        yield
    finally:  # what ends this process is said
        for stream, descriptor in enumerate(kept, start=1):
            os.dup2(descriptor, stream)
            os.close(descriptor)


def _become_worker(reading: int, writing: int, ends: Sequence[tuple[int, int]]) -> None:
    """As execnet starts a worker: on standard input is the program that it runs."""
    os.dup2(reading, 0)
    os.dup2(writing, 1)
    for end in (end for pair in ends for end in pair):
        os.close(end)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    exec(ast.literal_eval(sys.stdin.readline()), {})  # noqa: S102 - execnet's way


def _end() -> None:
    """As a process ends that leaves its memory to the system: to free what was collected takes seconds."""
    atexit._run_exitfuncs()  # noqa: SLF001 - there is no public name
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
