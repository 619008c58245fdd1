"""Commands that are told to end: by Ctrl-C, by a polite kill, by a terminal that closes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from padserve.cli.signals import end_as_by_ctrl_c, handed_on_to
from padserve.client.files import write_lines

ROOT = Path(__file__).parents[2]
IMPORTED_SLOWLY = """
import importlib.abc, pathlib, sys, time

class Slowly(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "padserve.cli.app":
            pathlib.Path('{begun}').touch()
            time.sleep(600)

sys.meta_path.insert(0, Slowly())
"""


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_file_that_was_begun_is_not_left_behind(tmp_path: Path, number: signal.Signals) -> None:
    def lines() -> Iterator[str]:
        yield "first"
        os.kill(os.getpid(), number)
        yield "second"

    with pytest.raises(KeyboardInterrupt), end_as_by_ctrl_c():
        write_lines(lines(), tmp_path / "out.ndjson")

    assert list(tmp_path.iterdir()) == []


def test_a_program_that_the_command_line_was_handed_to_is_told_to_end_too() -> None:
    command = [sys.executable, "-c", "import time; print('begun', flush=True); time.sleep(600)"]

    with subprocess.Popen(command, stdout=subprocess.PIPE) as program, handed_on_to(program):
        assert program.stdout is not None
        program.stdout.readline()
        os.kill(os.getpid(), signal.SIGTERM)

        assert program.wait(30) == -signal.SIGTERM


def test_a_ctrl_c_while_the_command_line_is_imported_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(IMPORTED_SLOWLY.format(begun=tmp_path / "begun"))
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "padserve", "jobs"]

    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as program:
        wait_for((tmp_path / "begun").exists)
        program.send_signal(signal.SIGINT)
        _, errors = program.communicate(timeout=30)

    assert (program.returncode, errors) == (130, "")
