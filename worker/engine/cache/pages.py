"""Tensors that take memory only where something was written: rows of unequal length in one rectangle of addresses.

On Linux a CPU's own page table does what block tables do in a kernel: addresses are free, a page of 4 KiB is there from
the first write on, and one that was given back reads as zeros. Elsewhere a tensor takes all that its shape says.
"""

import math
import mmap
import sys
from dataclasses import dataclass, field

import torch
from torch import Tensor

PAGE_BYTES = mmap.PAGESIZE
_NO_RESERVE = 0x4000  # MAP_NORESERVE, which Python names from 3.13 on: addresses count as no memory


def has_pages(device: torch.device) -> bool:
    """Whether memory can be had by the page there."""
    return device.type == "cpu" and sys.platform == "linux"


@dataclass(slots=True)
class Pages:
    """A tensor [rows, heads, capacity, size] of zeros, and the map that it lies in, where there is one."""

    tensor: Tensor
    _map: mmap.mmap | None = field(default=None, repr=False)

    @classmethod
    def zeros(cls, like: Tensor, num_rows: int, capacity: int) -> "Pages":
        """Zeros [num_rows, heads, capacity, size], in all else like keys [1, heads, tokens, size]."""
        shape = (num_rows, like.shape[1], capacity, like.shape[3])
        num_bytes = math.prod(shape) * like.itemsize
        mapped = _mapped(num_bytes) if has_pages(like.device) and num_bytes else None
        if mapped is None:
            return cls(like.new_zeros(shape))
        return cls(torch.frombuffer(mapped, dtype=like.dtype, count=math.prod(shape)).view(shape), mapped)

    @property
    def is_sparse(self) -> bool:
        """Whether columns that were never written take no memory."""
        return self._map is not None

    def row_bytes(self, num_columns: int) -> int:
        """Memory of a row of which so many columns were written."""
        _, num_heads, capacity, size = self.tensor.shape
        width = size * self.tensor.itemsize
        if self._map is None:
            return num_heads * capacity * width
        return num_heads * -(-num_columns * width // PAGE_BYTES) * PAGE_BYTES

    def give_back(self, row: int, first_column: int, end_column: int) -> None:
        """Return the memory of whole pages between these columns, which read as zeros from now on."""
        if self._map is None:
            return
        _, num_heads, capacity, size = self.tensor.shape
        width, strip = size * self.tensor.itemsize, capacity * size * self.tensor.itemsize
        begin = row * num_heads * strip
        if first_column == 0 and end_column >= capacity // 2:  # few holes: one call for all heads
            self._drop(begin, begin + num_heads * strip, num_heads * strip)
            return
        for head in range(num_heads):
            self._drop(begin + head * strip + first_column * width, begin + head * strip + end_column * width, strip)

    def _drop(self, begin: int, end: int, strip: int) -> None:
        """Whole pages alone; behind `end` nothing was written up to the end of the strip."""
        limit = (begin // strip + 1) * strip // PAGE_BYTES * PAGE_BYTES
        begin = -(-begin // PAGE_BYTES) * PAGE_BYTES
        end = min(-(-end // PAGE_BYTES) * PAGE_BYTES, limit)
        if self._map is not None and end > begin:
            self._map.madvise(mmap.MADV_DONTNEED, begin, end - begin)


def _mapped(num_bytes: int) -> mmap.mmap | None:
    """Addresses without memory; None where the system has none to give."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NO_RESERVE
    try:
        addresses = mmap.mmap(-1, num_bytes, flags=flags)
    except OSError:
        return None
    # A huge page would take 2 MiB for a single column.
    try:
        addresses.madvise(mmap.MADV_NOHUGEPAGE)
    except OSError:  # a kernel without huge pages
        return addresses
    return addresses
