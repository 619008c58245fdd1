"""Stands in for the worker: starts a process of its own, as the worker starts its engine, says so, and waits."""

import os
import subprocess
import sys
from pathlib import Path

engine = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
Path(os.environ["PADSERVE_TEST_READY_FILE"]).touch()
engine.wait()
