"""All layers in one call give the bits that they give one by one, whatever threads share the work."""

from collections.abc import Iterator, Sequence
from types import FunctionType
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.models.mistral import modeling_mistral

from tests.engine.conftest import make_engine
from tests.engine.models import Family, tiny
from tests.engine.oracle import Oracle
from tests.engine.requests import decode, mixed_batch
from worker.engine import load_engine
from worker.engine.batch_layout import Line
from worker.engine.layers import native
from worker.engine.layers.attention import AttentionBlock, AttentionMetadata
from worker.engine.layers.fused import fuse
from worker.engine.layers.fused_layers import FusedLayers, fuse_layers
from worker.engine.layers.native import kernels
from worker.engine.runner import Runner

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@pytest.fixture(params=[name for name, dtype in DTYPES.items() if kernels(dtype)])
def dtype(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def _three_threads() -> Iterator[None]:
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(1)


@pytest.fixture
def _no_compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patched:
        patched.setattr(native, "_OF_DTYPE", {})
        kernels.cache_clear()
        yield
    kernels.cache_clear()


@pytest.mark.usefixtures("_three_threads")
def test_layers_in_one_call_give_the_bits_of_layers_one_by_one(
    families: dict[str, Family], dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    family, requests = families["llama"], mixed_batch(max_tokens=6)
    engine = load_engine(family.base, family.policy, family.reference, device="cpu", dtype=dtype, prefill_budget=40)
    forward, states, calls = Runner._forward, list[Tensor](), list[int]()  # noqa: SLF001 (where every token passes)

    def watched(runner: Runner, line: Line, blocks: Sequence[AttentionBlock]) -> Tensor:
        states.append(forward(runner, line, blocks))
        return states[-1]

    run = FusedLayers._run  # noqa: SLF001 (what is compared)

    def counted(layers: FusedLayers, x: Tensor, metadata: AttentionMetadata, *others: Any) -> None:  # noqa: ANN401 (handed on)
        calls.append(len(x))
        run(layers, x, metadata, *others)

    monkeypatch.setattr(FusedLayers, "_run", counted)
    monkeypatch.setattr(Runner, "_forward", watched)
    decode(engine, requests)
    at_once = states.copy()
    assert len(calls) == len(at_once)
    states.clear()
    monkeypatch.setattr(FusedLayers, "_are_in", lambda *_: False)

    decode(engine, requests)

    assert len(at_once) == len(states)
    assert all(torch.equal(one, other) for one, other in zip(at_once, states, strict=True))


@pytest.mark.parametrize(("model_type", "known"), [("llama", True), ("qwen2", True), ("granite", False)])
def test_layers_are_joined_where_their_code_is_a_copy_of_llamas(model_type: str, *, known: bool) -> None:
    model = tiny(model_type, seed=0)

    fuse(model)
    fuse_layers(model)

    found = any(isinstance(module, FusedLayers) for module in model.modules())
    assert found == (known and kernels(torch.float32) is not None)


def test_layers_that_differ_behind_the_same_decorator_stay_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("mistral", seed=0)
    forward = modeling_mistral.MistralDecoderLayer.forward
    other = FunctionType(forward.__code__, forward.__globals__, closure=forward.__closure__)
    other.__dict__["__wrapped__"] = lambda self, hidden_states, **_others: hidden_states + self.mlp(hidden_states)

    monkeypatch.setattr(modeling_mistral.MistralDecoderLayer, "forward", other)
    fuse(model)
    fuse_layers(model)

    assert not any(isinstance(module, FusedLayers) for module in model.modules())


@pytest.mark.usefixtures("_no_compiler")
def test_an_engine_without_a_compiler_answers_as_the_oracle_does(families: dict[str, Family]) -> None:
    family, requests = families["llama"], mixed_batch(max_tokens=6)
    oracle = Oracle.of(family)

    answers = decode(make_engine(family), requests)

    assert kernels(torch.float32) is None
    for request in requests:
        assert answers[request.request_id].token_ids == oracle.answer(request).token_ids
