import pytest
import torch

from tests.engine.models import gpt2, tiny
from worker.engine.fused import FusedRMSNorm, fuse_norms


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


def test_other_norms_are_left_alone() -> None:
    model = gpt2(seed=0)

    fuse_norms(model)

    assert not any(isinstance(module, FusedRMSNorm) for module in model.modules())
