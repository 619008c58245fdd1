"""Becomes another program that cannot outlive the process that started it. Runs by path, on the standard library alone.

The program blocks no signals, whatever its parent held back while it started this.

usage: guarded_exec.py PARENT_PID PROGRAM [ARGUMENT ...]
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends, even by kill -9. Does nothing outside Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    """Ask for the signal, then see whether the parent was gone before the kernel knew of the wish."""
    parent, program = int(sys.argv[1]), sys.argv[2:]
    die_with_parent()
    if os.getppid() != parent:
        sys.exit(1)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.execvp(program[0], program)  # noqa: S606 - no shell is what is wanted


if __name__ == "__main__":
    main()
