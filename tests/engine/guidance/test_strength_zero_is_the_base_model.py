import pytest

from tests.engine.models import Family
from tests.engine.oracle import generate_greedily
from tests.engine.requests import METHODS, decode, prompt
from worker.engine import Engine, Request, Stream

PROMPTS = [prompt(seed, 1 + 4 * seed) for seed in range(5)]


@pytest.mark.parametrize("method", METHODS)
def test_strength_zero_equals_the_base_models_own_greedy_generate(family: Family, engine: Engine, method: str) -> None:
    requests = [Request(i, METHODS[method](text), strength=0.0, max_tokens=20) for i, text in enumerate(PROMPTS)]

    completions = decode(engine, requests)

    for request in requests:
        expected = generate_greedily(family.base, request.streams[0].prompt, request.max_tokens)
        assert completions[request.request_id].token_ids == expected
        assert completions[request.request_id].reward is None


def test_one_candidate_equals_greedy_at_any_strength_and_temperature(engine: Engine, family: Family) -> None:
    streams = METHODS["pad"](PROMPTS[2])

    completion = decode(engine, [Request(0, streams, strength=5.0, k=1, temperature=2.0, max_tokens=20)])[0]

    assert completion.token_ids == generate_greedily(family.base, PROMPTS[2], 20)


def test_any_weights_can_be_the_base_stream(engine: Engine, family: Family) -> None:
    requests = [Request(0, (Stream("reference", PROMPTS[3]),), max_tokens=20), Request(1, METHODS["pad"](PROMPTS[1]))]

    completion = decode(engine, requests)[0]

    assert completion.token_ids == generate_greedily(family.reference, PROMPTS[3], 20)


def test_strength_zero_runs_the_base_stream_only(engine: Engine) -> None:
    for index, method in enumerate(METHODS.values()):
        engine.add(Request(index, method(PROMPTS[1]), strength=0.0))

    engine.step()

    assert [len(runner.table) for runner in engine._models.runners] == [len(METHODS), 0]  # noqa: SLF001 (the cost)
    for index in range(len(METHODS)):
        engine.cancel(index)
