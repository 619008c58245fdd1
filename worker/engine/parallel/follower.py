"""`python -P follower.py <pipe> <leader>`: the process of one more device of a model that several hold together.

Run by its path, so that nothing is imported before the kernel knows when to end it.
"""

import ctypes
import os
import signal
import sys
from multiprocessing.connection import Connection

_DIES_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux


def _end_with(leader: int) -> None:
    """Be killed by the kernel when the leader dies, even in a call that never returns; Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIES_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != leader:
        os._exit(0)


if __name__ == "__main__":
    _end_with(int(sys.argv[2]))
    from worker.engine.loading.assembly import load_shares
    from worker.engine.parallel.followers import follow

    follow(Connection(int(sys.argv[1])), load_shares)
