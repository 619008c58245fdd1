"""How much the cache may hold, who has been promised how much of it, and how many slots that makes. Holds no tensor."""

import os
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import torch

SHARE_OF_FREE = 0.6
"""The cache's; the rest is for the forwards, and for the moment when the cache grows and both sizes exist."""
ROWS_PER_SLOT = 2
"""Streams of a guided request."""
MOST_SLOTS = {"cpu": 64, "cuda": 256}
"""More do not pay: a step is no longer bound by reading the weights."""

USUAL_LENGTH = 1024
"""Tokens of prompt and completion over which the state of a row is spread, where memory is counted by the token."""
SHORTEST_USEFUL = 32
"""Tokens of the shortest request that a cache of a given size must hold: below it hardly any prompt is left."""
SHORTEST = 2
"""Tokens of the shortest request: one is read, one is chosen."""

_CONTROL_GROUP = Path("/sys/fs/cgroup")

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Sizes:
    """What follows for an engine from the memory there is: slots, tokens of the longest request, and bytes of cache."""

    num_slots: int
    max_length: int
    cache_bytes: int


def sizes_within(cache_bytes: int, bytes_per_token: int, max_length: int, device_type: str) -> Sizes:
    """The sizes of an engine where a token of a slot's rows takes so many bytes together.

    A slot costs nothing until a request is in it, and requests are admitted by what they need: so there are as many
    slots as pay, or as shortest requests fit.
    """
    num_tokens = cache_bytes // bytes_per_token
    longest = max(SHORTEST, min(max_length, num_tokens))
    most = MOST_SLOTS.get(device_type, MOST_SLOTS["cpu"])
    return Sizes(max(1, min(most, num_tokens // SHORTEST)), longest, max(cache_bytes, longest * bytes_per_token))


@dataclass(frozen=True, slots=True)
class Need:
    """What a request takes of the cache from its admission to its end, in bytes."""

    own: int
    """Bytes of its rows at their longest."""
    shared: Mapping[int, int] = field(default_factory=dict)
    """Bytes of shared prefixes that its rows read in place, by the identity of each."""
    num_rows: int = 1
    longest: int = 0
    """Bytes of its longest row."""


class Ledger:
    """Promises of cache, by whom they were made to: together they never exceed the budget, so no row is ever moved out.

    A prefix that several read in place is counted once. Where memory cannot be had by the page, the cache is a
    rectangle: then every row counts as much as the longest.
    """

    def __init__(self, num_bytes: int | None = None, *, is_rectangle: bool = False) -> None:
        """`num_bytes` is the budget; None bounds nothing."""
        self.num_bytes = num_bytes
        self._is_rectangle = is_rectangle
        self._needs: dict[Hashable, Need] = {}

    def promised(self, kept: Mapping[int, int]) -> int:
        """Bytes of all that were promised some, and of the prefixes that are kept for whoever comes."""
        return self._sum([*self._needs.values()], kept)

    def _sum(self, needs: Sequence[Need], kept: Mapping[int, int]) -> int:
        shared = dict(kept)
        for need in needs:
            shared.update(need.shared)
        of_rows = sum(need.own for need in needs)
        if self._is_rectangle:
            of_rows = sum(need.num_rows for need in needs) * max((need.longest for need in needs), default=0)
        return of_rows + sum(shared.values())

    def fits(self, need: Need, kept: Mapping[int, int]) -> bool:
        """Whether this need fits the budget beside all promises and the `kept` prefixes (bytes by identity)."""
        return self.num_bytes is None or self._sum([*self._needs.values(), need], kept) <= self.num_bytes

    def promise(self, owner: Hashable, need: Need) -> None:
        """Count a need as promised to `owner`, even where it does not fit: a request that is alone must be let in."""
        self._needs[owner] = need

    def release(self, owners: Collection[Hashable]) -> None:
        """Take back the promises to these owners; unknown ones are no error."""
        for owner in owners:
            self._needs.pop(owner, None)


def bytes_per_token(of_token: int, of_row: int) -> int:
    """Bytes per token of a row of the usual length: keys, values, and its share of a state of fixed size."""
    return of_token - (-of_row // USUAL_LENGTH)


def free_bytes(device: torch.device) -> int:
    """Memory that nobody uses: of the device, or of this machine within the limits of its control group."""
    if device.type == "cuda":
        unused_by_torch = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + unused_by_torch
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2  # where the system does not say
    lines = _lines(Path("/proc/meminfo"))
    available = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), available)
    limit, used, kinds = (_lines(_CONTROL_GROUP / name) for name in ("memory.max", "memory.current", "memory.stat"))
    if limit and used and limit[0].isdigit():
        cached = next((int(line.split()[1]) for line in kinds if line.startswith("inactive_file ")), 0)
        available = min(available, int(limit[0]) - int(used[0]) + cached)
    return max(available, 0)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").splitlines()
    except OSError:
        return []


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an allocation failed; on the CPU, torch has no type of its own for that."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def within_memory(run: Callable[[], Result]) -> Result | None:
    """What `run` gives, or None where the device ran out of memory.

    On return the tensors of what failed are gone: the error's traceback, which keeps them alive, is not kept.
    """
    try:
        return run()
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    return None
