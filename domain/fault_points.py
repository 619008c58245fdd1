"""Named places where a process can be made to die or to stumble, so that tests can show what survives it.

`PADSERVE_FAULT` names places and what happens there, separated by commas:

    after_claim:kill            SIGKILL, every time, so at the first
    before_save:raise@3         an error, the third time in this process
    mid_decode:kill%0.01/7      each time with probability 0.01, drawn from seed 7

Each process reads it when it starts, and counts for itself. Where it is not set, reaching a place is one look into an
empty table. Knows nothing of what happens at the places.
"""

import os
import random
import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

VARIABLE = "PADSERVE_FAULT"

_FORM = re.compile(
    r"(?P<point>\w+):(?P<act>kill|raise)(?:@(?P<time>[1-9]\d*)|%(?P<chance>[01](?:\.\d+)?)(?:/(?P<seed>\d+))?)?"
)


class FaultPoint(StrEnum):
    """The places. A save or a claim is one transaction of many items."""

    AFTER_COMMIT_BEFORE_PUBLISH = "after_commit_before_publish"
    """In the API: the job is stored, and no worker has been woken."""
    AFTER_CLAIM = "after_claim"
    """In the worker: items are leased, and the engine has not heard of them."""
    MID_DECODE = "mid_decode"
    """In the engine's process: before a step, with items inside."""
    AFTER_TELL = "after_tell"
    """In the engine's process: outcomes are told, and the worker may not have heard them."""
    BEFORE_SAVE = "before_save"
    """In the worker: outcomes are in hand, and no transaction has begun."""
    AFTER_SAVE = "after_save"
    """In the worker: outcomes are stored, and the worker has not noted it."""
    BEFORE_FINALISE = "before_finalise"
    """In the worker: within the transaction that ends the last item of a job, and so the job, before its commit."""
    AFTER_FINALISE = "after_finalise"
    """In the worker: right after that commit."""


class FaultPointError(ValueError):
    """PADSERVE_FAULT is not understood; the message is a sentence that says how it is written."""


class InjectedFaultError(Exception):
    """What `raise` raises: an error that nobody thought of."""


@dataclass(slots=True)
class _Fault:
    """What a fault point does (`kill` or `raise`), and at which of its times: the n-th, or with a chance each."""

    act: str
    time: int | None
    chance: float
    draws: random.Random
    num_reached: int = 0

    def strike(self, point: FaultPoint) -> None:
        self.num_reached += 1
        if self.time is not None and self.num_reached != self.time:
            return
        if self.draws.random() >= self.chance:
            return
        if self.act == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise InjectedFaultError(point)


_armed: dict[FaultPoint, _Fault] = {}


def arm(environment: Mapping[str, str] = os.environ) -> None:
    """Read the variable; a process calls it once, when it starts. Raises `FaultPointError`."""
    faults = [_parse(text.strip()) for text in environment.get(VARIABLE, "").split(",") if text.strip()]
    _armed.clear()
    _armed.update(faults)


def is_armed() -> bool:
    """Whether anything is to happen anywhere in this process."""
    return bool(_armed)


def reach(point: FaultPoint, *, when: bool = True) -> None:
    """Die or raise here, if PADSERVE_FAULT armed this point, `when` holds and its turn has come; else do nothing."""
    fault = _armed.get(point)
    if fault is not None and when:
        fault.strike(point)


def _parse(text: str) -> tuple[FaultPoint, _Fault]:
    found = _FORM.fullmatch(text)
    if found is None:
        raise FaultPointError(
            f"{text!r} is not written as place:kill or place:raise, with @n or %chance/seed behind it."
        )
    if found["point"] not in set(FaultPoint):
        raise FaultPointError(f"There is no fault point {found['point']!r}; there are {', '.join(FaultPoint)}.")
    time = int(found["time"]) if found["time"] else None
    fault = _Fault(found["act"], time, float(found["chance"] or 1), random.Random(int(found["seed"] or 0)))
    return FaultPoint(found["point"]), fault
