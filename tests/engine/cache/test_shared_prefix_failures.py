"""Prefixes that rows share, when memory runs out, requests are cancelled or logits break."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

from tests.engine.conftest import make_engine
from tests.engine.forwards import OUT_OF_MEMORY, fail_when
from tests.engine.models import POISON, Family, save_poisoned
from tests.engine.requests import contrast, decode, mixture, pad, plain, prompt, token_ids
from worker.engine import Completion, Engine, Failure, Request, load_engine
from worker.engine.cache.kv_cache import RowCache
from worker.engine.layers.attention import SharedPrefix

COMMON = tuple(token_id % POISON for token_id in prompt(100, 24))

pytestmark = pytest.mark.usefixtures("reading")


@pytest.fixture(params=[256, 8], ids=["copied", "in place"])
def reading(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.engine.runner.READ_IN_PLACE_FROM", request.param)


@pytest.fixture
def family(families: dict[str, Family]) -> Family:
    return families["llama"]


def a_campaign() -> list[Request]:
    methods = [pad, contrast, mixture, plain]
    return [
        Request(i, methods[i % 4]((*COMMON, *prompt(i, 1 + i))), strength=0.8, max_tokens=3 + (7 * i) % 11)
        for i in range(10)
    ]


@cache
def answers_alone(engine: Engine) -> dict[int | str, tuple[int, ...]]:
    return {request.request_id: decode(engine, [request])[request.request_id].token_ids for request in a_campaign()}


@pytest.mark.parametrize(("after", "prefill_budget"), [(0, 4096), (1, 10), (7, 4096)])
def test_running_out_of_memory_changes_no_answer(
    family: Family, engine: Engine, monkeypatch: pytest.MonkeyPatch, after: int, prefill_budget: int
) -> None:
    expected = answers_alone(engine)
    wide = make_engine(family, num_slots=8, prefill_budget=prefill_budget)
    failed = fail_when(monkeypatch, 6, OUT_OF_MEMORY[0], after=after)

    completions = decode(wide, a_campaign())

    assert failed
    assert token_ids(completions) == expected


def test_running_out_of_memory_for_a_prefix_beside_one_request_is_not_the_end(
    family: Family, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = Request("old", plain(prompt(1, 5)), max_tokens=20)
    waiting = [Request(index, plain((*COMMON, index)), max_tokens=5) for index in range(3)]
    expected = token_ids(decode(engine, [old, *waiting]))
    fresh = make_engine(family)
    fresh.add(old)
    fresh.step()

    failed = fail_when(monkeypatch, 1, OUT_OF_MEMORY[0])
    completions = decode(fresh, waiting)

    assert failed == [2]
    assert token_ids(completions) == expected


def test_running_out_of_memory_where_a_prefix_is_kept_is_not_the_end(
    family: Family, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [Request(index, pad((*COMMON, index)), strength=0.7, max_tokens=5) for index in range(4)]
    expected = token_ids(decode(engine, requests))
    fresh = make_engine(family)
    read, failures = RowCache.read, iter([True])

    def limited(cache: RowCache, row: int, token_ids: Sequence[int], adapter: int) -> SharedPrefix:
        if next(failures, False):
            raise OUT_OF_MEMORY[0]
        return read(cache, row, token_ids, adapter)

    monkeypatch.setattr(RowCache, "read", limited)
    completions = decode(fresh, requests)

    assert next(failures, None) is None
    assert token_ids(completions) == expected


def test_cancelling_everyone_who_waits_for_a_half_read_prefix_leaves_the_engine_idle(family: Family) -> None:
    frugal = make_engine(family, prefill_budget=10)
    for index in range(3):
        frugal.add(Request(index, plain((*COMMON, index)), max_tokens=5))
    frugal.step()

    for index in range(3):
        frugal.cancel(index)

    assert (frugal.num_active, frugal.num_waiting) == (0, 0)
    assert token_ids(decode(frugal, [Request(0, plain((*COMMON, 0)), max_tokens=5)])) == token_ids(
        decode(make_engine(family), [Request(0, plain((*COMMON, 0)), max_tokens=5)])
    )


def test_a_broken_prefix_fails_those_who_share_it_and_no_one_else(tmp_path: Path) -> None:
    poisoned = load_engine(*save_poisoned("llama", tmp_path), num_slots=5)
    healthy = [Request(i, pad((*COMMON, i)), strength=0.8, max_tokens=4 + i) for i in range(5)]
    broken = [Request(f"broken {i}", pad((*COMMON[:12], POISON, *COMMON[13:], i)), strength=0.8) for i in range(4)]
    expected = token_ids(decode(poisoned, healthy))

    mixed = [request for pair in zip(broken, healthy, strict=False) for request in pair] + healthy[len(broken) :]
    outcomes = list(poisoned.generate(mixed))

    failures = {outcome.request_id: outcome.code for outcome in outcomes if isinstance(outcome, Failure)}
    assert failures == {request.request_id: "non_finite_logits" for request in broken}
    completions = {outcome.request_id: outcome for outcome in outcomes if isinstance(outcome, Completion)}
    assert token_ids(completions) == expected


def test_a_broken_prefix_whose_requests_were_cancelled_leaves_nothing_behind(tmp_path: Path) -> None:
    poisoned = load_engine(*save_poisoned("llama", tmp_path), num_slots=5)
    healthy = [Request(i, pad(COMMON[i : i + n]), strength=0.8, max_tokens=8) for i, n in enumerate([2, 20, 3, 4])]
    expected = token_ids(decode(poisoned, healthy))
    for index in range(3):
        poisoned.add(Request(index, plain((POISON, *COMMON, index))))
    poisoned.step()  # the prefix is read

    for index in range(3):
        poisoned.cancel(index)

    assert token_ids(decode(poisoned, healthy)) == expected
