"""Budgets, penalties, bias, minimum lengths, whole vocabularies and tails of distributions, in random combinations."""

import random
from dataclasses import replace
from functools import cache

import pytest

from tests.engine.conftest import make_engine
from tests.engine.forwards import OUT_OF_MEMORY, fail_when
from tests.engine.models import Family
from tests.engine.oracle import Oracle
from tests.engine.requests import decode, mixed_batch, shaped_batch, token_ids
from worker.engine import Completion, Engine, Request

SEEDS = range(4)


@cache
def expected_of(engine: Engine, seed: int) -> dict[int | str, Completion]:
    return decode(engine, shaped_batch(seed))


def ahead(engine: Engine) -> Engine:
    engine._num_ahead = 1  # noqa: SLF001 (what the engine does on a GPU)
    return engine


@pytest.mark.parametrize("seed", SEEDS)
def test_any_combination_equals_the_oracle(engine: Engine, oracle: Oracle, seed: int) -> None:
    completions = expected_of(engine, seed)

    for request in shaped_batch(seed):
        completion = completions[request.request_id]
        answer = oracle.answer(request, completion.token_ids)
        assert completion.token_ids == answer.token_ids, request
        if completion.kl is not None:
            assert completion.kl == pytest.approx(sum(answer.kls) / len(answer.kls), abs=2e-4)
            assert completion.rewards == pytest.approx(answer.rewards, abs=1e-3)


@pytest.mark.parametrize("seed", SEEDS)
def test_any_combination_alone_equals_it_in_a_batch(engine: Engine, seed: int) -> None:
    together = expected_of(engine, seed)

    for request in shaped_batch(seed)[seed % 2 :: 2]:
        alone = decode(engine, [request])[request.request_id]
        assert alone.token_ids == together[request.request_id].token_ids
        assert alone.kl == pytest.approx(together[request.request_id].kl, abs=1e-4)


def test_who_asks_for_nothing_gets_the_same_beside_who_asks(engine: Engine) -> None:
    plain = mixed_batch(max_tokens=8)
    shaped = [replaced for seed in SEEDS for replaced in shaped_batch(seed, num_requests=4)]
    expected = token_ids(decode(engine, plain))

    requests = [*plain, *(_named(request, index) for index, request in enumerate(shaped))]
    random.Random(0).shuffle(requests)
    completions = decode(engine, requests)

    assert {request.request_id: completions[request.request_id].token_ids for request in plain} == expected


def _named(request: Request, index: int) -> Request:
    return replace(request, request_id=f"shaped {index}")


@pytest.mark.parametrize(("num_slots", "prefill_budget", "seeds"), [(1, 25, [0]), (5, 4096, [1]), (5, 25, [1, 2])])
def test_a_step_ahead_changes_nothing_however_slots_come_and_go(
    family: Family, engine: Engine, num_slots: int, prefill_budget: int, seeds: list[int]
) -> None:
    early = ahead(make_engine(family, num_slots=num_slots, prefill_budget=prefill_budget))

    for seed in seeds:
        completions = decode(early, shaped_batch(seed))

        assert token_ids(completions) == token_ids(expected_of(engine, seed))


@pytest.mark.parametrize("is_ahead", [False, True])
@pytest.mark.parametrize("after", [1, 12])
def test_what_was_counted_before_the_memory_ran_out_is_forgotten_or_kept_with_its_tokens(
    family: Family, engine: Engine, monkeypatch: pytest.MonkeyPatch, after: int, *, is_ahead: bool
) -> None:
    wide = make_engine(family, num_slots=16, prefill_budget=100)
    failed = fail_when(monkeypatch, 9, OUT_OF_MEMORY[0], after=after)

    completions = decode(ahead(wide) if is_ahead else wide, shaped_batch(1))

    assert failed
    assert token_ids(completions) == token_ids(expected_of(engine, 1))


def test_an_id_that_was_cancelled_begins_without_the_history_of_its_former_owner(
    family: Family, engine: Engine
) -> None:
    early = ahead(make_engine(family))
    first, second = shaped_batch(2), shaped_batch(3)
    for request in first:
        early.add(request)
    for _ in range(3):
        early.step()

    for request in first:
        early.cancel(request.request_id)

    assert token_ids(decode(early, second)) == token_ids(expected_of(engine, 3))
