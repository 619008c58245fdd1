"""The tokens of one forward as a line, and the blocks and stretches in which layers see it. Runs nothing."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from worker.engine.layers.attention import AttentionBlock, CascadeGroup, SharedPrefix
from worker.engine.layers.native import Branches
from worker.engine.rows import PromptChunk, Row


@dataclass(frozen=True, slots=True)
class Line:
    """The tokens of one forward, one behind the other: their ids, positions and adapters, [tokens] each."""

    tokens: Tensor
    positions: Tensor
    adapters: Tensor
    used: Collection[int]
    """The numbers among `adapters`, as the host knows them."""
    branches: Branches | None = None
    """What each token sees, for a processor's kernels, where texts branch; None where none does."""

    @classmethod
    def of(cls, pieces: Sequence[PromptChunk], device: torch.device) -> "Line":
        """The tokens of pieces of prompts."""
        sizes = [len(piece.token_ids) for piece in pieces]
        positions = [piece.start + step for piece, size in zip(pieces, sizes, strict=True) for step in range(size)]
        adapters = [piece.adapter for piece, size in zip(pieces, sizes, strict=True) for _ in range(size)]
        return cls(
            tokens=_integers([token_id for piece in pieces for token_id in piece.token_ids], device),
            positions=_integers(positions, device),
            adapters=_integers(adapters, device),
            used={*adapters},
        )

    def then(self, other: "Line") -> "Line":
        """These tokens, then those of another line; texts of neither branch."""
        return Line(
            tokens=torch.cat([self.tokens, other.tokens]),
            positions=torch.cat([self.positions, other.positions]),
            adapters=torch.cat([self.adapters, other.adapters]),
            used={*self.used, *other.used},
        )


@dataclass(frozen=True, slots=True)
class Stretch:
    """Neighbouring rows with equally many tokens in a forward."""

    rows: slice
    """Rows of the cache."""
    tokens: slice
    """Tokens of the forward: those of the first row, then those of the next."""
    goes_on: bool
    """Whether the rows hold the state behind earlier tokens; otherwise they begin."""

    @property
    def num_rows(self) -> int:
        """Number of rows in the stretch."""
        return int(self.rows.stop - self.rows.start)

    def by_token(self) -> "list[Stretch]":
        """The same as stretches of one token per row, in order; itself where rows begin or have one token."""
        size = (self.tokens.stop - self.tokens.start) // self.num_rows
        if not self.goes_on or size == 1:
            return [self]
        starts = range(self.tokens.start, self.tokens.start + size)
        return [Stretch(self.rows, slice(start, self.tokens.stop, size), goes_on=True) for start in starts]


def stretches(num_decoding: int, pieces: Sequence[PromptChunk], first_row: int) -> list[Stretch]:
    """The stretches of a forward: a token of each decoding row, then chunks of prompts in rows from `first_row` on."""
    found = [Stretch(slice(0, num_decoding), slice(0, num_decoding), goes_on=True)] if num_decoding else []
    start, row = num_decoding, first_row
    while pieces:
        size, goes_on = len(pieces[0].token_ids), pieces[0].start > 0
        alike = 1
        while alike < len(pieces) and (len(pieces[alike].token_ids), pieces[alike].start > 0) == (size, goes_on):
            alike += 1
        found.append(Stretch(slice(row, row + alike), slice(start, start + alike * size), goes_on))
        pieces, start, row = pieces[alike:], start + alike * size, row + alike
    return found


def cascade_groups(rows: Sequence[Row], device: torch.device) -> list[CascadeGroup]:
    """Which of these rows read which shared prefix in place."""
    of_prefix: dict[int, tuple[SharedPrefix, list[int]]] = {}
    for index, row in enumerate(rows):
        if row.prefix is not None:
            of_prefix.setdefault(id(row.prefix), (row.prefix, []))[1].append(index)
    return [CascadeGroup(prefix, _integers(indices, device)) for prefix, indices in of_prefix.values()]


def parts_of(text: PromptChunk, num_tokens: int) -> list[PromptChunk]:
    """A whole text as consecutive chunks of at most `num_tokens` tokens; `is_last` is that of the text in each."""
    token_ids = text.token_ids
    starts = range(0, len(token_ids), num_tokens)
    return [replace(text, token_ids=token_ids[start : start + num_tokens], start=start) for start in starts]


def piece_block(
    pieces: Sequence[PromptChunk],
    rows: Sequence[Row],
    *,
    first_row: int,
    first_token: int,
    num_keys: int,
    device: torch.device,
) -> AttentionBlock:
    """Pieces of prompts in rows from `first_row` on, whose tokens lie in the line from `first_token` on."""
    sizes = [len(piece.token_ids) for piece in pieces]
    widest = max(sizes)
    tokens, positions, columns = [], [], []
    places: list[int] = []
    for index, (piece, row, size) in enumerate(zip(pieces, rows, sizes, strict=True)):
        # Padded with its own last token: a row can meet no foreign token that is broken.
        steps = [min(step, size - 1) for step in range(widest)]
        tokens.append([first_token + step for step in steps])
        positions.append([piece.start + step for step in steps])
        columns.append([piece.start - row.offset + step for step in steps])
        places += range(index * widest, index * widest + size)
        first_token += size
    return AttentionBlock(
        first_row=first_row,
        columns=_integers(columns, device),
        positions=_integers(positions, device),
        num_keys=num_keys,
        tokens=_integers(tokens, device),
        places=_integers(places, device),
        readers=cascade_groups(rows, device),
        starts_rows=all(piece.start == 0 for piece in pieces),
    )


def written(blocks: Sequence[AttentionBlock], device: torch.device) -> tuple[Tensor, Tensor]:
    """The cache row and column of every token in the line."""
    rows, columns = [], []
    for block in blocks:
        of_row = torch.arange(block.first_row, block.first_row + len(block.columns), device=device)
        every_row = of_row[:, None].expand_as(block.columns).flatten()
        every_column = block.columns.flatten()
        rows.append(every_row if block.places is None else every_row[block.places])
        columns.append(every_column if block.places is None else every_column[block.places])
    return torch.cat(rows), torch.cat(columns)


def ends(pieces: Sequence[PromptChunk], first_token: int) -> list[int]:
    """Where in the line the last tokens of the rows are that decode from now on."""
    ends = []
    for piece in pieces:
        first_token += len(piece.token_ids)
        if piece.is_last:
            ends.append(first_token - 1)
    return ends


def _integers(values: Sequence[int] | Sequence[Sequence[int]], device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=torch.long, device=device)
