"""CUDA graphs of the forward of rows that decode: hundreds of small kernels become one launch.

A graph is recorded for a number of rows and replays with new tokens and positions, so it holds for as long as the
cache stays where it is. Rows are rounded up to the next recorded number: those in excess decode their own leavings.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

Forward = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Tokens, positions and adapters, [rows] each, to last hidden states [rows, d]."""

_SIZES = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
_WAITS = "synchronizing CUDA operation"  # torch's words; it has no type for it


class WaitsForDeviceError(Exception):
    """The forward reads a number back to decide what to do next: a recording would repeat what it decided once."""


def rows_of_graph(num_rows: int) -> int:
    """The number of rows of the graph that runs this many."""
    larger = (size for size in _SIZES if size >= num_rows)
    return next(larger, -(-num_rows // _SIZES[-1]) * _SIZES[-1])


class DecodeGraphs:
    """CUDA graphs of one model's decoding forward, recorded at their first use, one per padded number of rows."""

    def __init__(self, forward: Forward, device: torch.device) -> None:
        self._forward = forward
        self._device = device
        self._graphs: dict[tuple[int, bool], _Graph] = {}
        self.forget()

    def forget(self) -> None:
        """Throw all graphs away; to be called when the cache lies elsewhere than when they were recorded."""
        self._graphs.clear()
        self._pool = (
            torch.cuda.graph_pool_handle()
        )  # graphs share their scratch memory; the pool ends with the last one

    def run(self, tokens: Tensor, positions: Tensor, adapters: Tensor, *, any_adapted: bool) -> Tensor:
        """Last hidden states [n, d]; they are overwritten by the next run.

        Raises WaitsForDeviceError where this forward cannot be recorded: of a mixture of experts whose code counts each
        expert's tokens on the host, or of positions that it compares there.
        """
        key = (rows_of_graph(len(tokens)), any_adapted)
        inputs = torch.zeros(3, key[0], dtype=torch.long, device=self._device)
        inputs[:, : len(tokens)] = torch.stack([tokens, positions, adapters])
        if key not in self._graphs:
            self._graphs[key] = _Graph(self._forward, inputs, self._pool)
        return self._graphs[key].run(inputs)[: len(tokens)]


class _Graph:
    """One recording, with the buffer that it reads."""

    def __init__(self, forward: Forward, inputs: Tensor, pool: Any) -> None:  # noqa: ANN401 (torch's own handle)
        # Recorded with real inputs: the warm-ups write to the cache, and may write only what the replay will.
        self._inputs = inputs.clone()
        stream = torch.cuda.Stream(inputs.device)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        stream.wait_stream(torch.cuda.current_stream(inputs.device))
        try:
            with torch.cuda.stream(stream):
                forward(*self._inputs)  # what is set up once may wait
                with _no_waiting():
                    forward(*self._inputs)
        finally:  # the cache is written by whoever goes on without a recording, too
            torch.cuda.current_stream(inputs.device).wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, pool=pool):
            self._hidden = forward(*self._inputs)

    def run(self, inputs: Tensor) -> Tensor:
        self._inputs.copy_(inputs)
        self._graph.replay()
        return self._hidden


@contextmanager
def _no_waiting() -> Iterator[None]:
    """Raise WaitsForDeviceError where the host waits for the device: in a recording, that would break the stream."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(action="ignore"):  # that this is a prototype
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    except RuntimeError as error:
        if _WAITS not in str(error):
            raise
        raise WaitsForDeviceError from error
    finally:
        torch.cuda.set_sync_debug_mode(before)
