import pytest
import torch
from torch import Tensor

from tests.engine.models import MAX_LENGTH
from tests.engine.requests import decode, pad, plain, prompt, token_ids
from worker.engine import Engine, Request
from worker.engine.cache.kv_cache import MIN_CAPACITY, PATIENT_FORWARDS, RowCache
from worker.engine.layers.attention import AttentionMetadata


def cache_for(num_rows: int, length: int, *, max_length: int = MAX_LENGTH) -> RowCache:
    cache = RowCache(num_layers=1, max_length=max_length)
    cache.reserve([length] * num_rows)
    return cache


def write(cache: RowCache, values: list[float], *, rows: list[int], columns: list[int]) -> Tensor:
    """One token for each of the values; the keys [rows, capacity] that the layer holds then."""
    cache.expect(AttentionMetadata(torch.tensor(rows), torch.tensor(columns), blocks=()))
    states = torch.tensor(values)[None, None, :, None].expand(1, 1, -1, 2)
    keys, as_values = cache.update(states, -states, layer_idx=0)
    assert torch.equal(as_values.nan_to_num(), -keys.nan_to_num())
    return keys[:, 0, :, 0]


def fill(cache: RowCache, row: int, value: float, num_tokens: int) -> None:
    write(cache, [value] * num_tokens, rows=[row] * num_tokens, columns=list(range(num_tokens)))


def test_a_row_keeps_its_tokens_when_the_cache_grows() -> None:
    cache = cache_for(num_rows=1, length=3)
    fill(cache, row=0, value=1.0, num_tokens=3)

    cache.reserve([MIN_CAPACITY + 1] * 3)
    read = write(cache, [2.0], rows=[0], columns=[3])

    assert read[0, :5].tolist() == [1, 1, 1, 2, 0]
    assert (cache.num_rows, cache.capacity) == (3, 2 * MIN_CAPACITY)
    assert read.shape == (3, 2 * MIN_CAPACITY)


def test_rows_and_capacity_at_least_double() -> None:
    cache = cache_for(num_rows=4, length=MIN_CAPACITY)

    cache.reserve([MIN_CAPACITY + 1] * 5)

    assert (cache.num_rows, cache.capacity) == (8, 2 * MIN_CAPACITY)


def test_the_capacity_never_exceeds_the_longest_row_allowed() -> None:
    cache = cache_for(num_rows=1, length=65, max_length=100)

    cache.reserve([99])

    assert cache.capacity == 100


def test_each_token_is_written_in_its_own_row_and_column() -> None:
    cache = cache_for(num_rows=3, length=4)

    read = write(cache, [1.0, 2.0, 3.0, 4.0, 5.0], rows=[0, 1, 2, 2, 2], columns=[3, 0, 1, 2, 3])

    assert read[:, :4].tolist() == [[0, 0, 0, 1], [2, 0, 0, 0], [0, 3, 4, 5]]


def test_a_scrubbed_row_hands_nothing_down_to_its_next_owner() -> None:
    cache = cache_for(num_rows=3, length=9)
    for row in range(3):
        fill(cache, row, torch.nan, num_tokens=9)

    cache.scrub(torch.tensor([1, 2]))
    read = write(cache, [1.0], rows=[1], columns=[0])

    assert read[1:].isfinite().all()
    assert cache.rows[0].values[1:].isfinite().all()
    assert read[0, :9].isnan().all()


def test_moving_rows_takes_their_columns_along_as_if_all_at_once() -> None:
    cache = cache_for(num_rows=4, length=5)
    for row in range(4):
        fill(cache, row, value=float(row), num_tokens=5)

    cache.move([(2, 0, 3), (3, 2, 5)])
    read = write(cache, [9.0], rows=[0], columns=[3])

    assert read[0, :4].tolist() == [2, 2, 2, 9]
    assert read[1:3, :6].tolist() == [[1, 1, 1, 1, 1, 0], [3, 3, 3, 3, 3, 0]]
    assert cache.rows[0].values[0, 0, :3, 0].tolist() == [-2, -2, -2]


def test_a_row_that_moves_may_leave_nothing_where_it_was() -> None:
    cache = cache_for(num_rows=4, length=5)
    fill(cache, 2, value=torch.nan, num_tokens=5)
    fill(cache, 3, value=3.0, num_tokens=2)

    cache.move([(2, 0, 5), (3, 2, 2)], unproved=[2])

    assert cache.rows[0].values[0, 0, :5, 0].isnan().all()
    assert cache.rows[0].values[2, 0, :5, 0].tolist() == [-3, -3, 0, 0, 0]


def test_memory_is_given_back() -> None:
    cache = cache_for(num_rows=8, length=3)
    fill(cache, row=1, value=1.0, num_tokens=3)

    cache.shrink([3, 3])

    assert cache.rows[0].keys.shape[0] == cache.rows[0].values.shape[0] == 2
    assert cache.rows[0].keys[1, 0, :4, 0].tolist() == [1, 1, 1, 0]


def test_where_memory_has_no_pages_a_rectangle_shrinks_once_it_has_long_been_too_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker.engine.cache.pages.has_pages", lambda _device: False)
    cache = cache_for(num_rows=16, length=8 * MIN_CAPACITY, max_length=4096)
    fill(cache, row=1, value=1.0, num_tokens=3)
    whole = cache.bytes_reserved

    for _ in range(PATIENT_FORWARDS - 1):
        cache.reserve([3, 3])
    assert cache.bytes_reserved == whole
    cache.reserve([3, 3])

    assert cache.bytes_reserved == 4 * 2 * MIN_CAPACITY * cache.bytes_per_column
    assert cache.rows[0].keys[1, 0, :4, 0].tolist() == [1, 1, 1, 0]


def test_a_shared_prefix_is_a_copy_that_other_rows_begin_with() -> None:
    cache = cache_for(num_rows=2, length=4)
    fill(cache, row=0, value=1.0, num_tokens=4)

    prefix = cache.read(0, token_ids=[7, 8, 9], adapter=1)
    fill(cache, row=0, value=torch.nan, num_tokens=4)
    cache.write(1, prefix)

    assert (len(prefix), prefix.adapter, prefix.token_ids) == (3, 1, (7, 8, 9))
    assert cache.rows[0].keys[1, 0, :5, 0].tolist() == [1, 1, 1, 0, 0]
    assert cache.rows[0].values[1, 0, :5, 0].tolist() == [-1, -1, -1, 0, 0]


@pytest.mark.parametrize("num_tokens", [MIN_CAPACITY - 2, MIN_CAPACITY, MIN_CAPACITY + 3])
def test_growing_while_decoding_changes_no_answer(engine: Engine, num_tokens: int) -> None:
    requests = [
        Request("long", pad(prompt(1, num_tokens)), strength=0.7, max_tokens=20),
        Request("short", plain(prompt(2, 3)), max_tokens=20),
    ]

    together = decode(engine, requests)

    assert token_ids(together) == token_ids(decode(engine, requests[:1]) | decode(engine, requests[1:]))
