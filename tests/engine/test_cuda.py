"""What only a GPU shows: the kernel for decoding rows, CUDA graphs, and steps that run ahead of the host."""

from dataclasses import replace

import pytest
import torch

from tests.engine.models import Family
from tests.engine.oracle import Oracle
from tests.engine.requests import decode, mixed_batch, pad, prompt, shaped_batch, token_ids
from worker.engine import Engine, Request, load_engine
from worker.engine.guidance.choice import choose_tokens

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def on_gpu(family: Family, *, dtype: str = "float32", num_slots: int = 32) -> Engine:
    return load_engine(
        family.base, family.policy, family.reference, device="cuda", dtype=dtype, num_slots=num_slots, max_length=256
    )


@pytest.mark.parametrize("num_slots", [1, 3, 32])
def test_a_gpu_decodes_what_the_oracle_decodes(family: Family, oracle: Oracle, num_slots: int) -> None:
    requests = mixed_batch()

    completions = decode(on_gpu(family, num_slots=num_slots), requests)

    assert token_ids(completions) == {request.request_id: oracle.answer(request).token_ids for request in requests}


def test_a_stop_that_the_host_sees_late_changes_no_answer(family: Family, engine: Engine) -> None:
    requests = [
        Request(i, pad(prompt(i, 4 + i)), strength=0.7, max_tokens=30, stop=lambda ids: 5 if len(ids) == 5 else None)
        for i in range(6)
    ]

    completions = decode(on_gpu(family, num_slots=2), requests)

    assert token_ids(completions) == token_ids(decode(engine, requests))


def test_a_row_may_fill_its_cache_to_the_last_column(family: Family, engine: Engine) -> None:
    requests = [Request(i, pad(prompt(i, 200)), strength=0.7, max_tokens=56) for i in range(3)]

    completions = decode(on_gpu(family), requests)

    assert token_ids(completions) == token_ids(decode(engine, requests))


def test_shared_prefixes_change_no_answer(family: Family, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = [Request(i, pad(prompt(1, 40) + prompt(i, 5)), strength=0.7, max_tokens=20) for i in range(12)]
    expected = token_ids(decode(engine, requests))

    assert token_ids(decode(on_gpu(family, num_slots=4), requests)) == expected
    monkeypatch.setattr("worker.engine.runner.READ_IN_PLACE_FROM", 16)
    assert token_ids(decode(on_gpu(family, num_slots=4), requests)) == expected


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_decodes(family: Family, dtype: str) -> None:
    completions = decode(on_gpu(family, dtype=dtype, num_slots=4), mixed_batch())

    assert len(completions) == len(mixed_batch())


@pytest.mark.parametrize("num_slots", [2, 32])
@pytest.mark.parametrize("seed", range(3))
def test_budgets_penalties_and_whole_vocabularies_are_those_of_the_oracle(
    family: Family, oracle: Oracle, num_slots: int, seed: int
) -> None:
    requests = shaped_batch(seed)

    completions = decode(on_gpu(family, num_slots=num_slots), requests)

    answers = {request.request_id: oracle.answer(request) for request in requests}
    assert token_ids(completions) == {key: answer.token_ids for key, answer in answers.items()}
    for key, completion in completions.items():
        if completion.kl is not None:
            assert completion.kl == pytest.approx(sum(answers[key].kls) / len(answers[key].kls), abs=1e-3)


def test_what_shapes_a_distribution_makes_the_host_wait_for_nothing(family: Family) -> None:
    engine = on_gpu(family)
    for request in shaped_batch(0):
        engine.add(replace(request, max_tokens=60, min_tokens=60))
    for _ in range(3):
        engine.step()
    hidden = [runner.run([]) for runner in engine._models.runners]  # noqa: SLF001 (what a step gives to the choice)
    slots = engine._slots  # noqa: SLF001 (as above)
    assert slots is not None

    torch.cuda.set_sync_debug_mode("error")
    try:
        choice = choose_tokens(engine._models.runners, hidden, slots)  # noqa: SLF001 (as above)
        slots.advanced(choice.token_ids)
    finally:
        torch.cuda.set_sync_debug_mode("default")
