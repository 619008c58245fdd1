"""Memory for weights in huge pages: a step reads all of them, and over pages of 4 KiB that takes a third longer.

Linux gives them to whoever asks (`madvise`); where it does not, memory is as it always is.
"""

import math
import mmap
import sys
from collections.abc import Sequence
from contextlib import suppress
from threading import Lock

import torch
from torch import Tensor

CHUNK_BYTES = 64 << 20
_ALIGNMENT = 64
_ADVICE = getattr(mmap, "MADV_HUGEPAGE", None) if sys.platform == "linux" else None


class Chunks:
    """Tensors one behind the other in large pieces of memory, each of which goes when its last tensor does."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._chunk: mmap.mmap | None = None
        self._num_used = 0

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """An uninitialised tensor in a chunk of memory that it shares with others."""
        count = math.prod(shape)
        if _ADVICE is None or not count:
            return torch.empty(shape, dtype=dtype)
        with self._lock:
            chunk, start = self._place(count * dtype.itemsize)
        return torch.frombuffer(chunk, dtype=dtype, count=count, offset=start).view(*shape)

    def _place(self, num_bytes: int) -> tuple[mmap.mmap, int]:
        if self._chunk is None or self._num_used + num_bytes > len(self._chunk):
            self._chunk, self._num_used = _chunk(max(CHUNK_BYTES, num_bytes)), 0
        start = self._num_used
        self._num_used += -(-num_bytes // _ALIGNMENT) * _ALIGNMENT
        return self._chunk, start


def _chunk(num_bytes: int) -> mmap.mmap:
    chunk = mmap.mmap(-1, num_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):  # a kernel without huge pages
        chunk.madvise(_ADVICE or 0)
    return chunk
