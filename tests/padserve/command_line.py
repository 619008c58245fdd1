"""How a command line ended, and what runs one."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Ended:
    """How one command line ended."""

    exit_code: int
    output: str
    errors: str


Run = Callable[..., Ended]
