"""What recurrent layers carry from token to token: one row per stream, beside its row of keys and values.

Knows tensors, and which rows a layer runs at the moment (`worker.engine.layers.recurrent`); not whose they are.
"""

from collections.abc import Collection, Mapping, Sequence
from math import prod
from typing import TypeAlias

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache

from worker.engine.batch_layout import Stretch
from worker.engine.errors import OTHER_ARCHITECTURE

StateKey: TypeAlias = tuple[int, int, bool]
"""Layer, number of the state within it, and whether it is that of a convolution."""


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
