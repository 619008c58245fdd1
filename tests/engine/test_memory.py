from pathlib import Path

import pytest
import torch

from tests.engine.models import Family
from worker.engine import load_engine
from worker.engine.memory import MOST_SLOTS, SHARE_OF_FREE, USUAL_LENGTH, Room, free_bytes, room

GIB = 2**30


def test_plenty_of_memory_gives_as_many_slots_as_pay() -> None:
    assert room(1000 * GIB, bytes_per_token=1000, max_length=4096, device_type="cuda") == Room(MOST_SLOTS["cuda"], 4096)
    assert room(1000 * GIB, bytes_per_token=1000, max_length=4096, device_type="cpu") == Room(MOST_SLOTS["cpu"], 4096)


def test_slots_are_counted_for_requests_of_a_usual_length() -> None:
    free = int(10 * USUAL_LENGTH * 1000 / SHARE_OF_FREE) + 1000

    assert room(free, bytes_per_token=1000, max_length=100_000, device_type="cuda").num_slots == 10
    assert room(free, bytes_per_token=1000, max_length=USUAL_LENGTH // 2, device_type="cuda").num_slots == 20


def test_the_longest_request_fits_into_all_of_the_cache() -> None:
    few = room(int(500 * 1000 / SHARE_OF_FREE) + 1000, bytes_per_token=1000, max_length=100_000, device_type="cpu")

    assert few == Room(num_slots=1, max_length=500)


def test_something_is_tried_even_where_nothing_seems_to_fit() -> None:
    assert room(0, bytes_per_token=1000, max_length=100, device_type="cpu") == Room(num_slots=1, max_length=2)


def test_this_machine_has_memory() -> None:
    assert free_bytes(torch.device("cpu")) > 2**20


def test_a_control_group_limits_what_is_free_and_file_caches_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "memory.max").write_text("100000\n")
    (tmp_path / "memory.current").write_text("70000\n")
    monkeypatch.setattr("worker.engine.memory._CONTROL_GROUP", tmp_path)
    assert free_bytes(torch.device("cpu")) == 30000

    (tmp_path / "memory.stat").write_text("anon 20000\ninactive_file 45000\n")
    assert free_bytes(torch.device("cpu")) == 75000

    (tmp_path / "memory.max").write_text("max\n")
    assert free_bytes(torch.device("cpu")) > 2**20


def test_what_is_not_given_follows_from_the_memory(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.engine.loading.free_bytes", lambda _device: 200_000)

    tight, given = load_engine(family.base, family.policy), load_engine(family.base, num_slots=7, max_length=256)

    # Two streams per slot, two layers, keys and values, float32.
    per_token = 2 * 2 * 2 * 4 * (16 if "llama" in family.base else 32)
    assert tight.max_length == int(200_000 * SHARE_OF_FREE) // per_token
    assert tight.num_slots == 1
    assert (given.num_slots, given.max_length) == (7, 256)
