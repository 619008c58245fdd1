import random

import pytest

from tests.engine.conftest import make_engine
from tests.engine.models import Family
from tests.engine.oracle import Oracle
from tests.engine.requests import METHODS, decode, mixed_batch, prompt, token_ids
from worker.engine import Completion, Engine, Request


def test_a_batched_row_equals_decoding_it_alone_and_the_oracle(engine: Engine, oracle: Oracle) -> None:
    requests = mixed_batch()

    together = decode(engine, requests)
    alone = {request.request_id: decode(engine, [request])[request.request_id] for request in requests}
    answers = {r.request_id: oracle.answer(r, together[r.request_id].token_ids) for r in requests}

    for key, completion in together.items():
        assert completion.token_ids == alone[key].token_ids == answers[key].token_ids
    assert len({completion.token_ids[:3] for completion in together.values()}) > len(requests) // 2


@pytest.mark.parametrize("method", METHODS)
def test_each_method_equals_the_oracle(engine: Engine, oracle: Oracle, method: str) -> None:
    requests = [
        Request(0, METHODS[method](prompt(50, 9)), strength=0.8, max_tokens=16),
        Request(1, METHODS[method](prompt(51, 4)), strength=1.2, temperature=0.9, top_p=0.9, seed=7, max_tokens=16),
    ]

    completions = decode(engine, requests)

    for request in requests:
        assert completions[request.request_id].token_ids == oracle.answer(request).token_ids


def test_the_order_of_requests_changes_no_answer(engine: Engine) -> None:
    requests = mixed_batch(max_tokens=8)
    expected = token_ids(decode(engine, requests))

    shuffled = random.Random(0).sample(requests, k=len(requests))

    assert token_ids(decode(engine, shuffled)) == expected


@pytest.mark.parametrize("num_slots", [1, 5])
def test_the_number_of_slots_changes_no_answer(family: Family, engine: Engine, num_slots: int) -> None:
    requests = mixed_batch(max_tokens=8)
    narrow = make_engine(family, num_slots=num_slots)

    completions = decode(narrow, requests)

    assert token_ids(completions) == token_ids(decode(engine, requests))


def test_the_time_of_admission_changes_no_answer(engine: Engine) -> None:
    requests = mixed_batch(max_tokens=8)
    expected = token_ids(decode(engine, requests))

    outcomes = []
    for request in requests:
        engine.add(request)
        outcomes += [*engine.step(), *engine.step()]
    outcomes += engine.generate([])

    assert {c.request_id: c.token_ids for c in outcomes if isinstance(c, Completion)} == expected


@pytest.mark.parametrize("prefill_budget", [1, 30])
def test_the_prefill_budget_changes_no_answer(family: Family, engine: Engine, prefill_budget: int) -> None:
    requests = mixed_batch(max_tokens=8)
    frugal = make_engine(family, num_slots=6, prefill_budget=prefill_budget)

    completions = decode(frugal, requests)

    assert token_ids(completions) == token_ids(decode(engine, requests))
