"""`padserve up` as a process of its own, to be read, signalled and killed."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil

PROGRAMS = Path(__file__).parent / "programs"
ROOT = Path(__file__).parents[2]
REAL = (sys.executable, "-m", "padserve", "up")
WITH_STAND_INS = (sys.executable, str(PROGRAMS / "fake_up.py"))
SECONDS = 60.0


class LocalStack:
    """One `padserve up` on a data folder."""

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
        self.process = subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.output = ""

    def read_until(self, text: str) -> str:
        """What it has printed, up to the line that holds `text`."""
        assert self.process.stdout is not None
        while text not in self.output:
            line = self.process.stdout.readline()
            assert line, f"it ended before it printed {text!r}: {self.output}"
            self.output += line
        return self.output

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def child(self, name: str) -> psutil.Process:
        return next(child for child in self.children() if name in " ".join(child.cmdline()))

    def end(self) -> tuple[int, str]:
        """Its exit code and everything it printed."""
        rest, _ = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, self.output + rest


def all_gone(processes: Sequence[psutil.Process]) -> bool:
    """Whether every one of them has ended, at the latest in a minute."""
    _, alive = psutil.wait_procs(processes, timeout=SECONDS)
    return not alive
