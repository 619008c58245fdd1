"""How many slots, and of which length, fit into the memory that is left beside the models."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch

SHARE_OF_FREE = 0.6
"""The cache's; the rest is for the forwards, and for the moment when the cache grows and both sizes exist."""
ROWS_PER_SLOT = 2
"""Streams of a guided request."""
USUAL_LENGTH = 1024
"""Tokens of prompt and completion that slots are counted for; a longer request takes the room of several."""
MOST_SLOTS = {"cpu": 64, "cuda": 256}
"""More do not pay: a step is no longer bound by reading the weights."""

_CONTROL_GROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Room:
    """What the cache may hold."""

    num_slots: int
    max_length: int


def room(free_bytes: int, bytes_per_token: int, max_length: int, device_type: str) -> Room:
    """Slots and the longest request, where a token of a slot's rows takes so many bytes together."""
    num_tokens = int(free_bytes * SHARE_OF_FREE) // bytes_per_token
    longest = max(2, min(max_length, num_tokens))
    most = MOST_SLOTS.get(device_type, MOST_SLOTS["cpu"])
    return Room(max(1, min(most, num_tokens // min(longest, USUAL_LENGTH))), longest)


def bytes_per_token(of_token: int, of_row: int) -> int:
    """Of a row of the usual length: its keys and values, and its share of a state that no length changes."""
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
