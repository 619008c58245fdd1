"""Muon for the layers' matrices and AdamW for the rest, as one optimizer: half the steps AdamW alone takes here."""

import re
from collections.abc import Callable

import torch
from torch import nn
from torch.optim import AdamW, Muon, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import get_cosine_schedule_with_warmup

NUM_WARMUP_STEPS = 30
_IN_A_LAYER = re.compile(r"\.(?:layers|h)\.\d+\.")


class MuonWithAdamW(Optimizer):
    """Steps both; they share this optimizer's parameter groups, so that a schedule moves both learning rates."""

    def __init__(self, model: nn.Module, learning_rate: float, weight_decay: float) -> None:
        matrices, others = _split(model)
        self._parts = (
            Muon(matrices, lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"),
            AdamW(others, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.0),
        )
        super().__init__([group for part in self._parts for group in part.param_groups], {})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step of each part; a closure, which no caller here has, would run once."""
        if closure is not None:
            closure()
        for part, group in zip(self._parts, self.param_groups, strict=True):
            part.param_groups = [group]  # anew each time: loading a state replaces the groups
            part.step()


def optimizer_with_schedule(
    model: nn.Module, num_steps: int, *, learning_rate: float, weight_decay: float
) -> tuple[MuonWithAdamW, LambdaLR]:
    """What the `Trainer` takes: warm up, then down to nothing along a cosine."""
    optimizer = MuonWithAdamW(model, learning_rate, weight_decay)
    return optimizer, get_cosine_schedule_with_warmup(optimizer, min(NUM_WARMUP_STEPS, num_steps), num_steps)


def _split(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The decoder layers' weight matrices; norms, embeddings and head."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        is_matrix = parameter.ndim > 1 and _IN_A_LAYER.search(name) is not None
        (matrices if is_matrix else others).append(parameter)
    return matrices, others
