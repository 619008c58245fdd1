"""The key-value cache of one set of shared weights: one row per stream, each row's tokens at 0 to its length - 1.

There is no padding between the tokens of a row, and a row never sees its neighbours. Rows 0 to n - 1 are in use; new
rows are appended and freed ones are filled from the end. Knows tensors; does not know which request a row belongs to,
nor which of its columns are filled: the pass of a forward says so.
"""

from collections.abc import Collection, Sequence

from torch import Tensor
from transformers.cache_utils import CacheLayerMixin

from worker.engine.attention import RowPass, SharedPrefix
from worker.engine.native import kernels_on
from worker.engine.recurrent import RowStates, StateCache

MIN_CAPACITY = 64


class RowLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]  # its __init_subclass__ has no types
    """Keys and values of one layer, [rows, heads, capacity, head size] each."""

    keys: Tensor
    values: Tensor
    row_pass: RowPass

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
        # Zeros, never `empty`: a masked column has weight 0 in the sum over values, and 0 * NaN is NaN.
        return like.new_zeros(self.num_rows, like.shape[1], self.capacity, like.shape[3])

    def resize(self, num_rows: int, capacity: int) -> None:
        """Hold this many rows and columns; those that both sizes have are kept."""
        self.num_rows, self.capacity = num_rows, capacity
        if self.is_initialized:
            self.keys = self._resized(self.keys)
            self.values = self._resized(self.values)

    def _resized(self, old: Tensor) -> Tensor:
        if (old.shape[0], old.shape[2]) == (self.num_rows, self.capacity):
            return old
        new = self._allocate(old)
        rows, columns = min(old.shape[0], self.num_rows), min(old.shape[2], self.capacity)
        new[:rows, :, :columns] = old[:rows, :, :columns]
        return new

    def update(
        self, key_states: Tensor, value_states: Tensor, *_args: object, **_kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Write the line's keys and values [1, heads, tokens, head size]; return the whole layer."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        rows, columns = self.row_pass.rows, self.row_pass.columns
        own = kernels_on(key_states.dtype, key_states.device)
        states = key_states[0].transpose(0, 1), value_states[0].transpose(0, 1)
        if own is not None and own.keeps(states, (self.keys, self.values)):
            own.keep(states, (self.keys, self.values), rows, columns)
            return self.keys, self.values
        self.keys[rows, :, columns], self.values[rows, :, columns] = states
        return self.keys, self.values

    # What transformers asks of a cache to build masks and positions: not used, since both are given.

    def get_seq_length(self) -> int:
        """Rows have no common length."""
        return 0

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Key length and offset of a mask over the whole layer."""
        return max(self.capacity, query_length), 0

    def get_max_length(self) -> int:
        """Columns of a row."""
        return self.capacity


class RowCache(StateCache):
    """The layers of one model. Rows and capacity at least double when they grow, and stay below their limits."""

    def __init__(self, num_layers: int, max_length: int) -> None:
        self.rows = [RowLayer() for _ in range(num_layers)]
        super().__init__(layers=list(self.rows))
        self.states = RowStates()
        self._max_length = max_length
        self.num_rows = 0
        self.capacity = 0
        self.has_moved = False
        """Whether keys and values lie elsewhere than when this was last set to false."""

    @property
    def _tensors(self) -> list[Tensor]:
        """Keys and values; models whose layers share keys leave some of the cache's own layers unused."""
        filled = (layer for layer in self.rows if layer.is_initialized)
        return [tensor for layer in filled for tensor in (layer.keys, layer.values)]

    @property
    def bytes_per_column(self) -> int:
        """Of one row, over all layers."""
        return sum(tensor.shape[1] * tensor.shape[3] * tensor.itemsize for tensor in self._tensors)

    @property
    def bytes_reserved(self) -> int:
        """Of all rows, filled or not."""
        return sum(tensor.numel() * tensor.itemsize for tensor in self._tensors)

    def reserve(self, num_rows: int, length: int) -> None:
        """Make room for rows 0 to num_rows - 1 with columns 0 to length - 1."""
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
            if (layer.num_rows, layer.capacity) != (self.num_rows, self.capacity):
                layer.resize(self.num_rows, self.capacity)
                self.has_moved = True
        self.states.resize(self.num_rows)

    def expect(self, row_pass: RowPass) -> None:
        """Say what the coming forward writes."""
        for layer in self.rows:
            layer.row_pass = row_pass

    def scrub(self, rows: Tensor) -> None:
        """Forget what is in these rows [m]: a masked NaN would still spoil whoever comes to lie there."""
        for tensor in self._tensors:
            tensor[rows] = 0
        self.states.scrub(rows)

    def move(self, moves: Sequence[tuple[int, int, int]], unproved: Collection[int] = ()) -> None:
        """Copy (source, target, number of columns) of rows over other rows, as if all at once; targets ascend.

        Nothing of the `unproved` sources stays behind in their old places: they may hold NaN, which nobody has seen
        yet.
        """
        sources, targets, lengths = zip(*moves, strict=True)
        longest = max(lengths)
        self.states.move(sources, targets, unproved)
        for tensor in self._tensors:
            if tensor.is_cuda:  # a launch costs more than columns copied in vain
                moved = tensor[list(sources), :, :longest]
                if unproved:
                    tensor[list(unproved)] = 0
                tensor[list(targets), :, :longest] = moved
                continue
            for source, target, length in moves:  # a source lies behind its target: nobody overwrites it before
                tensor[target, :, :length] = tensor[source, :, :length]
                if source in unproved:
                    tensor[source, :, :length] = 0

    def read(self, row: int, token_ids: Sequence[int], adapter: int) -> SharedPrefix:
        """What a row holds of these tokens, as a copy that others can share."""
        length = len(token_ids)
        layers = {layer: self.rows[layer] for layer in range(len(self.rows)) if self.rows[layer].is_initialized}
        return SharedPrefix(
            adapter=adapter,
            token_ids=tuple(token_ids),
            keys={index: layer.keys[row, :, :length].clone() for index, layer in layers.items()},
            values={index: layer.values[row, :, :length].clone() for index, layer in layers.items()},
            states=self.states.read(row),
        )

    def write(self, row: int, prefix: SharedPrefix) -> None:
        """Begin a row with a copy of a shared prefix; its state is not written."""
        for index, keys in prefix.keys.items():
            self.rows[index].keys[row, :, : len(prefix)] = keys
            self.rows[index].values[row, :, : len(prefix)] = prefix.values[index]
