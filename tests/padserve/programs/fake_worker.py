"""Stands in for the worker: starts a process of its own, as the worker starts its engine, says so, and waits.

It is ready under its model's name, where it is told one; as `broken` it refuses to start.
"""

import os
import subprocess
import sys
from pathlib import Path

engine = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
ready_file, name = os.environ["PADSERVE_TEST_READY_FILE"], os.environ.get("PADSERVE_MODEL_NAME")
if name == "broken":
    sys.exit("no such model")
Path(f"{ready_file}-{name}" if name else ready_file).touch()
engine.wait()
