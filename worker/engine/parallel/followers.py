"""The processes behind a leader: started with it, gone with it, and it with them.

A follower is sent what to load, loads its share, and then does what the leader says (`worker.engine.parallel.ranks`).
Where one of the processes dies, the others end: half a model decodes nothing, and whoever supervises the leader starts
all anew.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

import torch.distributed as dist
from torch._C._distributed_c10d import TCPStore  # torch.distributed does not say that it exports it

from worker.engine.parallel.group import Member
from worker.engine.parallel.ranks import SEAT_VARIABLES, Follower, Leader, Seat
from worker.engine.parallel.watch import PATIENCE_SECONDS, end_process

_GRACE_SECONDS = 10.0
_PROGRAM = Path(__file__).with_name("follower.py")


@dataclass(slots=True)
class _Processes:
    """The processes of the followers, each kept by a thread of the leader."""

    connections: list[Connection] = field(default_factory=list)
    processes: list["subprocess.Popen[bytes]"] = field(default_factory=list)
    is_closing: threading.Event = field(default_factory=threading.Event)
    environment: Mapping[str, str] = field(default_factory=os.environ.copy)
    """Before the leader sat down, which sets `SEAT_VARIABLES`."""

    def start(self) -> None:
        """Start one more follower, and return when its process runs."""
        ours, theirs = Pipe()
        begun = threading.Event()
        threading.Thread(target=self._keep, args=(theirs, begun), daemon=True).start()
        begun.wait()
        self.connections.append(ours)

    def _keep(self, theirs: Connection, begun: threading.Event) -> None:
        """Start a process and wait for its end: Linux ends it when this thread does."""
        command = [sys.executable, "-P", str(_PROGRAM), str(theirs.fileno()), str(os.getpid())]
        paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
        process = subprocess.Popen(  # noqa: S603 (ourselves)
            command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], env=os.environ | {"PYTHONPATH": paths}
        )
        theirs.close()  # so that the pipe ends when the process does
        self.processes.append(process)
        begun.set()
        code = process.wait()
        if not self.is_closing.is_set():
            end_process(f"The process of another device of this model has ended ({code}).")

    def close(self) -> None:
        """End the followers, and return when they have ended; one that does not end in time is killed."""
        self.is_closing.set()
        for connection in self.connections:
            connection.close()
        until = time.monotonic() + _GRACE_SECONDS
        for process in self.processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, until - time.monotonic()))
            process.kill()
            process.wait()
        if dist.is_initialized():
            dist.destroy_process_group()
        for name in SEAT_VARIABLES:  # whoever trains a model here afterwards would be taken for one of several
            os.environ.pop(name, None)
            if name in self.environment:
                os.environ[name] = self.environment[name]


def lead(devices: Sequence[str], *orders: object) -> Leader:
    """A group on these devices of this machine, led from here; `orders` say what a follower is to load.

    Its processes live as long as it: `finalize` of it ends them.
    """
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    processes = _Processes()
    for rank in range(1, len(devices)):
        processes.start()
        processes.connections[-1].send((Seat(rank, (*devices,), store.port, PATIENCE_SECONDS), *orders))
    try:
        return Leader(Seat(0, (*devices,), store.port, PATIENCE_SECONDS), store, processes.connections, processes.close)
    except BaseException:
        processes.close()
        raise


def follow(connection: Connection, load: Callable[..., Sequence[Member]]) -> None:
    """Load what the leader says, then serve it until it is gone."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the leader's business
    try:
        seat, *orders = connection.recv()
        store = TCPStore("127.0.0.1", seat.port, is_master=False, timeout=timedelta(seconds=60))
        group = Follower(seat, store, connection)
        group.serve(load(group, group.device, *orders))
    except EOFError:
        os._exit(0)
    except Exception:
        # Where the leader has failed by the same, it ends us; if not, our end tells it.
        if not connection.poll(_GRACE_SECONDS):
            raise
        os._exit(0)
