"""Linear layers on a CPU, with weights laid out once as a matrix kernel reads them: ours, or oneDNN's.

A plain layer is laid out anew in every call, which at a few dozen rows costs as much as the product itself. As a
second gain, these kernels give a row the same bits whatever rows are beside it.
"""

from functools import cached_property

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from worker.engine.layers.native import Kernels, kernels_on

_DTYPES = (torch.float32, torch.bfloat16)


class PrepackedLinear(nn.Module):
    """y = x W^T + b, by oneDNN."""

    def __init__(self, matrix: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        # oneDNN's own layout, reached as torch.compile reaches it on a CPU: there is no public name.
        self._packed = torch.ops.mkldnn._reorder_linear_weight(matrix.contiguous(), None)  # noqa: SLF001
        self.bias = bias

    @cached_property
    def weight(self) -> Tensor:
        """[out, in], laid out plainly once more, for the few models that look at a layer's weight themselves."""
        plain: Tensor = self._packed.to_dense()
        return plain

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        product: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._packed, self.bias, "none", [], "")  # noqa: SLF001
        return product


class PanelLinear(nn.Module):
    """y = x W^T + b, by a kernel of ours: in bfloat16 the weights are stored so and the sums made in float32."""

    def __init__(self, kernels: Kernels, matrix: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self._kernels = kernels
        self._num_out, self.num_in = matrix.shape
        self.panels = kernels.packed(matrix)
        self.bias = bias
        self.padded_bias: Tensor | None = None
        """Float32, as long as all panels."""
        if bias is not None:
            self.padded_bias = nn.functional.pad(bias.float(), (0, len(self.panels) * kernels.panel - len(bias)))

    @cached_property
    def weight(self) -> Tensor:
        """[out, in], as PrepackedLinear's."""
        return self.panels.transpose(1, 2).reshape(-1, self.num_in)[: self._num_out]

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        rows = x.reshape(-1, self.num_in).contiguous()
        product = self._kernels.product(rows, self.panels, self.padded_bias, self._num_out)
        return product.view(*x.shape[:-1], self._num_out)


def can_pack(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether this build of torch and this processor have oneDNN's kernels for the dtype."""
    if device.type != "cpu" or dtype not in _DTYPES or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    if dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():  # noqa: SLF001 (as above)
        return False
    has_library: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return has_library


def laid_out(matrix: Tensor, bias: Tensor | None) -> PrepackedLinear | PanelLinear | None:
    """The product x W^T + b of a matrix [out, in], laid out; None where neither library has kernels for it.

    Ours come first: they give a row the same bits whatever rows are beside it.
    """
    own = kernels_on(matrix.dtype, matrix.device)
    if own is not None and matrix.shape[1] % own.depth == 0:
        return PanelLinear(own, matrix, bias)
    return PrepackedLinear(matrix, bias) if can_pack(matrix.dtype, matrix.device) else None


def plain_of(layer: nn.Linear | Conv1D) -> tuple[Tensor, Tensor | None]:
    """W [out, in] and b of a layer, whichever way it is laid out; b is None where it has none."""
    weight = layer.weight.detach()
    bias: Tensor | None = layer.bias
    return weight.t() if isinstance(layer, Conv1D) else weight, None if bias is None else bias.detach()
