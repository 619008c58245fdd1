"""`toy_group <folder> <event> ...`: pairs of processes that hold nothing, one of which meets the unexpected.

What each leader said and how it ended is printed as JSON. Importing the engine is what takes time, so leaders and
followers are forks of this process, and it is one of another that has done so (`tests.system.forked`).
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor

from worker.engine.parallel import followers
from worker.engine.parallel.follower import _end_with
from worker.engine.parallel.group import Group, everywhere

PATIENCE_SECONDS = 4.0


class Toy:
    """Adds up numbers."""

    number = 0

    def __init__(self, group: Group) -> None:
        self.group = group

    @everywhere
    def process_id(self) -> int:
        """The largest."""
        return -self.group.least(-os.getpid())

    @everywhere
    def fails_first(self, rank: int) -> Tensor:
        """A first forward, in which one device fails before a sum that nobody knows of yet."""
        self.group.begin(1)
        if self.group.rank == rank:
            raise ValueError
        return self.group.sum(torch.ones(1))


class Stranger:
    """What the other process cannot make of what it is sent."""

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return int, ("no number",)  # type: ignore[return-value]  # so that it fails as it arrives


def load(group: Group, _device: torch.device) -> Sequence[Toy]:
    return [Toy(group)]


def meet(toy: Toy, follower: int, what: str) -> None:
    match what:
        case "a follower fails in its first forward":
            toy.fails_first(1)
        case "the leader fails in its first forward":
            toy.fails_first(0)
        case "a follower cannot read what it is told":
            toy.fails_first(Stranger())  # type: ignore[arg-type]
        case "a follower has stopped":
            os.kill(follower, signal.SIGSTOP)
            toy.process_id()
        case "a follower is killed":
            os.kill(follower, signal.SIGKILL)
            time.sleep(60)


class Fork:
    """What `subprocess.Popen` is to the code under test."""

    def __init__(self, command: Sequence[str], **_others: object) -> None:
        pipe, leader = map(int, command[-2:])
        self._process = os.fork()
        if not self._process:
            _end_with(leader)
            followers.follow(Connection(os.dup(pipe)), load)

    def wait(self, _timeout: float | None = None) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self._process, 0)[1])

    def kill(self) -> None:
        os.kill(self._process, signal.SIGKILL)


def leader_of(event: str, folder: Path) -> int:
    """The process that leads a pair, to which the event happens; it writes into the folder."""
    process = os.fork()
    if process:
        return process
    os.dup2(os.open(folder / "said", os.O_CREAT | os.O_WRONLY), sys.stderr.fileno())
    toy = Toy(followers.lead(["cpu", "cpu"]))
    follower = toy.process_id()
    (folder / "follower").write_text(str(follower))
    meet(toy, follower, event)
    os._exit(0)


def main() -> None:
    patch.object(subprocess, "Popen", Fork).start()
    patch.object(followers, "PATIENCE_SECONDS", PATIENCE_SECONDS).start()
    folders = {event: Path(sys.argv[1]) / str(number) for number, event in enumerate(sys.argv[2:])}
    for folder in folders.values():
        folder.mkdir()
    leaders = {event: leader_of(event, folder) for event, folder in folders.items()}
    ended = {event: os.waitstatus_to_exitcode(os.waitpid(leader, 0)[1]) for event, leader in leaders.items()}
    told = {
        event: (ended[event], (folder / "said").read_text(), int((folder / "follower").read_text()))
        for event, folder in folders.items()
    }
    sys.stdout.write(json.dumps(told))
