"""Attention of one new token per row on a GPU: each row reads its own columns of the cache, and no more.

What torch offers reads every row up to the longest; here a program walks the columns of one row and one key head, with
the running softmax of FlashAttention (Dao et al., 2022). Row lengths are read on the device, so that a CUDA graph
serves rows of any length.
"""

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl
from torch import Tensor

if TYPE_CHECKING:
    from worker.engine.layers.attention import Scoring

COLUMNS_PER_STEP = 64
FEWEST_QUERIES = 16  # of a matrix product


@triton.jit  # type: ignore[untyped-decorator]  # triton leaves it untyped
def _attend(  # type: ignore[no-untyped-def]  # noqa: ANN202, PLR0917 (a kernel is typed by its compiler)
    query,  # noqa: ANN001 (pointers: [n, heads, size] ...)
    keys,  # noqa: ANN001 (... and [n, key heads, capacity, size])
    values,  # noqa: ANN001
    attended,  # noqa: ANN001
    last_columns,  # noqa: ANN001
    scale,  # noqa: ANN001
    window,  # noqa: ANN001
    softcap,  # noqa: ANN001
    row_stride,  # noqa: ANN001 (of keys and values)
    head_stride,  # noqa: ANN001
    column_stride,  # noqa: ANN001
    num_heads: tl.constexpr,
    group: tl.constexpr,
    size: tl.constexpr,
    padded_group: tl.constexpr,
    padded_size: tl.constexpr,
    step: tl.constexpr,
    has_window: tl.constexpr,
    has_softcap: tl.constexpr,
):
    row, key_head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    dims, members = tl.arange(0, padded_size), tl.arange(0, padded_group)
    in_query = (members < group)[:, None] & (dims < size)[None, :]
    own = (row * num_heads + key_head * group + members)[:, None] * size + dims[None, :]
    q, end = tl.load(query + own, mask=in_query, other=0.0), tl.load(last_columns + row) + 1
    first = tl.maximum(end - window, 0) // step * step if has_window else end * 0
    largest, total = tl.full([padded_group], -float("inf"), tl.float32), tl.zeros([padded_group], tl.float32)
    summed = tl.zeros([padded_group, padded_size], tl.float32)
    base = row * row_stride + key_head * head_stride
    for start in range(first, end, step):
        columns = start + tl.arange(0, step)
        place = base + columns[:, None] * column_stride + dims[None, :]
        inside = (columns < end)[:, None] & (dims < size)[None, :]
        k, v = tl.load(keys + place, mask=inside, other=0.0), tl.load(values + place, mask=inside, other=0.0)
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        if has_softcap:
            scores = softcap * (2.0 * tl.sigmoid(2.0 * scores / softcap) - 1.0)  # tanh
        seen = columns < end
        if has_window:
            seen = seen & (columns >= end - window)
        scores = tl.where(seen[None, :], scores, -float("inf"))
        new_largest = tl.maximum(largest, tl.max(scores, 1))
        # A step that a window hides entirely leaves the maximum at -inf: then nothing has been summed yet.
        shift = tl.where(new_largest == -float("inf"), 0.0, new_largest)
        weights, faded = tl.exp(scores - shift[:, None]), tl.exp(largest - shift)
        total = total * faded + tl.sum(weights, 1)
        summed = summed * faded[:, None] + tl.dot(weights.to(v.dtype), v, input_precision="ieee")
        largest = new_largest
    tl.store(attended + own, (summed / total[:, None]).to(attended.dtype.element_ty), mask=in_query)


def attend_to_own_columns(
    query: Tensor, keys: Tensor, values: Tensor, last_columns: Tensor, scoring: "Scoring"
) -> Tensor:
    """Query [n, heads, size] over columns 0 to `last_columns` [n] of [n, key heads, capacity, size] -> like query."""
    num_rows, num_heads, size = query.shape
    num_key_heads = keys.shape[1]
    group = num_heads // num_key_heads
    attended = torch.empty_like(query, memory_format=torch.contiguous_format)
    _attend[num_rows, num_key_heads](
        query.contiguous(),
        keys,
        values,
        attended,
        last_columns,
        scoring.scale,
        scoring.window or 0,
        scoring.softcap or 0.0,
        *keys.stride()[:3],
        num_heads=num_heads,
        group=group,
        size=size,
        padded_group=max(FEWEST_QUERIES, triton.next_power_of_2(group)),
        padded_size=max(FEWEST_QUERIES, triton.next_power_of_2(size)),
        step=COLUMNS_PER_STEP,
        has_window=scoring.window is not None,
        has_softcap=scoring.softcap is not None,
    )
    return attended
