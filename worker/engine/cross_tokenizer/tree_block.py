"""Attention of trees of tokens: a token sees what its row held before, its ancestors and itself, and no sibling."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.engine.batch_layout import cascade_groups
from worker.engine.cross_tokenizer.trees import Tree
from worker.engine.layers.attention import LONGEST_PROMPT_BY_TOKENS, AttentionBlock
from worker.engine.rows import Row


@dataclass(slots=True, kw_only=True)
class TreeBlock(AttentionBlock):
    """n neighbouring rows, each with the T tokens of its tree in the columns behind those it keeps."""

    starts: Tensor
    """[n], the column of each row's first token."""
    seen: Tensor
    """[n, T, T], which tokens of its tree a token sees."""
    are_chains: bool
    """Whether no row's tree branches: then columns are in the order of the text, as everywhere."""

    @property
    def longest_of_own(self) -> float:
        """Of chains as elsewhere; kernels that go by columns do not know trees."""
        return LONGEST_PROMPT_BY_TOKENS if self.are_chains else 0.0

    def visible(self, window: int | None) -> Tensor:
        """Which keys a token may see [n, 1, T, keys]: its row's text, its ancestors and itself, within the window."""
        if window not in self._visible:
            num_tokens = self.seen.shape[1]
            keys = torch.arange(self.num_keys, device=self.starts.device)
            place = keys - self.starts[:, None]  # [n, keys], where in the tree
            within = ((place >= 0) & (place < num_tokens))[:, None]
            place = place.clamp(0, num_tokens - 1)
            of_tree = self.seen.gather(2, place[:, None].expand(-1, num_tokens, -1)) & within
            visible = of_tree | (keys < self.starts[:, None])[:, None]
            if window is not None:
                offsets = self.positions[:, :1] - self.starts[:, None]
                of_keys = torch.where(within[:, 0], self.positions.gather(1, place), keys + offsets)
                visible &= of_keys[:, None] > self.positions[:, :, None] - window
            self._visible[window] = visible[:, None]
        return self._visible[window]


def tree_block(
    trees: Sequence[Tree], rows: Sequence[Row], *, first_row: int, first_token: int, device: torch.device
) -> TreeBlock:
    """Trees of rows from `first_row` on, whose tokens lie in the line from `first_token` on."""
    widest = max(len(tree.tokens) for tree in trees)
    tokens, positions, columns = [], [], []
    places: list[int] = []
    seen: list[int] = []  # where in [n, T, T]
    for index, (tree, row) in enumerate(zip(trees, rows, strict=True)):
        size = len(tree.tokens)
        # Padded with its own last token, as pieces of prompts are.
        steps = [min(step, size - 1) for step in range(widest)]
        tokens.append([first_token + step for step in steps])
        positions.append([tree.positions[step] for step in steps])
        columns.append([tree.start - row.offset + step for step in steps])
        places += range(index * widest, index * widest + size)
        ancestors = tree.ancestors()
        for step in range(widest):
            first = (index * widest + step) * widest
            seen += [first + ancestor for ancestor in ancestors[steps[step]]]
        first_token += size
    return TreeBlock(
        first_row=first_row,
        columns=torch.tensor(columns, device=device),
        positions=torch.tensor(positions, device=device),
        num_keys=max(tree.start - row.offset + len(tree.tokens) for tree, row in zip(trees, rows, strict=True)),
        tokens=torch.tensor(tokens, device=device),
        places=torch.tensor(places, device=device),
        readers=cascade_groups(rows, device),
        starts=torch.tensor([tree.start - row.offset for tree, row in zip(trees, rows, strict=True)], device=device),
        seen=torch.zeros(len(trees) * widest**2, dtype=torch.bool, device=device)
        .index_fill_(0, torch.tensor(seen, device=device), 1)
        .view(len(trees), widest, widest),
        are_chains=all(tree.is_chain for tree in trees),
    )
