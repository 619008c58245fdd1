from pathlib import Path

import pytest
import torch

from tests.engine.models import Family
from worker.engine import load_engine
from worker.engine.cache.memory import MOST_SLOTS, SHARE_OF_FREE, Ledger, Need, Sizes, free_bytes, sizes_within

GIB = 2**30


def test_there_are_as_many_slots_as_pay_whatever_the_longest_request() -> None:
    assert sizes_within(1000 * GIB, 1000, max_length=4096, device_type="cuda") == Sizes(
        MOST_SLOTS["cuda"], 4096, 1000 * GIB
    )
    assert sizes_within(GIB, 1000, max_length=10**9, device_type="cpu") == Sizes(MOST_SLOTS["cpu"], GIB // 1000, GIB)


def test_the_longest_request_fits_into_all_of_the_cache() -> None:
    assert sizes_within(500_000, bytes_per_token=1000, max_length=100_000, device_type="cpu").max_length == 500


def test_something_is_tried_even_where_nothing_seems_to_fit() -> None:
    assert sizes_within(0, bytes_per_token=1000, max_length=100, device_type="cpu") == Sizes(1, 2, 2000)


def test_this_machine_has_memory() -> None:
    assert free_bytes(torch.device("cpu")) > 2**20


def test_a_control_group_limits_what_is_free_and_file_caches_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "memory.max").write_text("100000\n")
    (tmp_path / "memory.current").write_text("70000\n")
    monkeypatch.setattr("worker.engine.cache.memory._CONTROL_GROUP", tmp_path)
    assert free_bytes(torch.device("cpu")) == 30000

    (tmp_path / "memory.stat").write_text("anon 20000\ninactive_file 45000\n")
    assert free_bytes(torch.device("cpu")) == 75000

    (tmp_path / "memory.max").write_text("max\n")
    assert free_bytes(torch.device("cpu")) > 2**20


def test_what_is_not_given_follows_from_the_memory(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.engine.runner.free_bytes", lambda _device: 200_000)

    tight, given = load_engine(family.base, family.policy), load_engine(family.base, num_slots=7, max_length=256)

    # Two streams per slot, two layers, keys and values, float32.
    per_token = 2 * 2 * 2 * 4 * (64 if "llama" in family.base else 32)
    assert tight.max_length == int(200_000 * SHARE_OF_FREE) // per_token
    assert tight.statistics.cache_bytes_budget == int(200_000 * SHARE_OF_FREE)
    assert (given.num_slots, given.max_length) == (7, 256)


def test_a_prefix_that_several_read_in_place_is_promised_once() -> None:
    ledger = Ledger(100)
    ledger.promise("a", Need(20, {7: 30}))

    assert ledger.promised({}) == ledger.promised({7: 30}) == 50
    assert ledger.promised({8: 5}) == 55
    assert ledger.fits(Need(50, {7: 30}), {7: 30})
    assert not ledger.fits(Need(50, {8: 1}), {})
    ledger.release({"a"})
    assert ledger.promised({}) == 0


def test_in_a_rectangle_every_row_counts_as_much_as_the_longest() -> None:
    ledger = Ledger(100, is_rectangle=True)
    ledger.promise("a", Need(20, num_rows=2, longest=10))

    assert ledger.fits(Need(30, num_rows=1, longest=30), {})
    assert not ledger.fits(Need(34, num_rows=1, longest=34), {})
    assert not ledger.fits(Need(30, num_rows=1, longest=30), {7: 11})
