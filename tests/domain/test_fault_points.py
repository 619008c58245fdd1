"""Fault points: what is armed happens at its place and time; what is misspelt is refused with a sentence."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from domain import fault_points
from domain.fault_points import FaultPoint, FaultPointError, InjectedFaultError
from tests.system.forked import API, ECHO_WORKER, ForkedProcess


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    fault_points.arm({})


def strikes(fault: str, times: int, point: FaultPoint = FaultPoint.AFTER_CLAIM) -> list[int]:
    """Which of so many times something was raised."""
    fault_points.arm({"PADSERVE_FAULT": fault})
    struck = []
    for time in range(1, times + 1):
        try:
            fault_points.reach(point)
        except InjectedFaultError:
            struck.append(time)
    return struck


@pytest.mark.parametrize(
    ("fault", "struck"),
    [
        ("", []),
        ("after_claim:raise", [1, 2, 3, 4]),
        ("after_claim:raise@3", [3]),
        ("before_save:kill, after_claim:raise@2", [2]),
        ("after_claim:raise%0", []),
        ("after_claim:raise%1", [1, 2, 3, 4]),
    ],
)
def test_a_fault_strikes_at_its_place_and_time(fault: str, struck: list[int]) -> None:
    assert strikes(fault, 4) == struck


def test_chances_are_drawn_from_the_seed() -> None:
    first, again, other = (strikes(f"after_claim:raise%0.3/{seed}", 200) for seed in (1, 1, 2))

    assert first == again != other
    assert 30 < len(first) < 90


def test_nothing_strikes_where_the_caller_says_that_it_is_not_the_place() -> None:
    fault_points.arm({"PADSERVE_FAULT": "before_finalise:raise"})

    fault_points.reach(FaultPoint.BEFORE_FINALISE, when=False)
    with pytest.raises(InjectedFaultError):
        fault_points.reach(FaultPoint.BEFORE_FINALISE, when=True)


def test_a_kill_is_a_sigkill() -> None:
    program = "from domain.fault_points import *; arm(); reach(FaultPoint.AFTER_SAVE); print('survived')"

    killed = subprocess.run(
        [sys.executable, "-c", program], env={"PADSERVE_FAULT": "after_save:kill"}, capture_output=True, check=False
    )

    assert (killed.returncode, killed.stdout) == (-signal.SIGKILL, b"")


@pytest.mark.parametrize("fault", ["after_clam:kill", "after_claim", "after_claim:explode", "after_claim:kill@0", "%1"])
def test_a_misspelt_fault_is_refused(fault: str) -> None:
    with pytest.raises(FaultPointError, match=r"\.$"):
        fault_points.arm({"PADSERVE_FAULT": fault})


@pytest.mark.parametrize(("program", "module"), [("api", API), ("worker", ECHO_WORKER)])
def test_a_misspelt_fault_ends_the_start_with_a_sentence(program: str, module: str, tmp_path: Path) -> None:
    settings = {"DATABASE_URL": "sqlite://", "REDIS_URL": "redis://127.0.0.1:1/0", "FAULT": "after_clam:kill"}
    environment, log = {f"PADSERVE_{name}": value for name, value in settings.items()}, tmp_path / "log"

    exit_code = ForkedProcess(module, [], environment, log).wait(60)

    assert exit_code == 1
    assert log.read_text().startswith(f"padserve {program}: PADSERVE_FAULT: ")
    assert log.read_text().count("\n") == 1


def test_the_refusal_names_what_there_is() -> None:
    with pytest.raises(
        FaultPointError, match=r"There is no fault point 'after_clam'; there are .*after_claim, mid_dec"
    ):
        fault_points.arm({"PADSERVE_FAULT": "after_clam:kill"})
