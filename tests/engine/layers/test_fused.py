import pytest
import torch
from transformers.models.mistral import modeling_mistral

from tests.engine.models import gpt2, tiny
from worker.engine.layers.fused import FusedAttention, FusedGate, FusedRMSNorm, fuse, fuse_norms
from worker.engine.layers.native import kernels


@pytest.mark.parametrize("model_type", ["llama", "qwen3", "gemma2", "olmo2", "mistral"])
def test_fused_norms_change_no_logit(model_type: str) -> None:
    model = tiny(model_type, seed=0)
    model.train(mode=False)
    ids = torch.arange(1, 9)[None]
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.add_(torch.randn_like(parameter) / 10)
        expected = model(ids).logits

        fuse_norms(model)

        assert torch.allclose(model(ids).logits, expected, atol=1e-4)
    assert any(isinstance(module, FusedRMSNorm) for module in model.modules())


@pytest.mark.parametrize(
    ("model_type", "fused"), [("llama", True), ("mistral", True), ("qwen2", True), ("gemma2", False), ("cohere", False)]
)
def test_attention_is_fused_where_its_code_is_a_copy_of_what_is_known(model_type: str, *, fused: bool) -> None:
    model = tiny(model_type, seed=0)

    fuse(model)

    found = any(isinstance(module, FusedAttention) for module in model.modules())
    assert found == (fused and kernels(torch.float32) is not None)


def test_a_copy_that_calls_something_else_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("mistral", seed=0)
    monkeypatch.setattr(modeling_mistral, "rotate_half", lambda x: x)

    fuse(model)

    assert not any(isinstance(module, FusedAttention) for module in model.modules())


@pytest.mark.parametrize("num_tokens", [0, 1, 5])
def test_a_fused_gate_is_the_layer_it_replaces_for_lines_and_lists_of_tokens(num_tokens: int) -> None:
    own = kernels(torch.float32)
    if own is None:
        return
    gate = tiny("llama", seed=0).get_submodule("model.layers.0.mlp")
    x = torch.randn(num_tokens, 32)

    fused = FusedGate(own, gate)

    with torch.inference_mode():
        for shaped in (x, x[None]):
            torch.testing.assert_close(fused(shaped), gate(shaped), atol=1e-4, rtol=1e-5)


def test_other_norms_are_left_alone() -> None:
    model = gpt2(seed=0)

    fuse_norms(model)

    assert not any(isinstance(module, FusedRMSNorm) for module in model.modules())


def test_a_norm_whose_gain_is_no_parameter_is_left_alone() -> None:
    """Falcon-Mamba has one as wide as something else, which nobody multiplies by."""
    model = tiny("falcon_mamba", seed=0, vocab_size=97, hidden_size=32, num_hidden_layers=1, state_size=8)
    norm = model.get_submodule("backbone.layers.0.mixer.dt_layernorm")

    fuse(model)

    assert model.get_submodule("backbone.layers.0.mixer.dt_layernorm") is norm
    assert isinstance(model.get_submodule("backbone.layers.0.norm"), FusedRMSNorm)


def test_a_fused_norm_reads_nothing_beside_a_narrower_line() -> None:
    norm = FusedRMSNorm(torch.ones(64), 1e-6, kernels(torch.float32))

    with pytest.raises(RuntimeError, match="normalized_shape"):
        norm(torch.ones(1, 4))
