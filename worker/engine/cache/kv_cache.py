"""The key-value cache of one set of shared weights: one row per stream, each row's tokens at 0 to its length - 1.

There is no padding between the tokens of a row, and a row never sees its neighbours. Rows 0 to n - 1 are in use; new
rows are appended and freed ones are filled from the end. The rectangle is as wide as its longest row, its memory is not
(`worker.engine.cache.pages`). Knows tensors and how long rows are; does not know which request a row belongs to.
"""

from collections import Counter
from collections.abc import Collection, Sequence

from torch import Tensor
from transformers.cache_utils import CacheLayerMixin

from worker.engine.cache.pages import Pages
from worker.engine.cache.recurrent import RowStates, StateCache
from worker.engine.layers.attention import AttentionMetadata, SharedPrefix
from worker.engine.layers.native import kernels_on

MIN_CAPACITY = 64
PATIENT_FORWARDS = 256
"""For which a rectangle has been too large before it shrinks."""
IDLE_SHARE = 32
"""One part in so many of the columns in use may keep memory without holding a token, ready for the next."""


class RowLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]  # its __init_subclass__ has no types
    """Keys and values of one layer, [rows, heads, capacity, head size] each."""

    keys: Tensor
    values: Tensor
    metadata: AttentionMetadata

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
        self.num_rows = 0
        self.capacity = 0
        self.pages: tuple[Pages, ...] = ()
        """The memory of the keys and of the values, once it is allocated."""

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocate once the first keys and values show their shape, dtype and device."""
        self._hold(*(Pages.zeros(states, self.num_rows, self.capacity) for states in (key_states, value_states)))
        self.is_initialized = True

    def _hold(self, *pages: Pages) -> None:
        self.pages = pages
        self.keys, self.values = (each.tensor for each in pages)

    def resize(self, num_rows: int, capacity: int, kept: Sequence[int]) -> None:
        """Hold this many rows and columns; the first columns of each row are kept, as many as `kept` says."""
        self.num_rows, self.capacity = num_rows, capacity
        if self.is_initialized:
            self._hold(*(self._resized(old, kept) for old in self.pages))

    def _resized(self, old: Pages, kept: Sequence[int]) -> Pages:
        new = Pages.zeros(old.tensor, self.num_rows, self.capacity)
        if not new.is_sparse:  # few large copies
            rows, columns = min(len(old.tensor), self.num_rows), min(old.tensor.shape[2], self.capacity)
            new.tensor[:rows, :, :columns] = old.tensor[:rows, :, :columns]
            return new
        for row, length in enumerate(kept[: self.num_rows]):
            new.tensor[row, :, :length] = old.tensor[row, :, :length]
        return new

    def update(
        self, key_states: Tensor, value_states: Tensor, *_args: object, **_kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Write the line's keys and values [1, heads, tokens, head size]; return the whole layer."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        rows, columns = self.metadata.rows, self.metadata.columns
        own = kernels_on(key_states.dtype, key_states.device)
        states = key_states[0].transpose(0, 1), value_states[0].transpose(0, 1)
        if own is not None and own.keeps(states, (self.keys, self.values)):
            own.keep(states, (self.keys, self.values), rows, columns)
            return self.keys, self.values
        self.keys[rows, :, columns], self.values[rows, :, columns] = states
        return self.keys, self.values

    # What transformers asks of a cache to build masks and positions: not used, since both are given.

    def get_seq_length(self) -> int:
        """0: transformers asks for one length, and rows have no common one; positions are given instead."""
        return 0

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Key length and offset of a mask over the whole layer."""
        return max(self.capacity, query_length), 0

    def get_max_length(self) -> int:
        """Columns (tokens) that a row can hold now."""
        return self.capacity


class PaddedLayer(RowLayer):  # type: ignore[no-untyped-call]  # as above
    """The same for a batch [rows, heads, tokens, head size], padded on the right, of one block of neighbouring rows.

    Its tokens are the last of the columns that the block reads.
    """

    def update(
        self, key_states: Tensor, value_states: Tensor, *_args: object, **_kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Write the batch's keys and values, without its padding; return what its rows hold."""
        (block,) = self.metadata.blocks
        line = (block.put(states.transpose(1, 2)).transpose(0, 1)[None] for states in (key_states, value_states))
        keys, values = super().update(*line)
        return keys[block.rows, :, : block.num_keys], values[block.rows, :, : block.num_keys]

    def get_seq_length(self) -> int:
        """Columns before the batch's tokens."""
        (block,) = self.metadata.blocks
        return block.num_keys - block.columns.shape[1]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:  # noqa: ARG002 (transformers' signature)
        """Columns that are read, and the first of them."""
        return self.metadata.blocks[0].num_keys, 0


class RowCache(StateCache):
    """The layers of one model. Rows and capacity at least double when they grow, and stay below their limits.

    Memory follows the tokens: where it can be had by the page (`Pages.is_sparse`), what rows have left behind is given
    back as soon as it is more than a small share; elsewhere the rectangle shrinks once three quarters have been of no
    use for many forwards, since graphs of them are lost when it moves.
    """

    def __init__(self, num_layers: int, max_length: int, layer_type: type[RowLayer] = RowLayer) -> None:
        self.rows = [layer_type() for _ in range(num_layers)]
        super().__init__(layers=list(self.rows))
        self.states = RowStates()
        self._max_length = max_length
        self.num_rows = 0
        self.capacity = 0
        self._num_too_large = 0
        self._held: list[int] = []
        """For each row, how many columns have memory, from the first on."""
        self.has_moved = False
        """Whether keys and values lie elsewhere than when this was last set to false."""

    @property
    def _pages(self) -> list[Pages]:
        """Keys and values; models whose layers share keys leave some of the cache's own layers unused."""
        return [pages for layer in self.rows for pages in layer.pages]

    @property
    def _tensors(self) -> list[Tensor]:
        return [pages.tensor for pages in self._pages]

    @property
    def bytes_per_column(self) -> int:
        """Bytes of one token of one row, keys and values of all layers together."""
        return sum(tensor.shape[1] * tensor.shape[3] * tensor.itemsize for tensor in self._tensors)

    @property
    def bytes_reserved(self) -> int:
        """Memory of all rows, whether it holds tokens or not."""
        held = Counter(self._held)
        of_columns = sum(count * pages.row_bytes(length) for pages in self._pages for length, count in held.items())
        return of_columns + self.num_rows * self.states.bytes_per_row

    def reserve(self, lengths: Sequence[int]) -> None:
        """Make room for rows of so many columns; what they do not use may be given back."""
        num_rows, length = len(lengths), max(lengths, default=0)
        if num_rows > self.num_rows:
            self.num_rows = max(num_rows, 2 * self.num_rows)
        if length > self.capacity:
            self.capacity = max(length, min(max(2 * self.capacity, MIN_CAPACITY), self._max_length))
        if not self._is_sparse:
            self._narrow(num_rows, length)
        self._resize()
        self._held[:num_rows] = map(max, self._held, lengths)
        self.trim(lengths)

    @property
    def _is_sparse(self) -> bool:
        return any(pages.is_sparse for pages in self._pages)

    def _narrow(self, num_rows: int, length: int) -> None:
        """To twice what is needed where it is four times that, so that the next row does not make it grow again."""
        needed = (max(1, num_rows), max(length, MIN_CAPACITY))
        is_large = 4 * needed[0] <= self.num_rows or 4 * needed[1] <= self.capacity
        self._num_too_large = self._num_too_large + 1 if is_large else 0
        if self._num_too_large < PATIENT_FORWARDS:
            return
        self._num_too_large = 0
        self.num_rows, self.capacity = min(self.num_rows, 2 * needed[0]), min(self.capacity, 2 * needed[1])

    def trim(self, lengths: Sequence[int]) -> None:
        """Give back the memory behind the rows' tokens, most first, where it is more than a small share."""
        num_idle = sum(self._held) - sum(lengths)
        allowed = sum(lengths) // IDLE_SHARE
        if num_idle <= allowed or not self._is_sparse:
            return
        used = [*lengths, *[0] * (self.num_rows - len(lengths))]
        for row in sorted(range(self.num_rows), key=lambda row: used[row] - self._held[row]):
            if num_idle <= allowed // 2:
                return
            for pages in self._pages:
                pages.give_back(row, used[row], self._held[row])
            num_idle -= self._held[row] - used[row]
            self._held[row] = used[row]

    def shrink(self, lengths: Sequence[int]) -> None:
        """Give back all memory but that of rows of so many columns."""
        self.trim(lengths)
        self.num_rows = min(len(lengths), self.num_rows)
        if not self._is_sparse:
            self.capacity = min(self.capacity, max(MIN_CAPACITY, *lengths, 0))
        self._resize()

    def _resize(self) -> None:
        kept = self._held[: self.num_rows]
        for layer in self.rows:
            if (layer.num_rows, layer.capacity) != (self.num_rows, self.capacity):
                layer.resize(self.num_rows, self.capacity, kept)
                self.has_moved = True
        self.states.resize(self.num_rows)
        self._held = [*kept, *[0] * (self.num_rows - len(kept))]

    def expect(self, metadata: AttentionMetadata) -> None:
        """Say what the coming forward writes."""
        for layer in self.rows:
            layer.metadata = metadata

    def scrub(self, rows: Tensor) -> None:
        """Forget what is in these rows [m]: a masked NaN would still spoil whoever comes to lie there."""
        of_rows: list[int] = rows.tolist()
        for pages in self._pages:
            if not pages.is_sparse:
                pages.tensor[rows] = 0
                continue
            for row in of_rows:
                pages.tensor[row, :, : self._held[row]] = 0
        self.states.scrub(rows)

    def move(self, moves: Sequence[tuple[int, int, int]], unproved: Collection[int] = ()) -> None:
        """Copy (source, target, number of columns) of rows over other rows, as if all at once; targets ascend.

        Nothing of the `unproved` sources stays behind in their old places: they may hold NaN, which nobody has seen
        yet.
        """
        sources, targets, lengths = zip(*moves, strict=True)
        longest = max(lengths)
        self.states.move(sources, targets, unproved)
        for _, target, length in moves:
            self._held[target] = max(self._held[target], min(length, self.capacity))  # the pending token is not in yet
        for pages in self._pages:
            tensor = pages.tensor
            if not pages.is_sparse:  # on a GPU: a launch costs more than columns copied in vain
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
