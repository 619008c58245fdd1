"""The rows of one model's cache: whose they are, how long, and which lies where. Bookkeeping; holds no tensor."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import TypeAlias

from worker.engine.cache.prefixes import TicketId
from worker.engine.layers.attention import SharedPrefix

RowKey: TypeAlias = tuple[TicketId, int]
"""Whose a row is, and the index of the stream."""


@dataclass(frozen=True, slots=True)
class PromptChunk:
    """Prompt tokens of one row that are to be run, behind those that were."""

    key: RowKey
    adapter: int
    token_ids: tuple[int, ...]
    start: int
    """Position of the first of `token_ids` in its text."""
    is_last: bool
    """Whether the row decodes from now on."""
    prefix: SharedPrefix | None = None
    """The shared prefix that a new row reads before its own tokens; None where it has none."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the cache that holds a stream: whose it is, its adapter, and the prefix that it reads elsewhere."""

    key: RowKey
    adapter: int
    prefix: SharedPrefix | None
    """Read in place; its tokens are not in the row."""

    @property
    def offset(self) -> int:
        """Position in the text of the row's first column: the length of its shared prefix, else 0."""
        return len(self.prefix) if self.prefix else 0


@dataclass(frozen=True, slots=True)
class Departure:
    """What becomes of the rows when some are freed: others take their places."""

    freed: list[int]
    order: list[int]
    """Which row comes to lie at 0, 1, ..."""
    moves: list[tuple[int, int, int]]
    """Source, target and length of each row that moves; targets ascend."""
    half_read: list[int]
    """The sources among them whose prompts are being read."""
    num_decoding: int


class RowTable:
    """The rows in use, at 0 to n - 1: those that decode, then those whose prompts are being read."""

    def __init__(self, num_blocks: int, *, needs_equal_lengths: bool) -> None:
        """The rows that decode attend in so many blocks, or in as many as they have lengths."""
        self._num_blocks = num_blocks
        self._needs_equal_lengths = needs_equal_lengths
        self.rows: list[Row] = []
        self.lengths: list[int] = []
        """Columns filled in each; a row that decodes has its pending token counted, which is not in the cache yet."""
        self.num_decoding = 0
        self._num_joining = 0
        """Rows behind those that decode whose prompts end with what was placed last."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def decoding(self) -> list[Row]:
        """The rows that decode."""
        return self.rows[: self.num_decoding]

    @property
    def keys(self) -> list[RowKey]:
        """The keys of the rows for which a token is chosen in this step."""
        return [row.key for row in self.rows[: self.num_decoding + self._num_joining]]

    @property
    def blocks(self) -> list[slice]:
        """The rows that decode, as they attend together."""
        if self._needs_equal_lengths:
            sizes = [len([*alike]) for _, alike in groupby(self.lengths[: self.num_decoding])]
            return [slice(end - size, end) for size, end in zip(sizes, accumulate(sizes), strict=True)]
        starts = range(0, self.num_decoding, self._rows_per_block)
        return [slice(start, min(start + self._rows_per_block, self.num_decoding)) for start in starts]

    @property
    def _rows_per_block(self) -> int:
        return max(1, -(-self.num_decoding // self._num_blocks))

    def place(
        self, pieces: Sequence[PromptChunk], is_read_in_place: Callable[[SharedPrefix], bool], *, by_length: bool
    ) -> list[PromptChunk]:
        """Give every stream that is new a row behind the others, on request in few stretches; the pieces in row order.

        Every row whose prompt is being read has a piece.
        """
        begun = {row.key: index for index, row in enumerate(self.rows[self.num_decoding :])}
        old = sorted((piece for piece in pieces if piece.key in begun), key=lambda piece: begun[piece.key])
        new = [piece for piece in pieces if piece.key not in begun]
        if by_length:
            new = _by_length(new)
        for piece in new:
            in_place = piece.prefix is not None and is_read_in_place(piece.prefix)
            self.rows.append(Row(piece.key, piece.adapter, piece.prefix if in_place else None))
            self.lengths.append(0)
        for index, piece in enumerate([*old, *new], start=self.num_decoding):
            self.lengths[index] = piece.start + len(piece.token_ids) - self.rows[index].offset
        self._num_joining = sum(piece.is_last for piece in pieces)
        return [*old, *new]

    def join(self) -> range:
        """Let the rows decode whose prompts have been read; these rows."""
        joined = range(self.num_decoding, self.num_decoding + self._num_joining)
        self.num_decoding, self._num_joining = joined.stop, 0
        return joined

    def lengthen(self, longest: int) -> None:
        """Count one more token in each row that decodes, up to the longest row that there may be."""
        lengths = self.lengths[: self.num_decoding]
        self.lengths[: self.num_decoding] = [min(length + 1, longest) for length in lengths]

    def without(self, request_ids: Collection[TicketId]) -> Departure | None:
        """What becomes of the rows if those of these requests are freed; None where they have none."""
        kept = [index for index, row in enumerate(self.rows) if row.key[0] not in request_ids]
        if len(kept) == len(self.rows):
            return None
        order = compacted(kept, self.num_decoding, self.lengths, self._rows_per_block)
        moves = [(source, target, self.lengths[source]) for target, source in enumerate(order) if source != target]
        return Departure(
            freed=sorted({*range(len(self.rows))} - {*kept}),
            order=order,
            moves=moves,
            half_read=[source for source, _, _ in moves if source >= self.num_decoding],
            num_decoding=sum(index < self.num_decoding for index in kept),
        )

    def apply(self, departure: Departure) -> None:
        """Free the rows, and put the others where they have come to lie."""
        self.num_decoding = departure.num_decoding
        self.rows = [self.rows[index] for index in departure.order]
        self.lengths = [self.lengths[index] for index in departure.order]


def _by_length(pieces: Sequence[PromptChunk]) -> list[PromptChunk]:
    """New rows in an order that makes few stretches; those that decode next stay in front."""
    return sorted(pieces, key=lambda piece: (not piece.is_last, piece.start > 0, len(piece.token_ids)))


def compacted(kept: Sequence[int], num_decoding: int, lengths: Sequence[int], block: int) -> list[int]:
    """Which row comes to lie at 0, 1, ...: those that decode in front, then the rest in its order.

    A hole is filled with the longest row of the next block of rows, and so on to the last. Newcomers, who are short,
    join at the end; so rows of like lengths come to lie together, and a block's attention reads few columns in vain.
    """
    alive = set(kept)
    cells: list[int | None] = [index if index in alive else None for index in range(num_decoding)]
    hole = 0
    while True:
        while cells and cells[-1] is None:
            cells.pop()
        hole = next((index for index in range(hole, len(cells)) if cells[index] is None), len(cells))
        if hole == len(cells):
            break
        following = (hole // block + 1) * block
        candidates = [
            index for index in range(following, min(following + block, len(cells))) if cells[index] is not None
        ]
        source = max(candidates, key=lambda index: lengths[cells[index] or 0], default=len(cells) - 1)
        cells[hole], cells[source] = cells[source], None
    return [index for index in cells if index is not None] + [index for index in kept if index >= num_decoding]
