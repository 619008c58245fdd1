"""Linear layers on a CPU, with weights laid out once as its matrix kernels read them.

A plain layer is laid out anew in every call, which at a few dozen rows costs as much as the product itself. As a
second gain, these kernels give a row the same bits whatever rows are beside it.
"""

from functools import cached_property

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from worker.engine.joined import JoinedLinear, can_join
from worker.engine.native import Kernels, kernels

_DTYPES = (torch.float32, torch.bfloat16)


class PackedLinear(nn.Module):
    """y = x W^T + b."""

    def __init__(self, layer: nn.Linear | Conv1D) -> None:
        super().__init__()
        weight = layer.weight.detach()
        matrix = weight.t().contiguous() if isinstance(layer, Conv1D) else weight
        # oneDNN's own layout, reached as torch.compile reaches it on a CPU: there is no public name.
        self._packed = torch.ops.mkldnn._reorder_linear_weight(matrix, None)  # noqa: SLF001
        bias: Tensor | None = layer.bias
        self._bias = None if bias is None else bias.detach()

    @cached_property
    def weight(self) -> Tensor:
        """[out, in], laid out plainly once more, for the few models that look at a layer's weight themselves."""
        plain: Tensor = self._packed.to_dense()
        return plain

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        product: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._packed, self._bias, "none", [], "")  # noqa: SLF001
        return product


def can_pack(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether this build of torch and this processor have such kernels for the dtype."""
    if device.type != "cpu" or dtype not in _DTYPES or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    if dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():  # noqa: SLF001 (as above)
        return False
    has_library: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return has_library


def pack(model: PreTrainedModel) -> None:
    """Replace every linear layer below the vocabulary head, in place; their own weights are let go."""
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
    kept = set(head.modules())  # whose columns are read one by one
    replaced = ""
    for path, module in list(model.named_modules()):
        if module in kept or (replaced and path.startswith(replaced)):
            continue
        packed = _packed(module, model.dtype, model.device)
        if packed is not None:
            model.set_submodule(path, packed)
            replaced = f"{path}."


def packed_layer(layer: nn.Linear | Conv1D) -> nn.Module:
    """This layer laid out, or as it is where nothing can do so."""
    packed = _packed(layer, layer.weight.dtype, layer.weight.device)
    return layer if packed is None else packed


def _packed(layer: nn.Module, dtype: torch.dtype, device: torch.device) -> nn.Module | None:
    own = own_kernels(dtype, device)
    if own is not None and can_join(own, layer):
        return JoinedLinear(own, [layer])
    if isinstance(layer, nn.Linear | Conv1D) and type(layer) in (nn.Linear, Conv1D) and can_pack(dtype, device):
        return PackedLinear(layer)
    return None


def own_kernels(dtype: torch.dtype, device: torch.device) -> Kernels | None:
    """Ours, where they are of use: a processor that multiplies bfloat16 itself does so in oneDNN's."""
    if device.type != "cpu" or (dtype == torch.bfloat16 and can_pack(dtype, device)):
        return None
    return kernels(dtype)
