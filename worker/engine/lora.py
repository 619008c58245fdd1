"""Low-rank adapters that apply to some rows of a batch: y = W x + B (mask * (A x)), the scale folded into B.

A forward pass thus runs rows with and without an adapter, or with different ones, at the price of the base model.
PEFT reads the adapter; this module then takes its layers' place.
"""

from collections.abc import Sequence
from typing import cast

import torch
from peft.tuners.lora.layer import Linear as PeftLinear
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D


class AdapterRows:
    """Which rows of the coming forward use which adapter; shared by all adapted layers of a model."""

    def __init__(self, num_adapters: int) -> None:
        self.num_adapters = num_adapters
        self.any_adapted = False
        self._selected: list[int] = []
        self.excluded: Tensor | None = None
        """[rows, 1, adapters], true where an adapter must not touch the row; None when all rows use the only one."""

    def select(self, adapter_of_row: list[int], device: torch.device) -> None:
        """Set each row's adapter: 1 for the first, 0 for none."""
        if adapter_of_row == self._selected:
            return  # most steps decode the rows of the step before: nothing to copy to the device
        self._selected = adapter_of_row
        self.any_adapted = any(adapter_of_row)
        if not self.any_adapted or (self.num_adapters == 1 and all(adapter_of_row)):
            self.excluded = None
            return
        adapters = torch.arange(1, self.num_adapters + 1, device=device)
        self.excluded = torch.tensor(adapter_of_row, device=device)[:, None, None] != adapters


class RowAdaptedLinear(nn.Module):
    """A linear layer whose adapters, concatenated along their ranks, apply row by row."""

    down: Tensor
    up: Tensor
    owner: Tensor

    def __init__(self, layer: PeftLinear, names: Sequence[str], rows: AdapterRows) -> None:
        super().__init__()
        self.linear = cast("nn.Linear | Conv1D", layer.base_layer)  # checked when the adapter was read
        self._rows = rows
        present = {index: name for index, name in enumerate(names) if name in layer.lora_A}
        down = {index: _weight(layer.lora_A[name]) for index, name in present.items()}
        up = [_weight(layer.lora_B[name]) * layer.scaling[name] for name in present.values()]
        owner = [torch.full((len(matrix),), index) for index, matrix in down.items()]
        self.register_buffer("down", torch.cat([*down.values()]).to(self.weight), persistent=False)  # [ranks, in]
        self.register_buffer("up", torch.cat(up, dim=1).to(self.weight), persistent=False)  # [out, ranks]
        self.register_buffer("owner", torch.cat(owner).to(self.weight.device), persistent=False)  # [ranks]

    @property
    def weight(self) -> Tensor:
        """Of the layer without adapters, as transformers asks it of a vocabulary head."""
        return self.linear.weight

    def forward(self, x: Tensor) -> Tensor:
        """[rows, tokens, in] -> [rows, tokens, out]."""
        y: Tensor = self.linear(x)
        if not self._rows.any_adapted:
            return y
        low = nn.functional.linear(x, self.down)
        if self._rows.excluded is not None:
            # Filled, not multiplied: a row that the adapter must not touch stays exact even where A x overflows.
            low = low.masked_fill(self._excluded(self._rows.excluded), 0)
        return y + nn.functional.linear(low, self.up)

    def _excluded(self, rows: Tensor) -> Tensor:
        """[rows, 1, adapters] -> [rows, 1, ranks]; a single adapter owns all ranks and broadcasts."""
        return rows if self._rows.num_adapters == 1 else rows[..., self.owner]


def _weight(linear: nn.Module) -> Tensor:
    """Of PEFT's nn.Linear for A or B, which its containers type as any module."""
    weight = linear.get_parameter("weight")
    return weight.detach()


def adapt_rows(model: PreTrainedModel, names: Sequence[str]) -> AdapterRows:
    """Replace the layers that PEFT wrapped, in place; adapter i + 1 is `names[i]`."""
    rows = AdapterRows(len(names))
    for path, module in list(model.named_modules()):
        if isinstance(module, PeftLinear):
            model.set_submodule(path, RowAdaptedLinear(module, names, rows))
    return rows
