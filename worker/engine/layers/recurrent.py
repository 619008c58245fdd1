"""Recurrent layers on a line of tokens of many rows.

A recurrence takes its tokens one after the other, so neither padding nor a neighbour's token may pass through it. All
other layers run on the one line of tokens of a forward; a recurrent one is called once per stretch of it: neighbouring
rows that have equally many tokens, and that all begin or all go on.
"""

import inspect
import math
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from worker.engine.batch_layout import Stretch
from worker.engine.cache.recurrent import RowStates
from worker.engine.layers.lora import AdapterRows

_WRITES = {"update_conv_state", "update_recurrent_state"}


def recurrent_layers(model: nn.Module) -> list[nn.Module]:
    """The layers of a model whose own code writes a recurrent or convolution state into the cache."""
    return [module for module in model.modules() if _keeps_state(type(module))]


def _keeps_state(kind: type[nn.Module]) -> bool:
    functions = (inspect.unwrap(member) for member in vars(kind).values() if inspect.isfunction(member))
    return any(_WRITES & {*function.__code__.co_names} for function in functions)


def run_by_stretches(model: PreTrainedModel, states: RowStates, adapters: AdapterRows | None) -> bool:
    """Let every recurrent layer of a model run once per stretch, in place; whether there is one."""
    layers = recurrent_layers(model)
    for layer in layers:
        _limit_time_steps(layer)
        # The instance's own forward: the model still finds the layer, and its attributes, where they were.
        layer.__dict__["forward"] = partial(_forward, layer.forward, states, adapters)
    return bool(layers)


def _limit_time_steps(layer: nn.Module) -> None:
    """Let a layer of Mamba 2 keep its time steps within their limits where it runs a single token, too.

    The last columns of its `in_proj` are dt, and softplus(dt + bias) is the time step (Dao and Gu, ICML 2024).
    transformers limits it where several tokens are read and not where one is, so a model went on otherwise than it had
    begun. softplus rises, so that limits of dt itself do the same.
    """
    shortest, longest = getattr(layer, "time_step_limit", None) or (0.0, math.inf)
    if shortest <= 0 and longest == math.inf:
        return
    bias = cast("Tensor", layer.dt_bias).detach()
    limits = torch.tensor([max(shortest, 0.0), longest], dtype=torch.float64, device=bias.device)
    inverse = limits + torch.log(-torch.expm1(-limits))  # of softplus
    multipliers = getattr(layer, "mup_vector", None)  # Falcon-H1 multiplies what `in_proj` gives
    scale = 1 if multipliers is None else multipliers[..., -len(bias) :].flatten()
    lowest, highest = (((limit - bias) / scale).to(bias) for limit in inverse)

    def limited(_projection: nn.Module, _inputs: tuple[Tensor], projected: Tensor) -> None:
        if projected.shape[1] == 1:
            projected[..., -len(bias) :].clamp_(lowest, highest)

    cast("nn.Module", layer.in_proj).register_forward_hook(limited)


def _forward(
    forward: Callable[..., Tensor],
    states: RowStates,
    adapters: AdapterRows | None,
    *args: object,
    **kwargs: object,
) -> Tensor:
    """The layer's own forward on each stretch of the line; [1, tokens, d] as it would give on all of it."""
    if not states.stretches:
        return forward(*args, **kwargs)
    num_tokens = states.stretches[-1].tokens.stop
    parts = []
    for stretch in states.stretches:
        steps = []
        for step in stretch.by_token() if states.goes_on_by_token else [stretch]:
            states.current = step
            with adapters.only(step.tokens) if adapters else nullcontext():
                taken = {name: _part(value, step, num_tokens) for name, value in kwargs.items()}
                steps.append(forward(*(_part(value, step, num_tokens) for value in args), **taken))
        parts.append(torch.cat(steps, dim=1).flatten(0, 1))
    states.current = None
    return torch.cat(parts)[None]


def _part(value: object, stretch: Stretch, num_tokens: int) -> object:
    """What an argument says of a stretch: [rows, tokens, ...] of [1, tokens of the line, ...], all of anything else."""
    if isinstance(value, tuple):
        return tuple(_part(each, stretch, num_tokens) for each in value)
    if isinstance(value, Tensor) and value.shape[:2] == (1, num_tokens):
        return value[0, stretch.tokens].reshape(stretch.num_rows, -1, *value.shape[2:])
    return value
