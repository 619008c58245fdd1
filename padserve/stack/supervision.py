"""What the local stack does when one of its processes ends. Decides only: starts, stops and waits for nothing."""

from dataclasses import dataclass
from enum import StrEnum

FIRST_RESTART_SECONDS = 1.0
MAX_RESTART_SECONDS = 30.0
REFUSED_TO_START = 1  # the exit code of a process that said in one line why it cannot work


class Role(StrEnum):
    """What the stack cannot be without, and what it can start again."""

    ESSENTIAL = "essential"
    REPLACEABLE = "replaceable"


@dataclass(frozen=True, slots=True)
class EndStack:
    """The stack ends with an error."""


@dataclass(frozen=True, slots=True)
class LeaveStopped:
    """The process stays away: starting it again would end the same way."""


@dataclass(frozen=True, slots=True)
class Restart:
    """The process is started again after a pause."""

    after_seconds: float


Verdict = EndStack | LeaveStopped | Restart


def after_exit(role: Role, exit_code: int, *, has_served: bool, num_restarts: int) -> Verdict:
    """What follows from the end of a process; the pause doubles with every restart in a row.

    One that could once do its work is started again for ever: what keeps it from it now may pass.
    """
    if role is Role.ESSENTIAL:
        return EndStack()
    if exit_code == REFUSED_TO_START and not has_served:
        return LeaveStopped()
    return Restart(min(FIRST_RESTART_SECONDS * 2**num_restarts, MAX_RESTART_SECONDS))
