"""Experts whose matrices torch's grouped product does not read, and what runs them instead."""

from torch import nn
from transformers import PreTrainedModel

_ALIGNMENT = 16
"""Bytes of which each row of a grouped product's operands must be a multiple."""


def loop_over_uneven_experts(model: PreTrainedModel) -> None:
    """Run experts one after the other, as the model's own code does, where rows of their matrices are of other lengths.

    transformers asks for grouped products wherever torch has them, and these fail at widths such as 51 (float32) or 52
    (bfloat16). Nothing is done on a GPU, where a loop over experts would wait for each step's routing.
    """
    if model.device.type == "cpu" and any(map(are_uneven, model.modules())):
        model.set_experts_implementation("eager")


def are_uneven(module: nn.Module) -> bool:
    """Whether a layer that transformers has marked as experts holds matrices with such rows."""
    matrices = getattr(module, "down_proj", None) if hasattr(module, "_is_expert_parallel") else None
    return isinstance(matrices, nn.Parameter) and any(
        size * matrices.itemsize % _ALIGNMENT for size in matrices.shape[1:]
    )
