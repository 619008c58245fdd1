"""Attention of a line of tokens over rows and shared prefixes, against the formula, token by token."""

from types import SimpleNamespace
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from worker.engine.layers.attention import (
    CURRENT_METADATA,
    AttentionBlock,
    AttentionMetadata,
    CascadeGroup,
    SharedPrefix,
    attend_rows,
)

SIZE, CAPACITY, SCALE = 4, 12, 0.7
LAYER = cast("nn.Module", SimpleNamespace(layer_idx=0))
ENDS = [5, 1, 8, 3]
"""Columns filled of four rows that decode."""
PIECES = [(0, 4), (5, 2), (2, 6)]
"""First column and size of what three rows behind them read."""
LENGTH = 5
"""Of the prefix that rows 0, 2 and 5 share."""


def line_of(
    *, reading: bool, sharing: bool, heads: int
) -> tuple[AttentionMetadata, list[tuple[int, int, bool]], SharedPrefix]:
    """What one forward runs, and (row, column, whether the row reads the prefix) of each of its tokens."""
    generator = torch.Generator().manual_seed(0)
    states = [torch.randn(heads, LENGTH, SIZE, generator=generator) for _ in range(2)]
    prefix = SharedPrefix(0, tuple(range(LENGTH)), {0: states[0]}, {0: states[1]})
    readers = [CascadeGroup(prefix, torch.tensor([0, 2]))] if sharing else []
    columns = torch.tensor(ENDS)[:, None] - 1
    blocks = [
        AttentionBlock(0, columns, columns + LENGTH * torch.tensor([[1], [0], [1], [0]]), max(ENDS), readers=readers)
    ]
    line = [(row, end - 1, sharing and row in {0, 2}) for row, end in enumerate(ENDS)]
    if reading:
        sizes, first = torch.tensor([size for _, size in PIECES]), torch.tensor([start for start, _ in PIECES])[:, None]
        steps = torch.minimum(torch.arange(6).expand(3, -1), sizes[:, None] - 1)
        blocks.append(
            AttentionBlock(
                first_row=len(ENDS),
                columns=first + steps,
                positions=first + steps + torch.tensor([[0], [LENGTH], [0]]),
                num_keys=8,
                tokens=len(ENDS) + (sizes.cumsum(0) - sizes)[:, None] + steps,
                places=torch.cat([6 * row + torch.arange(size) for row, size in enumerate(sizes.tolist())]),
                readers=[CascadeGroup(prefix, torch.tensor([1]))] if sharing else [],
            )
        )
        for row, (start, size) in enumerate(PIECES, start=len(ENDS)):
            line += [(row, column, sharing and row == len(ENDS) + 1) for column in range(start, start + size)]
    return AttentionMetadata(torch.tensor([]), torch.tensor([]), blocks), line, prefix


def attention_of_one(
    query: Tensor, keys: Tensor, values: Tensor, *, window: int | None, softcap: float | None, sinks: Tensor | None
) -> Tensor:
    """[heads, size] over [heads, keys, size], of which the query is the last, and over sinks [heads] of no value."""
    scores = torch.einsum("hs,hks->hk", query, keys) * SCALE
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    if window is not None:
        scores[:, : max(0, keys.shape[1] - window)] = -torch.inf
    if sinks is not None:
        scores, values = torch.cat([scores, sinks[:, None]], dim=1), nn.functional.pad(values, (0, 0, 0, 1))
    return torch.einsum("hk,hks->hs", scores.softmax(-1), values)


@pytest.mark.parametrize("num_key_heads", [1, 2, 4])
@pytest.mark.parametrize("softcap", [None, 1.5])
@pytest.mark.parametrize("window", [None, 3, 7])
@pytest.mark.parametrize("sinks", [None, torch.tensor([0.5, -2.0, 3.0, 0.0])], ids=["no sinks", "sinks"])
@pytest.mark.parametrize("sharing", [False, True], ids=["own keys", "shared prefix"])
@pytest.mark.parametrize("reading", [False, True], ids=["decoding", "beside prompts"])
def test_attention_equals_the_formula(
    num_key_heads: int, softcap: float | None, window: int | None, sinks: Tensor | None, *, sharing: bool, reading: bool
) -> None:
    metadata, line, prefix = line_of(reading=reading, sharing=sharing, heads=num_key_heads)
    generator = torch.Generator().manual_seed(1)
    query = torch.randn(1, 4, len(line), SIZE, generator=generator)
    keys, values = torch.randn(2, len(ENDS) + len(PIECES), num_key_heads, CAPACITY, SIZE, generator=generator)

    CURRENT_METADATA.set(metadata)

    attended, _ = attend_rows(
        LAYER, query, keys, values, None, scaling=SCALE, sliding_window=window, softcap=softcap, s_aux=sinks
    )

    for index, (row, column, reads_prefix) in enumerate(line):
        seen = slice(LENGTH if reads_prefix else 0)
        of_row = [
            torch.cat([shared[:, seen], own[row, :, : column + 1]], dim=1).repeat_interleave(4 // num_key_heads, dim=0)
            for shared, own in ((prefix.keys[0], keys), (prefix.values[0], values))
        ]
        expected = attention_of_one(query[0, :, index], *of_row, window=window, softcap=softcap, sinks=sinks)
        torch.testing.assert_close(attended[0, index], expected, atol=1e-5, rtol=1e-5)
    assert metadata.windows == {window}


@pytest.mark.parametrize(
    ("window", "visible"),
    [
        (None, [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]),
        (2, [[0, 1, 1, 0, 0], [0, 0, 0, 1, 1]]),
        (9, [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]),
    ],
)
def test_a_token_sees_itself_and_what_is_before_it_in_its_window(window: int | None, visible: list[list[int]]) -> None:
    columns = torch.tensor([[2], [4]])

    block = AttentionBlock(first_row=0, columns=columns, positions=columns, num_keys=5)

    assert block.visible(window)[:, 0, 0].int().tolist() == visible
