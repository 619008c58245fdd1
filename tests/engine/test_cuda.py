"""What only a GPU shows: the kernel for decoding rows, CUDA graphs, and steps that run ahead of the host."""

import pytest
import torch

from tests.engine.models import Family
from tests.engine.oracle import Oracle
from tests.engine.requests import decode, mixed_batch, pad, prompt, token_ids
from worker.engine import Engine, Request, load_engine

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
