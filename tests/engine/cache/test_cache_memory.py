"""What the cache takes while it is used: as much as its tokens, within its budget, and what was lost comes back."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.engine.conftest import make_engine
from tests.engine.forwards import OUT_OF_MEMORY
from tests.engine.models import Family
from tests.engine.requests import decode, mixed_batch, mixture, pad, plain, prompt, token_ids
from worker.engine import Engine, Failure, Request, load_engine
from worker.engine.batch_layout import Line
from worker.engine.cache.kv_cache import RowCache
from worker.engine.cache.pages import PAGE_BYTES
from worker.engine.layers.attention import AttentionBlock, AttentionMetadata
from worker.engine.runner import Runner

MIB = 2**20
BYTES_PER_TOKEN = 2 * 2 * 2 * 32 * 4
"""Of a row of the tiny llama: two layers, keys and values, two heads of 32 floats."""


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE_BYTES


def fill(cache: RowCache, lengths: list[int], num_heads: int = 2, size: int = 64) -> None:
    """Write as many tokens into each row."""
    cache.reserve(lengths)
    rows = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    columns = torch.cat([torch.arange(length) for length in lengths])
    cache.expect(AttentionMetadata(rows, columns, blocks=()))
    keys = torch.ones(1, num_heads, len(rows), size)
    cache.update(keys, keys, layer_idx=0)


def test_one_long_row_among_short_ones_takes_no_more_memory_than_its_own() -> None:
    cache = RowCache(num_layers=1, max_length=4096)
    lengths = [4096] + [200] * 127
    before = resident_bytes()

    fill(cache, lengths)

    used = sum(lengths) * cache.bytes_per_column
    assert cache.bytes_reserved == pytest.approx(used, rel=0.05)
    assert resident_bytes() - before < used + 40 * MIB  # and what `fill` itself makes
    assert cache.num_rows * cache.capacity * cache.bytes_per_column > 500 * MIB


def test_what_long_rows_leave_behind_is_given_back_and_reads_as_zeros() -> None:
    cache = RowCache(num_layers=1, max_length=4096)
    fill(cache, [4096, 200, 200, 200])

    cache.move([(3, 0, 200)])
    cache.reserve([200, 201, 201])

    assert cache.bytes_reserved <= 3 * 208 * cache.bytes_per_column
    keys = cache.rows[0].keys
    assert keys[:3, :, :200].eq(1).all()
    assert not keys[0, :, 256:].any()
    assert not keys[3].any()
    fill(cache, [4096])
    assert keys[0].eq(1).all()


@pytest.fixture
def llama(families: dict[str, Family]) -> Family:
    return families["llama"]


@pytest.fixture
def alone(llama: Family) -> dict[int | str, tuple[int, ...]]:
    """What requests are answered where memory is plenty."""
    return token_ids(decode(make_engine(llama), mixed_batch()))


def watched(engine: Engine, monkeypatch: pytest.MonkeyPatch, watch: Callable[[Tensor], None]) -> None:
    """`watch` is told the tokens of each forward before it is run."""
    forward = Runner._forward  # noqa: SLF001 (the narrowest place where a device runs out of memory)
    runners = engine._models.runners  # noqa: SLF001 (no other engine's)

    def watching(runner: Runner, line: Line, blocks: Sequence[AttentionBlock]) -> Tensor:
        if runner in runners:
            watch(line.tokens)
        return forward(runner, line, blocks)

    monkeypatch.setattr(Runner, "_forward", watching)


def test_what_runs_at_once_stays_within_the_budget_and_changes_no_answer(
    llama: Family, alone: dict[int | str, tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    tight = load_engine(llama.base, llama.policy, llama.reference, num_slots=32, cache_bytes=120 * BYTES_PER_TOKEN)
    used, active = list[int](), list[int]()

    def watch(_: Tensor) -> None:
        used.append(tight.statistics.cache_bytes_used)
        active.append(tight.num_active)

    watched(tight, monkeypatch, watch)

    completions = decode(tight, mixed_batch())

    assert token_ids(completions) == alone
    assert max(used) <= 120 * BYTES_PER_TOKEN
    assert 1 < max(active) < len(mixed_batch())
    assert tight.statistics.cache_bytes_promised == tight.statistics.cache_tokens == 0


def test_what_no_cache_of_this_size_can_hold_is_refused_with_its_numbers(llama: Family) -> None:
    tight = load_engine(llama.base, llama.policy, cache_bytes=BYTES_PER_TOKEN * 100)
    fitting, too_large = (
        Request(index, method(prompt(0, 20)), strength=0.5, max_tokens=20)
        for index, method in enumerate((pad, mixture))
    )

    outcomes = list(tight.generate([too_large, fitting]))

    refused = next(outcome for outcome in outcomes if isinstance(outcome, Failure))
    assert (refused.request_id, refused.code) == (1, "cache_too_small")
    assert (
        "125,952 bytes of key-value cache for 3 streams of up to 42 tokens, of which there are 102,400"
        in refused.message
    )
    assert len(outcomes) == 2


def test_slots_come_back_after_a_lack_of_memory_and_no_answer_changes(
    llama: Family, alone: dict[int | str, tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    calm_steps = 3
    monkeypatch.setattr("worker.engine.scheduler.CALM_STEPS", calm_steps)
    wide = make_engine(llama, num_slots=16, prefill_budget=100)
    failures = iter([False] * 6 + [True, False, True])

    def lack(_: Tensor) -> None:
        if next(failures, False):
            raise OUT_OF_MEMORY[0]

    watched(wide, monkeypatch, lack)

    assert token_ids(decode(wide, mixed_batch())) == alone
    fewest = wide.num_slots
    patience = 4 * calm_steps  # it lacked twice
    decode(wide, [Request(0, plain(prompt(0, 3)), max_tokens=patience, min_tokens=patience)])
    some = wide.num_slots
    decode(wide, [Request(1, plain(prompt(0, 3)), max_tokens=8 * patience, min_tokens=8 * patience)])

    assert fewest < some < wide.num_slots == 16
    assert token_ids(decode(wide, mixed_batch())) == alone


def test_a_prompt_that_does_not_fit_at_once_is_read_in_smaller_pieces(
    llama: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [Request(0, plain(prompt(0, 200)), max_tokens=5), Request(1, pad(prompt(1, 180)), max_tokens=5)]
    expected = token_ids(decode(make_engine(llama), requests))
    lacking, sizes = make_engine(llama), list[int]()

    def lack(tokens: Tensor) -> None:
        if len(tokens) > 60:
            raise OUT_OF_MEMORY[0]
        sizes.append(len(tokens))

    watched(lacking, monkeypatch, lack)

    assert token_ids(decode(lacking, requests)) == expected
    assert max(sizes) > 30
