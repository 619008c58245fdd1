"""Normalisation layers on a GPU as one kernel each, where transformers spells them out in seven."""

import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from torch import Tensor, nn
from transformers import PreTrainedModel

_TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 0.02, torch.float16: 0.002}  # relative: the last bit may differ


class FusedRMSNorm(nn.Module):
    """y = g x / sqrt(mean(x^2) + eps)."""

    def __init__(self, gain: Tensor, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(gain.detach(), requires_grad=False)
        self._epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        """[..., d] -> [..., d]."""
        return F.rms_norm(x, self.weight.shape, self.weight, self._epsilon)


@torch.inference_mode()
def fuse_norms(model: PreTrainedModel) -> None:
    """Replace, in place, every layer that proves to be a root mean square normalisation with a gain of its own."""
    for path, module in list(model.named_modules()):
        fused = _fused(module)
        if fused is not None:
            model.set_submodule(path, fused)


def _fused(module: nn.Module) -> FusedRMSNorm | None:
    gain, epsilon = getattr(module, "weight", None), getattr(module, "variance_epsilon", getattr(module, "eps", None))
    if not type(module).__name__.endswith("RMSNorm") or not isinstance(gain, Tensor) or not isinstance(epsilon, float):
        return None
    x = torch.linspace(-2, 3, 3 * gain.numel(), device=gain.device, dtype=gain.dtype).view(3, -1)
    for candidate in (gain, 1 + gain):  # Gemma keeps the gain less one
        fused = FusedRMSNorm(candidate, epsilon)
        expected = module(x)
        if (fused(x) - expected).abs().max() <= _TOLERANCE[gain.dtype] * expected.abs().max():
            return fused
    return None
