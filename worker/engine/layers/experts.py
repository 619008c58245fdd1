"""Low-rank adapters on the experts and the router of a mixture, which apply to some tokens of a line.

The experts of a layer are two stacks of matrices [experts, ...], and PEFT (`ParamWrapper`) trains a low-rank update of
each matrix of a stack. As with linear layers, all tokens take the experts' own products, and those that use an adapter
take y = W_e x + B_e A_e x with each of their experts e: no updated matrix is ever made.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeAlias, cast

import torch
from peft.tuners.lora.layer import ParamWrapper
from torch import Tensor, nn
from torch.func import functional_call
from transformers.integrations.moe import _grouped_mm  # chooses what this device has, as for the experts' own products
from transformers.integrations.moe import _grouped_mm_fallback as _looped_mm
from transformers.models.llama4.modeling_llama4 import Llama4TextExperts

from worker.engine.layers.lora import AdapterRows
from worker.engine.layers.uneven_experts import are_uneven

Product: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Of x [..., in] and a stack [experts, in, out]: each x times the matrix of its expert."""
_Factors: TypeAlias = tuple[Tensor, Tensor, float]
"""Of an update of a stack, as that lies: left [experts, rows, rank] @ right [experts, rank, columns] * scale."""
# Grouped products want rows of whole 16 bytes, so ranks are filled up with zeros to a multiple of this.
_ALIGNED = 8


class ChosenExperts(Protocol):
    """Experts as transformers' `use_experts_implementation` makes them."""

    has_gate: bool
    has_bias: bool
    is_transposed: bool
    """Whether matrices lie [in, out]."""

    def act_fn(self, inner: Tensor) -> Tensor:
        """What stands between two products, where one of them has no gate."""

    def _apply_gate(self, inner: Tensor) -> Tensor: ...

    def get_parameter(self, target: str) -> nn.Parameter:
        """A stack of matrices or of biases."""


class StackUpdate(nn.Module):
    """What adapters add to the products of a stack of matrices: B_e (mask * (A_e x)), the scale folded into B."""

    down: Tensor
    up: Tensor
    owner: Tensor

    def __init__(self, wrapper: ParamWrapper, names: Sequence[str], *, is_transposed: bool) -> None:
        super().__init__()
        downs, ups, owners = [], [], []
        for index, name in enumerate(names):
            if name not in wrapper.lora_A:
                continue
            left, right, scale = cast("_Factors", wrapper.get_delta_factors(name))  # type: ignore[no-untyped-call]  # PEFT
            down, up = (left, right) if is_transposed else (right.mT, left.mT)
            missing = -down.shape[2] % _ALIGNED
            # Small products in bfloat16 take a CPU several times as long as in float32.
            dtype = torch.float32 if down.device.type == "cpu" else down.dtype
            downs.append(nn.functional.pad(down.detach().to(dtype), (0, missing)))
            ups.append(nn.functional.pad(up.detach().to(dtype) * scale, (0, 0, 0, missing)))
            owners.append(torch.full((downs[-1].shape[2],), index, device=down.device))
        self.register_buffer("down", torch.cat(downs, dim=2), persistent=False)  # [experts, in, ranks]
        self.register_buffer("up", torch.cat(ups, dim=1), persistent=False)  # [experts, ranks, out]
        self.register_buffer("owner", torch.cat(owners), persistent=False)  # [ranks]

    def add_to(self, y: Tensor, x: Tensor, excluded: Tensor | None, product: Product) -> None:
        """Add to y [..., n, out] what belongs to x [..., n, in]; `excluded` [n, adapters] as AdapterRows has it."""
        low = product(x.to(self.down.dtype), self.down)
        if excluded is not None:
            # Filled, not multiplied: a token that the adapter must not touch stays exact even where A x overflows.
            low = low.masked_fill_(excluded[:, self.owner], 0)
        y += product(low, self.up)


class _RowAdapted(nn.Module):
    """Stacks of matrices and their updates."""

    def __init__(self, experts: nn.Module, updates: Mapping[str, StackUpdate], rows: AdapterRows) -> None:
        super().__init__()
        self.experts = experts
        self.updates = nn.ModuleDict(updates)
        self.rows = rows

    def update(self, name: str, y: Tensor, x: Tensor, excluded: Tensor | None, product: Product) -> None:
        """Add to the products y of the stack of this name what adapters add, if any do."""
        if name in self.updates and self.rows.any_adapted:
            cast("StackUpdate", self.updates[name]).add_to(y, x, excluded, product)


class RowAdaptedExperts(_RowAdapted):
    """Experts in transformers' usual form, of which each token takes a few."""

    def __init__(self, experts: nn.Module, updates: Mapping[str, StackUpdate], rows: AdapterRows) -> None:
        super().__init__(experts, updates, rows)
        self._are_uneven = are_uneven(experts)

    def forward(self, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        """[tokens, d], and the experts of each token with their weights [tokens, k] -> [tokens, d].

        Step by step what transformers' `grouped_mm_experts_forward` does, which runs where no token is adapted; but
        for uneven experts, whose own code adds up in another order than it would beside adapted tokens.
        """
        excluded = self.rows.excluded_among(len(hidden_states))
        if not self.rows.any_adapted and not self._are_uneven:
            own: Tensor = self.experts(hidden_states, top_k_index, top_k_weights)
            return own
        experts = cast("ChosenExperts", self.experts)
        num_experts, num_chosen = len(experts.get_parameter("down_proj")), top_k_index.shape[1]
        chosen, order = torch.sort(top_k_index.reshape(-1))  # pairs of token and expert, by expert
        tokens = order // num_chosen
        numbers = torch.arange(num_experts, device=chosen.device)
        ends = torch.searchsorted(chosen, numbers, right=True, out_int32=True)
        excluded = None if excluded is None else excluded[tokens]

        def product(x: Tensor, stack: Tensor) -> Tensor:
            y: Tensor = (_looped_mm if self._are_uneven else _grouped_mm)(x, stack, ends)
            return y

        def multiplied(x: Tensor, name: str) -> Tensor:
            stack = experts.get_parameter(name)
            y = product(x, stack if experts.is_transposed else stack.mT)
            if experts.has_bias:
                y += experts.get_parameter(f"{name}_bias")[chosen]
            self.update(name, y, x, excluded, product)
            return y

        x = hidden_states[tokens]
        if experts.has_gate:
            inner = experts._apply_gate(multiplied(x, "gate_up_proj"))  # noqa: SLF001 (there is no public name)
        else:
            inner = experts.act_fn(multiplied(x, "up_proj"))
        outer = multiplied(inner, "down_proj") * top_k_weights.reshape(-1)[order, None]
        places = torch.empty_like(order)
        places[order] = torch.arange(len(order), device=order.device)
        return outer[places].view(*top_k_index.shape, -1).sum(dim=1).to(hidden_states.dtype)


class RowAdaptedLlama4Experts(_RowAdapted):
    """Llama 4's experts, each of which is given all tokens, times their weights."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        """[experts * tokens, d] -> [experts * tokens, d]."""
        experts = cast("Llama4TextExperts", self.experts)
        x = hidden_states.view(len(experts.down_proj), -1, hidden_states.shape[-1])
        excluded = self.rows.excluded_among(x.shape[1])
        if not self.rows.any_adapted:
            own: Tensor = experts(hidden_states)
            return own
        both = torch.bmm(x, experts.gate_up_proj)
        self.update("gate_up_proj", both, x, excluded, torch.bmm)
        gate, up = both.chunk(2, dim=-1)
        inner = up * experts.act_fn(gate)
        y = torch.bmm(inner, experts.down_proj)
        self.update("down_proj", y, inner, excluded, torch.bmm)
        return y.view(-1, y.shape[-1])


class RowAdaptedRouter(nn.Module):
    """A router whose weight adapters update: small, so it runs with each of its weights, and tokens take their own."""

    weights: Tensor

    def __init__(self, router: nn.Module, wrapper: ParamWrapper, names: Sequence[str], rows: AdapterRows) -> None:
        super().__init__()
        self.router = router
        self.rows = rows
        self._indices = [index for index, name in enumerate(names) if name in wrapper.lora_A]
        own = router.get_parameter("weight").detach()
        deltas: list[Tensor] = [wrapper.get_delta_weight(names[index]) for index in self._indices]  # type: ignore[no-untyped-call]  # PEFT
        updated = [own + delta.detach() for delta in deltas]
        self.register_buffer("weights", torch.stack(updated), persistent=False)  # [adapters, experts, d]

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """What the router gives, each part [tokens, ...]."""
        results: Tensor | tuple[Tensor, ...] = self.router(*inputs)
        if not self.rows.any_adapted:
            return results
        for index, weight in zip(self._indices, self.weights, strict=True):
            others = functional_call(self.router, {"weight": weight}, inputs)
            if isinstance(results, Tensor):
                results = self._chosen(index, results, others)
            else:
                results = tuple(self._chosen(index, *pair) for pair in zip(results, others, strict=True))
        return results

    def _chosen(self, index: int, own: Tensor, updated: Tensor) -> Tensor:
        excluded = self.rows.excluded_among(len(own))
        if excluded is None:
            return updated
        return torch.where(excluded[:, index].view(-1, *[1] * (own.ndim - 1)), own, updated)
