import pytest
import torch

from tests.engine.models import MAX_LENGTH
from tests.engine.requests import decode, pad, plain, prompt, token_ids
from worker.engine import Engine, Request
from worker.engine.cache import MIN_CAPACITY, Decode, Prefill, RowCache


def keys(num_rows: int, num_tokens: int, value: float) -> torch.Tensor:
    return torch.full((num_rows, 1, num_tokens, 2), value)


def decode_at(positions: list[int], *, num_keys: int) -> Decode:
    return Decode(torch.arange(len(positions)), torch.tensor(positions), num_keys)


def write(cache: RowCache, access: Prefill | Decode, states: torch.Tensor) -> torch.Tensor:
    cache.expect(access)
    read, _ = cache.update(states, states.clone(), layer_idx=0)
    return read


def test_a_row_keeps_its_tokens_when_the_cache_grows() -> None:
    cache = RowCache(num_layers=1, max_length=MAX_LENGTH)
    cache.reserve(num_rows=1, length=3)
    write(cache, Prefill(first_row=0), keys(1, 3, 1.0))

    cache.reserve(num_rows=3, length=MIN_CAPACITY + 1)
    read = write(cache, decode_at([3], num_keys=5), keys(1, 1, 2.0))

    assert read[0, 0, :, 0].tolist() == [1, 1, 1, 2, 0]
    assert (cache.num_rows, cache.capacity) == (3, 2 * MIN_CAPACITY)


def test_the_capacity_never_exceeds_the_longest_row_allowed() -> None:
    cache = RowCache(num_layers=1, max_length=100)

    cache.reserve(num_rows=1, length=65)
    cache.reserve(num_rows=1, length=99)

    assert cache.capacity == 100


def test_each_row_writes_at_its_own_position() -> None:
    cache = RowCache(num_layers=1, max_length=MAX_LENGTH)
    cache.reserve(num_rows=2, length=4)
    write(cache, Prefill(first_row=0), keys(2, 3, 1.0))

    read = write(cache, decode_at([1, 3], num_keys=4), keys(2, 1, 2.0))

    assert read[:, 0, :, 0].tolist() == [[1, 2, 1, 0], [1, 1, 1, 2]]


def test_a_fresh_row_inherits_nothing_from_its_former_owner() -> None:
    cache = RowCache(num_layers=1, max_length=MAX_LENGTH)
    cache.reserve(num_rows=1, length=9)
    write(cache, Prefill(first_row=0), keys(1, 9, torch.nan))

    write(cache, Prefill(first_row=0), keys(1, 2, 1.0))
    read = write(cache, decode_at([2], num_keys=9), keys(1, 1, 1.0))

    assert read.isfinite().all()


def test_moving_a_row_takes_all_of_it() -> None:
    cache = RowCache(num_layers=1, max_length=MAX_LENGTH)
    cache.reserve(num_rows=2, length=3)
    write(cache, Prefill(first_row=0), torch.cat([keys(1, 3, torch.nan), keys(1, 3, 2.0)]))

    cache.move(torch.tensor([1]), torch.tensor([0]))
    read = write(cache, decode_at([3], num_keys=6), keys(1, 1, 3.0))

    assert read[0, 0, :, 0].tolist() == [2, 2, 2, 3, 0, 0]


def test_memory_is_given_back() -> None:
    cache = RowCache(num_layers=1, max_length=MAX_LENGTH)
    cache.reserve(num_rows=8, length=3)
    write(cache, Prefill(first_row=0), keys(8, 3, 1.0))

    cache.shrink(num_rows=2)

    assert cache.rows[0].keys.shape[0] == cache.rows[0].values.shape[0] == 2


@pytest.mark.parametrize("num_tokens", [MIN_CAPACITY - 2, MIN_CAPACITY, MIN_CAPACITY + 3])
def test_growing_while_decoding_changes_no_answer(engine: Engine, num_tokens: int) -> None:
    requests = [
        Request("long", pad(prompt(1, num_tokens)), strength=0.7, max_tokens=MIN_CAPACITY + 10),
        Request("short", plain(prompt(2, 3)), max_tokens=20),
    ]

    together = decode(engine, requests)

    assert token_ids(together) == token_ids(decode(engine, requests[:1]) | decode(engine, requests[1:]))
