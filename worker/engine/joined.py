"""Layers that read the same x as one product of our own kernels: y = [W1; W2; ...] x, and adapters behind it.

A matrix is laid out once, as panels of columns; a row gets the same bits whatever rows are beside it. In bfloat16 the
weights are stored so and the sums made in float32, on any processor.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from worker.engine.lora import AdapterRows, RowAdaptedLinear
from worker.engine.native import Kernels


@dataclass(frozen=True, slots=True)
class _Update:
    """An adapted layer's part of the product, and the second halves of its adapters."""

    out: slice
    low: slice
    up: Tensor
    """[ranks, out]."""
    owner: Tensor
    """[ranks]."""


class JoinedLinear(nn.Module):
    """[..., in] -> [..., out of all layers], one behind the other."""

    def __init__(self, kernels: Kernels, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self._kernels = kernels
        self._rows: AdapterRows | None = None
        matrices, biases = zip(*(_plain(layer) for layer in layers), strict=True)
        self.out_features = sum(len(matrix) for matrix in matrices)
        downs, self._updates = self._adapters(layers)
        whole = torch.cat([*matrices, *downs])
        self._num_out, self._num_in = whole.shape
        self._panels = kernels.packed(whole)
        self._bias = _joined_bias(biases, matrices, self._panels.shape[0] * kernels.panel)

    def _adapters(self, layers: Sequence[nn.Module]) -> tuple[list[Tensor], list[_Update]]:
        downs, updates = [], []
        start, low = 0, self.out_features
        for layer in layers:
            out = slice(start, start + len(_plain(layer)[0]))
            start = out.stop
            if isinstance(layer, RowAdaptedLinear):
                self._rows = layer.rows
                downs.append(layer.down)
                ranks = slice(low, low + len(layer.down))
                updates.append(_Update(out, ranks, layer.up.t().contiguous(), layer.owner))
                low = ranks.stop
        return downs, updates

    @cached_property
    def weight(self) -> Tensor:
        """[out, in], laid out plainly once more, for the few models that look at a layer's weight themselves."""
        return self._panels.transpose(1, 2).reshape(-1, self._num_in)[: self.out_features]

    def forward(self, x: Tensor) -> Tensor:
        """[..., tokens, in] -> [..., tokens, out], a part of wider rows where there are adapters."""
        rows = x.reshape(-1, self._num_in).contiguous()
        product = self._kernels.product(rows, self._panels, self._bias, self._num_out)
        if self._rows is not None and self._rows.any_adapted:
            excluded = self._rows.excluded_among(x.shape[-2])
            for update in self._updates:
                self._kernels.adapt(product[:, update.out], product[:, update.low], update.up, update.owner, excluded)
        return product.view(*x.shape[:-1], self._num_out)[..., : self.out_features]


def can_join(kernels: Kernels, layer: nn.Module) -> bool:
    """Whether the kernels run this layer, and all of its adapters."""
    if isinstance(layer, RowAdaptedLinear):
        return layer.out_features % kernels.lanes == 0
    return type(layer) in (nn.Linear, Conv1D)


def _plain(layer: nn.Module) -> tuple[Tensor, Tensor | None]:
    """W [out, in] and b of a layer, without its adapters."""
    if isinstance(layer, RowAdaptedLinear):
        bias = layer.wide.bias
        return layer.weight, None if bias is None else bias[: layer.out_features]
    weight = layer.get_parameter("weight").detach()
    bias = layer.bias
    return (weight.t() if isinstance(layer, Conv1D) else weight), bias if isinstance(bias, Tensor) else None


def _joined_bias(biases: Sequence[Tensor | None], matrices: Sequence[Tensor], width: int) -> Tensor | None:
    """[width], float32, 0 where a layer has none; None where no layer has one."""
    if all(bias is None for bias in biases):
        return None
    each = [
        torch.zeros(len(matrix)) if bias is None else bias.detach().float()
        for bias, matrix in zip(biases, matrices, strict=True)
    ]
    joined = torch.cat(each)
    return nn.functional.pad(joined, (0, width - len(joined)))
