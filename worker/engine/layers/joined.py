"""Layers that read the same x as one product: y = [W1; W2; ...] x, and their adapters behind it."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from worker.engine.layers.lora import RowAdaptedLinear, even
from worker.engine.layers.native import Kernels, Update, Updates, kernels_on
from worker.engine.layers.packed import laid_out, plain_of


class JoinedLinear(nn.Module):
    """[..., in] -> [..., out of all layers], one behind the other."""

    def __init__(self, kernels: Kernels, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self._kernels = kernels
        plain = [_plain(layer) for layer in layers]
        self.out_features = sum(len(matrix) for matrix, _ in plain)
        self.rows = next((layer.rows for layer in layers if isinstance(layer, RowAdaptedLinear)), None)
        downs, updates = _adapters(layers, self.out_features)
        self.updates = Updates(updates)
        self.num_ranks = sum(map(len, downs))
        matrices = [matrix for matrix, _ in plain]
        down = even(torch.cat([matrices[0][:0], *downs]), self.out_features)
        product = laid_out(torch.cat([*matrices, down]), _joined_bias(plain, len(down)))
        if product is None:
            raise NotImplementedError  # kernels exist: there is a layout
        self.product = product

    @property
    def weight(self) -> Tensor:
        """[out, in] without adapters, for the few models that look at a layer's weight themselves."""
        whole: Tensor = self.product.weight
        return whole[: self.out_features]

    @property
    def bias(self) -> Tensor | None:
        """[out], likewise."""
        whole: Tensor | None = self.product.bias
        return None if whole is None else whole[: self.out_features]

    def forward(self, x: Tensor) -> Tensor:
        """[..., tokens, in] -> [..., tokens, out], a part of wider rows where there are adapters."""
        product: Tensor = self.product(x)
        if self.rows is not None and self.rows.any_adapted:
            excluded = self.rows.excluded_among(x.shape[:-1].numel())
            self._kernels.adapt(product.flatten(0, -2), self.updates, excluded)
        return product[..., : self.out_features]


def can_join(kernels: Kernels, layer: nn.Module) -> bool:
    """Whether the kernels run this layer, and all of its adapters."""
    if isinstance(layer, RowAdaptedLinear):
        return layer.out_features % kernels.lanes == 0
    return type(layer) in (nn.Linear, Conv1D)


def pack(model: PreTrainedModel) -> None:
    """Lay out every linear layer below the vocabulary head, in place; their own weights are let go."""
    kernels = kernels_on(model.dtype, model.device)
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
    kept = set(head.modules())  # whose columns are read one by one
    replaced = "/"  # no path begins so
    for path, module in list(model.named_modules()):
        if module in kept or path.startswith(replaced):
            continue
        if isinstance(module, RowAdaptedLinear) and kernels is not None and can_join(kernels, module):
            model.set_submodule(path, JoinedLinear(kernels, [module]))
            replaced = f"{path}."
        elif isinstance(module, nn.Linear | Conv1D) and type(module) in (nn.Linear, Conv1D):
            packed = laid_out(*plain_of(module))
            if packed is not None:
                model.set_submodule(path, packed)


def _plain(layer: nn.Module) -> tuple[Tensor, Tensor | None]:
    """W [out, in] and b of a layer, without its adapters."""
    if isinstance(layer, RowAdaptedLinear):
        bias: Tensor | None = layer.wide.bias
        return layer.weight, None if bias is None else bias[: layer.out_features].detach()
    if isinstance(layer, nn.Linear | Conv1D):
        return plain_of(layer)
    raise NotImplementedError(type(layer).__name__)


def _adapters(layers: Sequence[nn.Module], low: int) -> tuple[list[Tensor], list[Update]]:
    """A of each adapted layer, and what is to be done with A x, which lies behind the `low` outputs of all layers."""
    downs, updates, out = [], [], 0
    for layer in layers:
        if isinstance(layer, RowAdaptedLinear):
            updates.append(Update(out, low, layer.up.t().contiguous(), layer.owner))
            downs.append(layer.down)
            low += len(layer.down)
        out += len(_plain(layer)[0])
    return downs, updates


def _joined_bias(plain: Sequence[tuple[Tensor, Tensor | None]], num_ranks: int) -> Tensor | None:
    """The biases of all layers, 0 where a layer has none, then zeros for the ranks; None where no layer has one."""
    if all(bias is None for _, bias in plain):
        return None
    each = [matrix.new_zeros(len(matrix)) if bias is None else bias for matrix, bias in plain]
    return nn.functional.pad(torch.cat(each), (0, num_ranks))
