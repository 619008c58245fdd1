"""The key-value cache of one set of shared weights: one row per stream, each row's tokens at 0 to its length - 1.

There is no padding between the tokens of a row, so positions are absolute and a row never sees its neighbours.
Rows 0 to n - 1 are in use; new rows are appended and freed ones are filled from the end. Knows tensors; does not know
which request a row belongs to, nor which of its positions are filled: the attention mask says so.
"""

from dataclasses import dataclass

from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

MIN_CAPACITY = 64


@dataclass(frozen=True, slots=True)
class Prefill:
    """The coming forward runs whole prompts of fresh rows, from position 0."""

    first_row: int


@dataclass(frozen=True, slots=True)
class Decode:
    """The coming forward runs one token of each of the rows 0 to n - 1."""

    rows: Tensor
    """[n], 0 to n - 1, made once for all layers."""
    positions: Tensor
    """[n], where each row's token goes."""
    num_keys: int
    """Positions that attention reads: one more than the largest of `positions`."""


class RowLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]  # its __init_subclass__ has no types
    """Keys and values of one layer, [rows, heads, capacity, head size] each."""

    keys: Tensor
    values: Tensor
    access: Prefill | Decode

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
        self.num_rows = 0
        self.capacity = 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocate once the first keys and values show their shape, dtype and device."""
        self.keys = self._allocate(key_states)
        self.values = self._allocate(value_states)
        self.is_initialized = True

    def _allocate(self, like: Tensor) -> Tensor:
        # Zeros, never `empty`: a masked position has weight 0 in the sum over values, and 0 * NaN is NaN.
        return like.new_zeros(self.num_rows, like.shape[1], self.capacity, like.shape[3])

    def resize(self, num_rows: int, capacity: int) -> None:
        """Hold this many rows and positions; the rows and positions that both sizes have are kept."""
        self.num_rows, self.capacity = num_rows, capacity
        if self.is_initialized:
            self.keys = self._resized(self.keys)
            self.values = self._resized(self.values)

    def _resized(self, old: Tensor) -> Tensor:
        if (old.shape[0], old.shape[2]) == (self.num_rows, self.capacity):
            return old
        new = self._allocate(old)
        rows, positions = min(old.shape[0], self.num_rows), min(old.shape[2], self.capacity)
        new[:rows, :, :positions] = old[:rows, :, :positions]
        return new

    def move(self, source: Tensor, target: Tensor) -> None:
        """Copy rows over others, stale positions included: they may hold a failed request's NaN otherwise."""
        if self.is_initialized:
            self.keys[target] = self.keys[source]
            self.values[target] = self.values[source]

    def update(
        self, key_states: Tensor, value_states: Tensor, *_args: object, **_kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Write the new keys and values [n, heads, tokens, head size]; return those that attention reads."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        if isinstance(self.access, Prefill):
            self._write_prompts(self.keys, key_states, self.access.first_row)
            self._write_prompts(self.values, value_states, self.access.first_row)
            return key_states, value_states
        return (
            self._write_token(self.keys, key_states, self.access),
            self._write_token(self.values, value_states, self.access),
        )

    @staticmethod
    def _write_prompts(cached: Tensor, new: Tensor, first_row: int) -> None:
        rows = cached[first_row : first_row + new.shape[0]]
        rows[:, :, : new.shape[2]] = new
        rows[:, :, new.shape[2] :] = 0  # what the row's former owner left may be NaN

    @staticmethod
    def _write_token(cached: Tensor, new: Tensor, access: Decode) -> Tensor:
        cached[access.rows, :, access.positions] = new[:, :, 0]
        return cached[: new.shape[0], :, : access.num_keys]

    # What transformers asks of a cache to build masks and positions: not used, since both are given.

    def get_seq_length(self) -> int:
        """Rows have no common length."""
        return 0

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Key length and offset of a mask over the whole layer."""
        return max(self.capacity, query_length), 0

    def get_max_length(self) -> int:
        """Positions that a row can hold."""
        return self.capacity


class RowCache(Cache):
    """The layers of one model. Rows and capacity at least double when they grow, and stay below their limits."""

    def __init__(self, num_layers: int, max_length: int) -> None:
        self.rows = [RowLayer() for _ in range(num_layers)]
        super().__init__(layers=list(self.rows))
        self._max_length = max_length
        self.num_rows = 0
        self.capacity = 0

    def reserve(self, num_rows: int, length: int) -> None:
        """Make room for rows 0 to num_rows - 1 with positions 0 to length - 1."""
        if num_rows > self.num_rows:
            self.num_rows = max(num_rows, 2 * self.num_rows)
        if length > self.capacity:
            self.capacity = min(max(length, 2 * self.capacity, MIN_CAPACITY), self._max_length)
        self._resize()

    def shrink(self, num_rows: int) -> None:
        """Give back the memory of all rows from num_rows on."""
        self.num_rows = min(num_rows, self.num_rows)
        self._resize()

    def _resize(self) -> None:
        for layer in self.rows:
            layer.resize(self.num_rows, self.capacity)

    def expect(self, access: Prefill | Decode) -> None:
        """Say what the coming forward writes and reads."""
        for layer in self.rows:
            layer.access = access

    def move(self, source: Tensor, target: Tensor) -> None:
        """Copy rows [m] over other rows [m], which share none with the first."""
        for layer in self.rows:
            layer.move(source, target)
