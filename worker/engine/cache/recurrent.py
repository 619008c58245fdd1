"""What recurrent layers carry from token to token: one row per stream, beside its row of keys and values.

A recurrence takes its tokens one after the other, so neither padding nor a neighbour's token may pass through it. All
other layers run on the one line of tokens of a forward; a recurrent one is called once per stretch of it: neighbouring
rows that have equally many tokens, and that all begin or all go on. Knows tensors; does not know whose rows they are.
"""

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import TypeAlias

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

from worker.engine.batch_layout import PromptChunk
from worker.engine.errors import OTHER_ARCHITECTURE
from worker.engine.layers.lora import AdapterRows

StateKey: TypeAlias = "tuple[int, int, bool]"
"""Layer, number of the state within it, and whether it is that of a convolution."""
_WRITES = {"update_conv_state", "update_recurrent_state"}


@dataclass(frozen=True, slots=True)
class Stretch:
    """Neighbouring rows with equally many tokens in a forward."""

    rows: slice
    """Rows of the cache."""
    tokens: slice
    """Tokens of the forward: those of the first row, then those of the next."""
    goes_on: bool
    """Whether the rows hold the state behind earlier tokens; otherwise they begin."""

    @property
    def num_rows(self) -> int:
        """Number of rows in the stretch."""
        return int(self.rows.stop - self.rows.start)

    def by_token(self) -> "list[Stretch]":
        """The same as stretches of one token per row, in order; itself where rows begin or have one token."""
        size = (self.tokens.stop - self.tokens.start) // self.num_rows
        if not self.goes_on or size == 1:
            return [self]
        starts = range(self.tokens.start, self.tokens.start + size)
        return [Stretch(self.rows, slice(start, self.tokens.stop, size), goes_on=True) for start in starts]


def stretches(num_decoding: int, pieces: Sequence[PromptChunk], first_row: int) -> list[Stretch]:
    """The stretches of a forward: a token of each decoding row, then chunks of prompts in rows from `first_row` on."""
    found = [Stretch(slice(0, num_decoding), slice(0, num_decoding), goes_on=True)] if num_decoding else []
    start, row = num_decoding, first_row
    while pieces:
        size, goes_on = len(pieces[0].token_ids), pieces[0].start > 0
        alike = 1
        while alike < len(pieces) and (len(pieces[alike].token_ids), pieces[alike].start > 0) == (size, goes_on):
            alike += 1
        found.append(Stretch(slice(row, row + alike), slice(start, start + alike * size), goes_on))
        pieces, start, row = pieces[alike:], start + alike * size, row + alike
    return found


def by_length(pieces: Sequence[PromptChunk]) -> list[PromptChunk]:
    """New rows in an order that makes few stretches; those that decode next stay in front."""
    return sorted(pieces, key=lambda piece: (not piece.is_last, piece.start > 0, len(piece.token_ids)))


class RowStates:
    """The states of all recurrent layers, [rows, ...] each; their shapes show with the first forward."""

    def __init__(self) -> None:
        self.num_rows = 0
        self.goes_on_by_token = False
        """Whether rows that go on take one token at a time: not every model reads several behind a state."""
        self.stretches: Sequence[Stretch] = ()
        """The stretches of the coming forward."""
        self.current: Stretch | None = None
        """The one that a layer runs."""
        self._states: dict[StateKey, Tensor] = {}

    @property
    def bytes_per_row(self) -> int:
        """Bytes of the states of one row, over all layers; they do not grow with its length."""
        return sum(prod(state.shape[1:]) * state.itemsize for state in self._states.values())

    def resize(self, num_rows: int) -> None:
        """Hold this many rows; those that both sizes have are kept."""
        if num_rows == self.num_rows:
            return
        self.num_rows = num_rows
        for key, old in self._states.items():
            new = old.new_zeros(num_rows, *old.shape[1:])
            kept = min(len(old), num_rows)
            new[:kept] = old[:kept]
            self._states[key] = new

    def scrub(self, rows: Tensor) -> None:
        """Forget what is in these rows [m]."""
        for state in self._states.values():
            state[rows] = 0

    def move(self, sources: Sequence[int], targets: Sequence[int], unproved: Collection[int]) -> None:
        """Copy rows over other rows, as if all at once; nothing of the unproved sources stays in their old places."""
        for state in self._states.values():
            moved = state[list(sources)]
            state[list(unproved)] = 0
            state[list(targets)] = moved

    def read(self, row: int) -> dict[StateKey, Tensor]:
        """A copy of what one row holds."""
        return {key: state[row].clone() for key, state in self._states.items()}

    def write(self, row: int, states: Mapping[StateKey, Tensor]) -> None:
        """Let a row hold what `read` gave of another."""
        for key, state in states.items():
            self._states[key][row] = state

    def held(self, key: StateKey) -> Tensor | None:
        """What the rows of the current stretch hold [n, ...], to be read or written in place; None where they begin."""
        if self.current is None or not self.current.goes_on:
            return None
        return self._states[key][self.current.rows]

    def convolved(self, key: StateKey, inputs: Tensor, kernel_size: int) -> Tensor:
        """Keep the last inputs [n, channels, T] of a convolution; all of them, behind those that were kept."""
        held = self.held(key)
        missing = max(0, kernel_size - inputs.shape[-1])
        inputs = nn.functional.pad(inputs, (missing, 0)) if held is None else torch.cat([held, inputs], dim=-1)
        self.put(key, inputs[..., -kernel_size:])
        return inputs

    def put(self, key: StateKey, state: Tensor) -> Tensor:
        """Keep the state [n, ...] of the rows of the current stretch."""
        if self.current is None:
            message = "a layer keeps a recurrent state outside of those that transformers calls so"
            raise NotImplementedError(f"{message}: {OTHER_ARCHITECTURE}")
        if key not in self._states:
            self._states[key] = state.new_zeros(self.num_rows, *state.shape[1:])
        self._states[key][self.current.rows] = state
        return state


class StateCache(Cache):
    """The part of a cache that recurrent layers use, under the names that transformers gives it."""

    states: RowStates

    def get_conv_state(self, layer_idx: int, state_idx: int = 0) -> Tensor | None:
        """What a convolution last read, or None at the beginning of a row."""
        return self.states.held((layer_idx, state_idx, True))

    def get_recurrent_state(self, layer_idx: int, state_idx: int = 0) -> Tensor | None:
        """The state behind the last token, or None at the beginning of a row."""
        return self.states.held((layer_idx, state_idx, False))

    def update_conv_state(
        self,
        conv_states: Tensor,
        layer_idx: int,
        state_idx: int = 0,
        conv_kernel_size: int | None = None,
        **_others: object,
    ) -> Tensor:
        """Inputs [n, channels, T] behind those that were kept, or padded to the kernel at the beginning of a row."""
        size = conv_states.shape[-1] if conv_kernel_size is None else conv_kernel_size
        return self.states.convolved((layer_idx, state_idx, True), conv_states, size)

    def update_recurrent_state(
        self, recurrent_states: Tensor, layer_idx: int, state_idx: int = 0, **_others: object
    ) -> Tensor:
        """Keep the state behind the last token."""
        return self.states.put((layer_idx, state_idx, False), recurrent_states)

    def has_previous_state(self, layer_idx: int | None = None, state_idx: int | None = None) -> bool:  # noqa: ARG002 (all go on alike)
        """Whether the rows of the current stretch go on."""
        return self.states.current is not None and self.states.current.goes_on

    def is_recording_past(self, layer_idx: int) -> bool:  # noqa: ARG002 (transformers' signature)
        """False: transformers asks whether past states are kept to be rolled back to, and none are."""
        return False


def cache_name(decoder: nn.Module) -> str:
    """What a decoder calls its cache: models without attention have a name of their own for it."""
    return "cache_params" if "cache_params" in inspect.signature(decoder.forward).parameters else "past_key_values"


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
        # The instance's own forward: the model still finds the layer, and its attributes, where they were.
        layer.__dict__["forward"] = partial(_forward, layer.forward, states, adapters)
    return bool(layers)


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
