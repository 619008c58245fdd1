"""Stands in for the worker: starts a process of its own, as the worker starts its engine, and waits to be ended."""

import subprocess
import sys

subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE).wait()
