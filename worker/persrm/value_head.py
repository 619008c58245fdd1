"""Stage 2 of PAD's training: the d x d matrix w_p between last hidden state and vocabulary head, backbone frozen.

It begins as the identity and is written in the layout of PAD's released checkpoints, beside the adapter.
"""

from pathlib import Path
from typing import cast

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast

FILE = "value_head.safetensors"
_PREFIX = "v_head.summary."  # as PAD's released code names it


class _Summary(nn.Module):
    """`v_head` of the released checkpoints: its parameters have their names."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.summary = nn.Linear(width, width)
        with torch.no_grad():
            self.summary.weight.copy_(torch.eye(width))
            self.summary.bias.zero_()

    def forward(self, hidden: Tensor) -> Tensor:
        """Apply the head: hidden states [..., d] to hidden states [..., d]."""
        valued: Tensor = self.summary(hidden)
        return valued


def attach_value_head(model: PreTrainedModel) -> None:
    """Put an identity behind the model's backbone, in place, as the only thing that can be trained."""
    model.requires_grad_(requires_grad=False)
    v_head = _Summary(model.config.get_text_config().hidden_size).to(model.device)
    model.add_module("v_head", v_head)

    def valued(_backbone: nn.Module, _inputs: object, output: BaseModelOutputWithPast) -> BaseModelOutputWithPast:
        output.last_hidden_state = v_head(output.last_hidden_state)
        return output

    # Where both the model's own forward and TRL's, which brings its own head, take the hidden states from.
    model.base_model.register_forward_hook(valued)


def save_value_head(model: PreTrainedModel, out: Path) -> None:
    """Write the matrix and its bias beside the adapter."""
    summary = cast("_Summary", model.get_submodule("v_head")).summary
    tensors = {f"{_PREFIX}weight": summary.weight.detach().cpu(), f"{_PREFIX}bias": summary.bias.detach().cpu()}
    save_file({name: tensor.float().contiguous() for name, tensor in tensors.items()}, out / FILE)
