"""Recorded forwards, rounded rows, one rectangle and steps ahead write the oracle's tokens, as on a GPU; on a CPU."""

import importlib
import os
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from tests.engine.gpu_like import Played, attend_to_own_columns, play_gpu
from tests.engine.models import (
    ARCHITECTURES,
    CACHED_OTHERWISE,
    OUT_OF_LINE,
    WINDOW,
    read,
    save,
    save_family,
    tiny,
)
from tests.engine.oracle import Oracle, uncached
from tests.engine.requests import METHODS, contrast, decode, mixed_batch, pad, prompt, token_ids
from worker.engine import Request, Stream, load_engine
from worker.engine.layers.attention import Scoring

COMMON = prompt(100, 2 * WINDOW)
WAIT_FOR_THE_DEVICE = {"jetmoe"}
"""Mixtures whose code counts each expert's tokens on the host."""


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Played:
    monkeypatch.setattr("worker.engine.runner.READ_IN_PLACE_FROM", WINDOW)
    return play_gpu(monkeypatch)


@pytest.mark.parametrize("name", [*ARCHITECTURES, "minicpm3", "diffllama", "gpt_oss"])
def test_guided_requests_equal_the_oracle(name: str, tmp_path: Path, played: Played) -> None:
    family = save_family(name, tmp_path)
    requests = mixed_batch(max_tokens=WINDOW + 1)[: len(METHODS)]
    requests += [Request(f"shared {i}", pad((*COMMON, i)), strength=0.5, max_tokens=5) for i in range(4)]
    engine = load_engine(family.base, family.policy, family.reference, device="cpu", num_slots=3)

    completions = decode(engine, requests)

    oracle = Oracle.of(family)
    assert token_ids(completions) == {request.request_id: oracle.answer(request).token_ids for request in requests}
    assert played.num_replays
    assert not played.num_not_recorded


@pytest.mark.parametrize("name", [*CACHED_OTHERWISE, *OUT_OF_LINE])
def test_models_with_code_of_their_own_equal_the_oracle(name: str, tmp_path: Path, played: Played) -> None:
    base = save(tiny(name, seed=0), tmp_path / "base")
    requests = [Request(f"short {i}", contrast(prompt(i, 1 + 5 * i)), strength=0.5, max_tokens=9) for i in range(4)]
    requests += [Request(f"shared {i}", contrast((*COMMON, i)), strength=0.5, max_tokens=5) for i in range(4)]

    completions = decode(load_engine(base, device="cpu", num_slots=3), requests)

    oracle = Oracle({"base": uncached(read(base))})
    assert token_ids(completions) == {request.request_id: oracle.answer(request).token_ids for request in requests}
    assert played.num_replays or name in WAIT_FOR_THE_DEVICE
    assert bool(played.num_not_recorded) == (name in WAIT_FOR_THE_DEVICE)


def test_a_recording_made_for_adapted_rows_alone_serves_others(tmp_path: Path, played: Played) -> None:
    """Which tokens an adapter must not touch is decided on the device, however it was when the step was recorded."""
    family = save_family("llama", tmp_path)
    engine = load_engine(family.base, family.policy, device="cpu")
    adapted = [Request(i, (Stream("policy", prompt(i, 5)),), strength=0.0, max_tokens=6) for i in range(2)]
    requests = [Request(2, pad(prompt(2, 5)), strength=0.8, max_tokens=6)]

    completions = decode(engine, adapted) | decode(engine, requests)

    oracle = Oracle.of(family)
    answers = {request.request_id: oracle.answer(request).token_ids for request in [*adapted, *requests]}
    assert token_ids(completions) == answers
    assert played.num_replays
    assert played.num_attended


@pytest.mark.skipif(
    not torch.cuda.is_available() and not (find_spec("triton") and os.environ.get("TRITON_INTERPRET")),
    reason="needs a GPU, or triton and TRITON_INTERPRET=1",
)
@pytest.mark.parametrize("layout", ["as a cache", "by token", "values by size"])
@pytest.mark.parametrize(
    ("heads", "key_heads", "size", "value_size", "window", "softcap"),
    [(4, 4, 16, 16, None, None), (7, 1, 24, 48, 5, None), (9, 3, 64, 64, 64, 30.0), (8, 8, 192, 128, 70, None)],
)
def test_the_kernel_reads_keys_and_values_of_any_size_wherever_they_lie(
    *, heads: int, key_heads: int, size: int, value_size: int, window: int | None, softcap: float | None, layout: str
) -> None:
    """Latent attention makes values of another size than keys, in tensors that lie otherwise than the cache's."""
    kernel = importlib.import_module("worker.engine.layers.decode_kernel")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    keys, values = torch.randn(5, key_heads, 200, size), torch.randn(5, key_heads, 200, value_size)
    if layout == "by token":
        keys = keys.transpose(1, 2).contiguous().transpose(1, 2)
    if layout == "values by size":
        values = values.transpose(2, 3).contiguous().transpose(2, 3)
    arguments = torch.randn(5, heads, size), keys, values, torch.tensor([0, 63, 64, 130, 199])
    scoring = Scoring(0.3, window, softcap)

    attended = kernel.attend_to_own_columns(*(argument.to(device) for argument in arguments), scoring)

    torch.testing.assert_close(attended.cpu(), attend_to_own_columns(*arguments, scoring), atol=2e-5, rtol=2e-5)
