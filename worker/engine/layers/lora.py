"""Low-rank adapters that apply to some tokens of a line: y = W x + B (mask * (A x)), the scale folded into B.

A forward pass thus runs rows with and without an adapter, or with different ones, at the price of the base model.
PEFT reads the adapter; this module then takes its layers' place.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import torch
from peft.tuners.lora.layer import Linear as PeftLinear
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

MERGE_IT = "merge it into its base (PEFT's merge_and_unload) and give the merged model instead"
"""What to do with an adapter that cannot be stacked."""


class AdapterRows:
    """Which adapter each token of the coming forward uses; shared by all adapted layers of a model."""

    def __init__(self, num_adapters: int) -> None:
        self._numbers = torch.arange(1, num_adapters + 1)
        self.any_adapted = False
        self.excluded: Tensor | None = None
        """[tokens, adapters], true where an adapter must not touch the token; None when all use the only one."""

    @property
    def num_adapters(self) -> int:
        """Adapters stacked on the model."""
        return len(self._numbers)

    def select(self, adapters: Tensor, used: Collection[int]) -> None:
        """Set each token's adapter [tokens], 1 for the first and 0 for none; `used` are the numbers among them."""
        self.any_adapted = any(used)
        if not self.any_adapted or (self.num_adapters == 1 and 0 not in used):
            self.excluded = None
            return
        self._numbers = self._numbers.to(adapters.device)
        self.excluded = adapters[:, None] != self._numbers

    @contextmanager
    def only(self, tokens: slice | Tensor) -> Iterator[None]:
        """Let layers run on these tokens of the line alone, whatever their shape."""
        excluded = self.excluded
        self.excluded = None if excluded is None else excluded[tokens].contiguous()  # as kernels read it
        yield
        self.excluded = excluded

    def excluded_among(self, num_tokens: int) -> Tensor | None:
        """`excluded`, for a layer that is given this many tokens: those of the line, and no others."""
        if self.excluded is not None and num_tokens != len(self.excluded):
            message = "an adapter changes a layer that runs on other tokens than a step's, and cannot tell whose"
            raise NotImplementedError(f"{message}: {MERGE_IT}")
        return self.excluded


class RowAdaptedLinear(nn.Module):
    """A linear layer whose adapters, concatenated along their ranks, apply token by token.

    W and A read the same x, so they are one matrix, [W; A]: the adapters' first half costs no pass of its own.
    """

    up: Tensor
    owner: Tensor

    def __init__(self, layer: PeftLinear, names: Sequence[str], rows: AdapterRows) -> None:
        super().__init__()
        base = cast("nn.Linear | Conv1D", layer.base_layer)  # checked when the adapter was read
        weight = base.weight.detach().t() if isinstance(base, Conv1D) else base.weight.detach()
        self._rows = rows
        self.out_features = len(weight)
        present = {index: name for index, name in enumerate(names) if name in layer.lora_A}
        down = {index: _weight(layer.lora_A[name]) for index, name in present.items()}
        up = [_weight(layer.lora_B[name]) * layer.scaling[name] for name in present.values()]
        owner = [torch.full((len(matrix),), index) for index, matrix in down.items()]
        self.wide = _joined(weight, even(torch.cat([*down.values()]).to(weight), len(weight)), base.bias)
        self.register_buffer("up", torch.cat(up, dim=1).to(weight), persistent=False)  # [out, ranks]
        self.register_buffer("owner", torch.cat(owner).to(weight.device), persistent=False)  # [ranks]

    @property
    def weight(self) -> Tensor:
        """The weight of the layer without adapters, as transformers asks it of a vocabulary head."""
        return self.wide.weight[: self.out_features]

    @property
    def bias(self) -> Tensor | None:
        """The bias of the layer without adapters."""
        bias: Tensor | None = self.wide.bias
        return None if bias is None else bias[: self.out_features]

    @property
    def down(self) -> Tensor:
        """A of all adapters [ranks, in]."""
        return self.wide.weight[self.out_features :][: len(self.owner)]

    def forward(self, x: Tensor) -> Tensor:
        """[..., tokens, in] -> [..., tokens, out]."""
        return self.updated(self.wide(x))

    def updated(self, product: Tensor) -> Tensor:
        """W x + B (mask * (A x)) of [W; A] x [..., tokens, out + ranks], which is overwritten."""
        y, low = product[..., : self.out_features], product[..., self.out_features :][..., : len(self.owner)]
        if self._rows.any_adapted:
            y.flatten(0, -2).addmm_(self.masked(low).flatten(0, -2), self.up.t())
        return y

    def masked(self, low: Tensor) -> Tensor:
        """A x [..., tokens, ranks], 0 from now on where the token does not use the adapter that owns the rank."""
        low = low.flatten(0, -2)
        excluded = self._rows.excluded_among(len(low))
        if excluded is None:
            return low
        # Filled, not multiplied: a token that the adapter must not touch stays exact even where A x overflows.
        return low.masked_fill_(excluded if self._rows.num_adapters == 1 else excluded[:, self.owner], 0)

    @property
    def any_adapted(self) -> bool:
        """Whether a token of the coming forward uses an adapter."""
        return self._rows.any_adapted

    @property
    def rows(self) -> AdapterRows:
        """The adapters of the tokens of the coming forward, shared by all adapted layers of a model."""
        return self._rows


def even(down: Tensor, num_out: int) -> Tensor:
    """A [ranks, in], with a row of zeros behind it if products [out + ranks] were of odd width.

    Llama 4 views what a layer gives as pairs, complex numbers, wherever rows begin.
    """
    return nn.functional.pad(down, (0, 0, 0, (num_out + len(down)) % 2))


def _joined(weight: Tensor, down: Tensor, bias: Tensor | None) -> nn.Linear:
    """One layer that computes W x + b and A x together: [W; A], with b and zeros."""
    with torch.device("meta"):
        layer = nn.Linear(weight.shape[1], len(weight) + len(down), bias=bias is not None)
    layer.weight = nn.Parameter(torch.cat([weight, down]), requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(torch.cat([bias.detach(), bias.new_zeros(len(down))]), requires_grad=False)
    return layer


def _weight(linear: nn.Module) -> Tensor:
    """The weight of PEFT's nn.Linear for A or B, which its containers type as any module."""
    weight = linear.get_parameter("weight")
    return weight.detach()
