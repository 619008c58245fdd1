"""A model that several processes hold together is one engine to its supervisor. Real processes, the demo's model."""

import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from domain.attempts import Attempt
from tests.system import forked
from tests.system.processes import wait_until
from tests.worker.items import an_item, settings_for
from worker.supervision.engine_process import load_text_decoder
from worker.supervision.supervisor import EngineSupervisor

IMPORTING_BYTES = 64 * 2**20
MODEL = Path(__file__).parents[3] / "examples/demo/model"


@pytest.fixture
def supervisor(forked_engines: None) -> Iterator[EngineSupervisor]:
    """Its engines are forked; the processes of their other devices start as always."""
    settings = settings_for(MODEL / "base", MODEL / "policy", tensor_parallel=2)
    supervisor = EngineSupervisor(partial(load_text_decoder, settings), start_seconds=300, silence_seconds=120)
    with forked.with_torch():
        yield supervisor
    supervisor.stop()


def test_one_device_that_dies_takes_the_engine_with_it_and_none_outlives_it(supervisor: EngineSupervisor) -> None:
    supervisor.start()
    leader = _engine(supervisor)
    follower = _follower(leader)
    assert follower is not None

    follower.kill()  # nobody decodes
    wait_until(lambda: _is_buried(leader, supervisor), seconds=60, what="the end of the first device's process")
    supervisor.start()
    supervisor.submit([an_item(1, "Write about the sea.", max_tokens=400)])
    supervisor.poll(0)
    leader = _engine(supervisor)
    follower = _follower(leader)
    assert follower is not None

    follower.kill()
    while not (deaths := supervisor.take_deaths()):
        supervisor.poll(1)

    assert deaths == {Attempt(1, 1)}
    assert not _is_alive(leader)
    supervisor.poll(0)  # starts both anew
    leader = _engine(supervisor)
    wait_until(lambda: _follower(leader) is not None, seconds=120, what="a process per device that imports torch")
    follower = _follower(leader)
    assert follower is not None
    follower.suspend()  # it cannot notice by itself that the leader is gone
    leader.send_signal(signal.SIGKILL)
    wait_until(lambda: not _is_alive(follower), seconds=20, what="the end of the other device's process")


def _engine(supervisor: EngineSupervisor) -> psutil.Process:
    engine = supervisor._engine  # noqa: SLF001 - nobody else is told its process
    assert engine is not None
    pid = engine._process.pid  # noqa: SLF001 - as above
    assert pid is not None
    return psutil.Process(pid)


def _follower(leader: psutil.Process) -> psutil.Process | None:
    return next((one for one in leader.children() if _runs_follower(one)), None)


def _runs_follower(process: psutil.Process) -> bool:
    """Whether this is one, and past its very first lines."""
    is_one = any(part.endswith("follower.py") for part in process.cmdline())
    return is_one and process.memory_info().rss > IMPORTING_BYTES


def _is_buried(process: psutil.Process, supervisor: EngineSupervisor) -> bool:
    supervisor.watch(0)
    return not process.is_running()


def _is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
