"""Attention of trees of tokens: a token sees what its row held before, its ancestors and itself, and no sibling."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from worker.engine.batch_layout import cascade_groups
from worker.engine.cross_tokenizer.trees import Tree
from worker.engine.layers.attention import AttentionBlock
from worker.engine.layers.native import Branches
from worker.engine.rows import Row

_Value = TypeVar("_Value")


@dataclass(slots=True, kw_only=True)
class TreeBlock(AttentionBlock):
    """n neighbouring rows, each with the T tokens of its tree in the columns behind those it keeps."""

    starts: Tensor
    """[n], the column of each row's first token."""
    trees: Sequence[Tree]

    def visible(self, window: int | None) -> Tensor:
        """Which keys a token may see [n, 1, T, keys]: its row's text, its ancestors and itself, within the window."""
        if window not in self._visible:
            num_tokens = self.columns.shape[1]
            keys = torch.arange(self.num_keys, device=self.starts.device)
            place = keys - self.starts[:, None]  # [n, keys], where in the tree
            within = ((place >= 0) & (place < num_tokens))[:, None]
            place = place.clamp(0, num_tokens - 1)
            of_tree = self._seen().gather(2, place[:, None].expand(-1, num_tokens, -1)) & within
            visible = of_tree | (keys < self.starts[:, None])[:, None]
            if window is not None:
                offsets = self.positions[:, :1] - self.starts[:, None]
                of_keys = torch.where(within[:, 0], self.positions.gather(1, place), keys + offsets)
                visible &= of_keys[:, None] > self.positions[:, :, None] - window
            self._visible[window] = visible[:, None]
        return self._visible[window]

    def _seen(self) -> Tensor:
        """[n, T, T], which tokens of its tree a token sees; the last token's again behind it, as those are padded."""
        num_tokens = self.columns.shape[1]
        places = [
            (index * num_tokens + step) * num_tokens + ancestor
            for index, tree in enumerate(self.trees)
            for step, ancestors in enumerate(_padded(tree.ancestors(), num_tokens))
            for ancestor in ancestors
        ]
        seen = torch.zeros(len(self.trees) * num_tokens**2, dtype=torch.bool, device=self.starts.device)
        return seen.index_fill_(0, self.starts.new_tensor(places), 1).view(-1, num_tokens, num_tokens)


def tree_block(
    trees: Sequence[Tree], rows: Sequence[Row], *, first_row: int, first_token: int, device: torch.device
) -> TreeBlock:
    """Trees of rows from `first_row` on, whose tokens lie in the line from `first_token` on."""
    widest = max(len(tree.tokens) for tree in trees)
    tokens, positions, columns = [], [], []
    places: list[int] = []
    starts = _starts(trees, rows)
    for index, (tree, start) in enumerate(zip(trees, starts, strict=True)):
        size = len(tree.tokens)
        tokens.append(_padded(range(first_token, first_token + size), widest))
        positions.append(_padded(tree.positions, widest))
        columns.append(_padded(range(start, start + size), widest))
        places += range(index * widest, index * widest + size)
        first_token += size
    return TreeBlock(
        first_row=first_row,
        columns=torch.tensor(columns, device=device),
        positions=torch.tensor(positions, device=device),
        num_keys=max(start + len(tree.tokens) for tree, start in zip(trees, starts, strict=True)),
        tokens=torch.tensor(tokens, device=device),
        places=torch.tensor(places, device=device),
        readers=cascade_groups(rows, device),
        starts=torch.tensor(starts, device=device),
        trees=trees,
    )


def branches(trees: Sequence[Tree], rows: Sequence[Row]) -> Branches:
    """The same for a processor's kernels, of all tokens of the line: what each sees, in the order of its text."""
    trunks, starts = [], [0]
    paths: list[int] = []
    for tree, start in zip(trees, _starts(trees, rows), strict=True):
        for seen in tree.ancestors():
            num_first = next((place for place, node in enumerate(seen) if place != node), len(seen))
            trunks.append(start + num_first)
            paths += [start + node for node in seen[num_first:]]
            starts.append(len(paths))
    return Branches(torch.tensor(trunks), torch.tensor(starts), torch.tensor(paths, dtype=torch.long))


def _starts(trees: Sequence[Tree], rows: Sequence[Row]) -> list[int]:
    """The column of each row's first token."""
    return [tree.start - row.offset for tree, row in zip(trees, rows, strict=True)]


def _padded(values: Sequence[_Value], length: int) -> list[_Value]:
    """With the last one again behind them, as pieces of prompts are."""
    return [*values, *[values[-1]] * (length - len(values))]
