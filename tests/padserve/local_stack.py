"""`padserve up` as a process of its own, to be read, signalled and killed."""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import psutil

from tests.system.forked import STAND_INS, ForkedProcess

PROGRAMS = Path(__file__).parent / "programs"
ROOT = Path(__file__).parents[2]
REAL = (sys.executable, "-m", "padserve", "up")
WITH_STAND_INS = (STAND_INS,)
SECONDS = 60.0
POLL_SECONDS = 0.02


class LocalStack:
    """One `padserve up` on a data folder; with stand-ins it is forked where its imports are done."""

    def __init__(self, home: Path, command: Sequence[str], **settings: str) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PADSERVE_")}
        self.environment = environment | {
            "PADSERVE_HOME": str(home),
            "PADSERVE_PORT": "0",
            "PADSERVE_MODEL": "hub/model",
            "PADSERVE_TEST_READY_FILE": f"{home}-ready",
            "PYTHONPATH": str(ROOT),
            **{f"PADSERVE_{name}": value for name, value in settings.items()},
        }
        self.home = home
        self.log = next(folder for folder in home.parents if folder.is_dir()) / f"up-{uuid.uuid4()}.log"
        self.process = self._begin(command)
        self._forgotten = self._read = 0

    def _begin(self, command: Sequence[str]) -> "ForkedProcess | subprocess.Popen[bytes]":
        if command[0] == STAND_INS:
            return ForkedProcess(STAND_INS, command[1:], self.environment, self.log)
        with self.log.open("wb") as log:
            return subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)

    @property
    def output(self) -> str:
        """What it has printed since what was forgotten."""
        return self.log.read_text()[self._forgotten :]

    def forget(self) -> None:
        """Let `output` begin behind the line that was read last."""
        self._forgotten = self._read

    def read_until(self, text: str) -> str:
        """What it has printed, once that holds a line with `text`."""
        while "\n" not in self.output.partition(text)[2]:
            has_ended = self.process.poll() is not None
            is_there = "\n" in self.output.partition(text)[2]
            assert is_there or not has_ended, f"it ended before it printed {text!r}: {self.output}"
            time.sleep(POLL_SECONDS)
        self._read = self._forgotten + self.output.index("\n", self.output.index(text)) + 1
        return self.output

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def child(self, name: str) -> psutil.Process:
        return next(child for child in self.children() if name in " ".join(child.cmdline()))

    def end(self) -> tuple[int, str]:
        """Its exit code and everything it printed."""
        exit_code = self.process.wait(SECONDS)
        return exit_code, self.output


def all_gone(processes: Sequence[psutil.Process]) -> bool:
    """Whether every one of them has ended, at the latest in a minute."""
    _, alive = psutil.wait_procs(processes, timeout=SECONDS)
    return not alive
