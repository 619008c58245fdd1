"""Rotary and absolute positions, windows, soft caps, grouped heads, norms and biases in all places: each is exact."""

from collections.abc import Sequence

import pytest

from tests.engine.conftest import make_engine
from tests.engine.models import ARCHITECTURES, MAX_LENGTH, WINDOW, Family, save_family
from tests.engine.oracle import Oracle, generate_greedily
from tests.engine.requests import METHODS, contrast, decode, mixed_batch, mixture, pad_with_reference, prompt, token_ids
from worker.engine import Completion, Engine, Request


@pytest.fixture(scope="module", params=[*ARCHITECTURES])
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Family:
    name: str = request.param
    return save_family(name, tmp_path_factory.mktemp(name))


@pytest.fixture(scope="module")
def engine(family: Family) -> Engine:
    """It reads prompts in pieces beside rows that decode, and more wait than it has slots."""
    return make_engine(family, num_slots=3, prefill_budget=3 * WINDOW)


def test_guided_requests_equal_the_oracle(engine: Engine, family: Family) -> None:
    requests, oracle = mixed_batch(max_tokens=WINDOW + 1)[: len(METHODS)], Oracle.of(family)
    assert {len(request.streams[0].prompt) > WINDOW for request in requests} == {True, False}

    completions = decode(engine, requests)

    assert token_ids(completions) == {request.request_id: oracle.answer(request).token_ids for request in requests}
    assert vary(list(completions.values()))


def test_strength_zero_equals_generate_far_beyond_the_window(engine: Engine, family: Family) -> None:
    texts = [prompt(seed, num_tokens) for seed, num_tokens in enumerate([1, WINDOW - 1, 5 * WINDOW])]
    methods = [contrast, pad_with_reference, mixture]
    requests = [
        Request(index, method(text), strength=0.0, max_tokens=2 * WINDOW)
        for index, (method, text) in enumerate(zip(methods, texts, strict=True))
    ]

    completions = decode(engine, requests)

    assert engine.max_length == MAX_LENGTH
    for request in requests:
        expected = generate_greedily(family.base, request.streams[0].prompt, request.max_tokens)
        assert completions[request.request_id].token_ids == expected


def vary(completions: Sequence[Completion]) -> bool:
    """Whether a wrong hidden state would show: completions differ, and do not repeat one token."""
    beginnings = {completion.token_ids[:3] for completion in completions}
    num_distinct = sum(len(set(completion.token_ids)) for completion in completions)
    return len(beginnings) > len(completions) // 2 and num_distinct > 3 * len(completions)
