"""One process of a group meets the unexpected: all of them end, within a bound, and say why."""

import json
import os
import time
from pathlib import Path

import pytest

from tests.system.forked import TOY_GROUP, ForkedProcess
from worker.engine.parallel.watch import LOST

EVENTS = {
    "a follower fails in its first forward": "cannot be told to the others (ValueError)",
    "the leader fails in its first forward": "cannot be told to the others (ValueError)",
    "a follower cannot read what it is told": "has not answered for",
    "a follower has stopped": "has not answered for",
    "a follower is killed": "has ended (-9)",
}


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str, int]]:
    """Of each event: how the leader ended, what it said, and the process of its follower."""
    folder, log = tmp_path_factory.mktemp("said"), tmp_path_factory.mktemp("log") / "told"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    program = ForkedProcess(TOY_GROUP, [str(folder), *EVENTS], environment, log)
    code = program.wait(600)
    printed = log.read_text()
    assert code == 0, printed
    events: dict[str, tuple[int, str, int]] = json.loads(printed.splitlines()[-1])
    return events


@pytest.mark.parametrize("event", [*EVENTS])
def test_all_end_within_a_bound_where(event: str, ended: dict[str, tuple[int, str, int]]) -> None:
    code, said, follower = ended[event]

    assert code == LOST
    assert EVENTS[event] in said
    assert ends(follower)


def ends(process: int) -> bool:
    """Whether it is gone soon."""
    for _ in range(50):
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.1)
    return False
