"""The devices that hold one model together, as whoever runs a share of it sees them. Knows no weights, and no requests.

Every device runs the same forwards on its shares of the weights and of the cache. Where the products of shares are
parts of a sum, they are added up among the devices, so that all of them go on with the same numbers. One of them leads:
it alone schedules, steers and samples, and tells the others what to do to their rows, so that nobody can disagree.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Concatenate, Generic, ParamSpec, Protocol, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
P = ParamSpec("P")
M = TypeVar("M", bound="Member")


class Group(Protocol):
    """The devices that hold a model together."""

    size: int
    rank: int

    def act(self, call: "Call[T]") -> T:
        """Make a call here and on all other devices."""

    def begin(self, num_tokens: int) -> None:
        """A forward over so many tokens begins."""

    def sum(self, part: Tensor) -> Tensor:
        """The sum of this part and of those that the other devices have."""

    def least(self, value: int) -> int:
        """The least of the values that the devices have."""

    def close(self) -> None:
        """Let the other devices go."""


class Member(Protocol):
    """What exists on every device of a group, in a share each."""

    group: Group
    number: int
    """Its place among the members, the same on all devices."""


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A call of a member's method."""

    member: Member
    method: Callable[..., T]
    args: tuple[object, ...]
    kwargs: Mapping[str, object]

    @torch.inference_mode()
    def __call__(self) -> T:
        """Make it on this device."""
        return self.method(self.member, *self.args, **self.kwargs)


def everywhere(method: Callable[Concatenate[M, P], T]) -> Callable[Concatenate[M, P], T]:
    """Make a member's method act on all devices of its group, in inference mode, when the leader calls it.

    What it has done on one device it has done on all; where it fails on one it raises on all. It must not call another
    such method.
    """

    @wraps(method)
    def on_all(self: M, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.group.act(Call(self, method, args, kwargs))

    return on_all


class Alone:
    """The group of a model that one device holds."""

    size, rank = 1, 0

    def act(self, call: Call[T]) -> T:
        """Make it here."""
        return call()

    def begin(self, num_tokens: int) -> None:
        """No other device waits for its sums."""

    def sum(self, part: Tensor) -> Tensor:
        """The part itself."""
        return part

    def least(self, value: int) -> int:
        """The value itself."""
        return value

    def close(self) -> None:
        """There is none to let go."""


ALONE = Alone()
