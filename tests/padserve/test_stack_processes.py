"""Real processes: `padserve up` with stand-ins for API and worker (their own tests are elsewhere), a real Redis."""

import os
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType

import psutil
import pytest

from padserve.settings import read_settings
from padserve.stack.stack import GRACE_SECONDS, Programs, Stack
from tests.padserve.local_stack import POLL_SECONDS, PROGRAMS, SECONDS, WITH_STAND_INS, LocalStack, all_gone

WORKER = (sys.executable, str(PROGRAMS / "fake_worker.py"))
REFUSING_WORKER = (sys.executable, "-c", "import sys; sys.exit('no such model')")
FORGETFUL_WORKER = (
    sys.executable,
    "-c",
    (
        "import os, pathlib, sys, time; ready = pathlib.Path(os.environ['PADSERVE_TEST_READY_FILE']); "
        "ready.exists() and sys.exit('not this time'); ready.touch(); time.sleep(3600)"
    ),
)
STUBBORN_WORKER = (
    sys.executable,
    "-c",
    (
        "import os, pathlib, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "pathlib.Path(os.environ['PADSERVE_TEST_READY_FILE']).touch(); time.sleep(3600)"
    ),
)
CRASHING_WORKER = (sys.executable, "-c", "import os; os.kill(os.getpid(), 9)")

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Callable[..., LocalStack]]:
    started: list[LocalStack] = []

    def start(*, worker: Sequence[str] = WORKER, **settings: str) -> LocalStack:
        started.append(LocalStack(tmp_path / "home", (*WITH_STAND_INS, *worker), **settings))
        return started[-1]

    yield start
    for stack in started:
        if stack.process.poll() is None:
            stack.process.terminate()
        stack.process.wait(SECONDS)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_every_process_and_is_no_error(up: Callable[..., LocalStack], number: signal.Signals) -> None:
    stack = up()
    stack.read_until("Ready")
    children = stack.children()
    assert len(children) >= 4, "Redis, API, worker, and what the worker started"

    stack.process.send_signal(number)

    exit_code, output = stack.end()
    assert exit_code == 0
    assert output.endswith("Stopped.\n")
    assert all_gone(children)


def test_a_second_signal_ends_at_once_what_does_not_end_by_itself(up: Callable[..., LocalStack]) -> None:
    stack = up(worker=STUBBORN_WORKER)
    stack.read_until("Ready")
    children = stack.children()
    stack.process.send_signal(signal.SIGINT)
    stack.read_until("Stopping")

    stack.process.send_signal(signal.SIGINT)

    assert not psutil.wait_procs(children, timeout=GRACE_SECONDS / 2)[1], "it waited for its worker"
    assert stack.end()[0] == 0


def test_nothing_is_left_of_a_stack_whose_end_is_interrupted(tmp_path: Path) -> None:
    """As by the time limit of a test, whose handler raises wherever the main thread is."""
    ready = tmp_path / "ready"
    environ = {**os.environ, "PADSERVE_TEST_READY_FILE": str(ready)}
    settings = read_settings({"PADSERVE_HOME": str(tmp_path / "home"), "PADSERVE_PORT": "0"})
    programs = Programs(api=(sys.executable, str(PROGRAMS / "fake_api.py")), worker=STUBBORN_WORKER)
    stack = Stack(settings, environ, report=lambda _text: None, programs=programs)

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise InterruptedError

    before, timer = signal.signal(signal.SIGALRM, interrupt), signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        with stack.home.held():
            earlier = psutil.Process().children(recursive=True)
            stack.start()
            children = [child for child in psutil.Process().children(recursive=True) if child not in earlier]
            while not ready.exists():
                time.sleep(POLL_SECONDS)
            signal.setitimer(signal.ITIMER_REAL, 0.5)
            with pytest.raises(InterruptedError):
                stack.stop()
    finally:
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *timer)

    assert len(children) >= 3
    assert all_gone(children)


def test_no_process_outlives_a_stack_that_is_killed(up: Callable[..., LocalStack]) -> None:
    stack = up()
    stack.read_until("Ready")
    children = stack.children()

    stack.process.kill()

    assert all_gone(children)


def test_a_folder_that_was_left_by_a_killed_stack_can_be_used_again_with_its_key(up: Callable[..., LocalStack]) -> None:
    first = up()
    first.read_until("Ready")
    key = (first.home / "api_key").read_text()
    first.process.kill()
    first.end()

    second = up()
    second.read_until("Ready")

    assert (second.home / "api_key").read_text() == key
    assert stat.S_IMODE((second.home / "api_key").stat().st_mode) == 0o600


def test_a_second_stack_on_the_same_folder_is_refused_in_one_line(up: Callable[..., LocalStack]) -> None:
    first = up()
    first.read_until("Ready")

    exit_code, output = up().end()

    assert exit_code == 1
    url = (first.home / "url").read_text().strip()
    assert output == f"padserve is already running at {url} in {first.home}.\n"
    assert first.process.poll() is None


def test_a_port_in_use_is_refused_in_one_line_and_nothing_is_left(up: Callable[..., LocalStack]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        exit_code, output = up(PORT=str(port)).end()

    assert exit_code == 1
    assert output == f"Port {port} on 127.0.0.1 is in use: free it, or choose another with PADSERVE_PORT.\n"


def test_a_redis_and_a_database_that_are_named_are_used(
    up: Callable[..., LocalStack], tmp_path: Path, redis_url: str
) -> None:
    stack = up(REDIS_URL=redis_url, DATABASE_URL=f"sqlite:///{tmp_path / 'elsewhere.db'}")

    stack.read_until("Ready")

    assert not [child for child in stack.children() if "redis-server" in child.name()]
    assert (tmp_path / "elsewhere.db").exists()
    assert not (stack.home / "padserve.db").exists()


@pytest.mark.parametrize(("lost", "name"), [("fake_api", "API"), ("redis-server", "Redis")])
def test_the_stack_ends_with_an_error_when_a_process_it_needs_is_lost(
    up: Callable[..., LocalStack], lost: str, name: str
) -> None:
    stack = up()
    stack.read_until("Ready")
    children = stack.children()

    stack.child(lost).kill()

    exit_code, output = stack.end()
    assert exit_code == 1
    assert f"The {name} was killed by SIGKILL." in output
    assert all_gone(children)


def test_a_worker_that_is_killed_is_replaced_and_what_it_started_is_ended(up: Callable[..., LocalStack]) -> None:
    stack = up()
    stack.read_until("Ready")
    worker = stack.child("fake_worker")
    family = [worker, *worker.children()]

    worker.kill()

    assert "was killed by SIGKILL; started again in 1 s" in stack.read_until("started again")
    assert all_gone(family)
    assert stack.child("fake_api").is_running()
    stack.forget()
    stack.read_until("Ready")
    assert stack.child("fake_worker").pid != worker.pid


def test_a_stack_whose_only_worker_refuses_to_start_ends_and_says_why(up: Callable[..., LocalStack]) -> None:
    exit_code, output = up(worker=REFUSING_WORKER).end()

    assert exit_code == 1
    assert output.endswith(
        "The worker exited with code 1, and would again: put this right, then start anew.\nno such model\n"
    )


def test_a_worker_that_once_served_is_started_again_whatever_it_says(up: Callable[..., LocalStack]) -> None:
    """It was left stopped for ever when an external database was away at that moment."""
    stack = up(worker=FORGETFUL_WORKER)
    stack.read_until("Ready")

    next(child for child in stack.children() if "not this time" in " ".join(child.cmdline())).kill()

    output = stack.read_until("started again in 4 s")
    assert output.count("The worker exited with code 1; started again in") == 2
    assert "put this right" not in output


def test_a_worker_that_crashes_again_and_again_is_started_less_and_less_often(up: Callable[..., LocalStack]) -> None:
    stack = up(worker=CRASHING_WORKER)

    output = stack.read_until("started again in 2 s")

    assert output.index("started again in 1 s") < output.index("started again in 2 s")


def test_a_model_that_cannot_be_served_does_not_end_the_others(up: Callable[..., LocalStack]) -> None:
    stack = up(TEST_MODELS="one=hub/first two=hub/second broken=hub/third")

    stack.read_until("Ready: the worker has loaded hub/first as one.")
    stack.read_until("Ready: the worker has loaded hub/second as two.")
    output = stack.read_until("no such model")

    assert "3 workers are loading their models." in output
    assert "The worker for broken exited with code 1, and would again" in output
    assert len([child for child in stack.children() if "fake_worker" in " ".join(child.cmdline())]) == 2
    assert {log.name for log in (stack.home / "logs").glob("worker*")} == {
        "worker-one.log",
        "worker-two.log",
        "worker-broken.log",
    }


def test_a_chosen_key_is_used_and_not_written_down(up: Callable[..., LocalStack]) -> None:
    stack = up(API_KEY="my-own-key")

    output = stack.read_until("Ready")

    assert "my-own-key" not in output
    assert "$PADSERVE_API_KEY" in output
    assert not (stack.home / "api_key").exists()


def test_a_database_that_the_stack_makes_is_its_owners_alone(up: Callable[..., LocalStack]) -> None:
    stack = up()

    stack.read_until("Ready")

    assert [file.name for file in stack.home.glob("padserve.db*") if file.stat().st_mode & 0o077] == []


def test_a_data_folder_that_cannot_be_made_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    exit_code, output = LocalStack(tmp_path / "file" / "home", (*WITH_STAND_INS, *WORKER)).end()

    assert exit_code == 1
    assert output == f"Cannot use {tmp_path / 'file' / 'home'} as a data folder (PADSERVE_HOME): Not a directory.\n"
