"""Attention of one new token per row on a GPU: each row reads its own columns of the cache, and no more.

What torch offers reads every row up to the longest; here a program walks the columns of one row and one key head, with
the running softmax of FlashAttention (Dao et al., 2022). Row lengths are read on the device, so that a CUDA graph
serves rows of any length.
"""

from typing import TYPE_CHECKING

import triton
import triton.language as tl
from torch import Tensor

if TYPE_CHECKING:
    from worker.engine.layers.attention import Scoring

SMALLEST_SIDE = 16
"""Of a matrix product."""
MOST_COLUMNS = 64
TILE_BYTES = 2**14
"""Of the keys that a step reads, and of the values: several of each are in shared memory at once."""


@triton.jit  # type: ignore[untyped-decorator]  # triton leaves it untyped
def _attend(  # type: ignore[no-untyped-def]  # noqa: ANN202, PLR0917 (a kernel is typed by its compiler)
    query,  # noqa: ANN001 (pointers: [n, heads, size] ...)
    keys,  # noqa: ANN001 (... [n, key heads, capacity, size] ...)
    values,  # noqa: ANN001 (... and [n, key heads, capacity, value size])
    attended,  # noqa: ANN001 (... and [n, heads, value size])
    last_columns,  # noqa: ANN001
    scale,  # noqa: ANN001
    window,  # noqa: ANN001
    softcap,  # noqa: ANN001
    key_row_step,  # noqa: ANN001 (strides: latent attention makes values of another size than keys)
    key_head_step,  # noqa: ANN001
    key_column_step,  # noqa: ANN001
    value_row_step,  # noqa: ANN001
    value_head_step,  # noqa: ANN001
    value_column_step,  # noqa: ANN001
    num_heads: tl.constexpr,
    group: tl.constexpr,
    size: tl.constexpr,
    value_size: tl.constexpr,
    padded_group: tl.constexpr,
    padded_size: tl.constexpr,
    padded_value_size: tl.constexpr,
    step: tl.constexpr,
    has_window: tl.constexpr,
    has_softcap: tl.constexpr,
):
    row, key_head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    members = tl.arange(0, padded_group)
    dims, value_dims = tl.arange(0, padded_size)[None, :], tl.arange(0, padded_value_size)[None, :]
    is_member = (members < group)[:, None]
    heads = (row * num_heads + key_head * group + members)[:, None]
    q = tl.load(query + heads * size + dims, mask=is_member & (dims < size), other=0.0)
    end = tl.load(last_columns + row) + 1
    first = tl.maximum(end - window, 0) // step * step if has_window else end * 0
    largest, total = tl.full([padded_group], -float("inf"), tl.float32), tl.zeros([padded_group], tl.float32)
    summed = tl.zeros([padded_group, padded_value_size], tl.float32)
    keys += row * key_row_step + key_head * key_head_step
    values += row * value_row_step + key_head * value_head_step
    for start in range(first, end, step):
        columns = start + tl.arange(0, step)
        inside = (columns < end)[:, None]
        k = tl.load(keys + columns[:, None] * key_column_step + dims, mask=inside & (dims < size), other=0.0)
        in_values = inside & (value_dims < value_size)
        v = tl.load(values + columns[:, None] * value_column_step + value_dims, mask=in_values, other=0.0)
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
    in_attended = is_member & (value_dims < value_size)
    of_heads = (summed / total[:, None]).to(attended.dtype.element_ty)
    tl.store(attended + heads * value_size + value_dims, of_heads, mask=in_attended)


def columns_per_step(keys: Tensor, values: Tensor) -> int:
    """How many columns a program reads at once; fewer than `SMALLEST_SIDE` where heads are too large for the kernel."""
    widest = _padded(max(keys.shape[3], values.shape[3]))
    return min(MOST_COLUMNS, TILE_BYTES // (widest * keys.itemsize))


def attend_to_own_columns(
    query: Tensor, keys: Tensor, values: Tensor, last_columns: Tensor, scoring: "Scoring"
) -> Tensor:
    """Query [n, heads, size] over columns 0 to `last_columns` [n] of keys and values -> [n, heads, value size].

    Keys are [n, key heads, capacity, size], values [n, key heads, capacity, value size], in any order of memory.
    """
    num_rows, num_heads, size = query.shape
    num_key_heads, value_size = keys.shape[1], values.shape[3]
    group = num_heads // num_key_heads
    keys, values = (each if each.stride(3) == 1 else each.contiguous() for each in (keys, values))
    attended = query.new_empty(num_rows, num_heads, value_size)
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
        *values.stride()[:3],
        num_heads=num_heads,
        group=group,
        size=size,
        value_size=value_size,
        padded_group=_padded(group),
        padded_size=_padded(size),
        padded_value_size=_padded(value_size),
        step=columns_per_step(keys, values),
        has_window=scoring.window is not None,
        has_softcap=scoring.softcap is not None,
    )
    return attended


def _padded(size: int) -> int:
    return max(SMALLEST_SIDE, 1 << (size - 1).bit_length())
