"""What an engine does on a GPU, played on a CPU: forwards that are recorded and replayed, and all that comes with them.

A recording is a list of operators with the tensors that they were given, as a CUDA graph is a list of kernels with
addresses: whatever the host decided while it was made is decided for good. Played as well are rows rounded up to the
next recorded number, a cache that is one rectangle, one block of rows, attention by each row's own columns, and steps
that run ahead of the host. What is not: memory, time, and the kernel itself.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from worker.engine import Engine
from worker.engine.forwards import LineForward
from worker.engine.layers.attention import Scoring
from worker.engine.layers.graphs import DecodeGraphs, Forward, WaitsForDeviceError, rows_of_graph
from worker.engine.layers.head import VocabularyHead
from worker.engine.runner import Runner

_READ_BACK = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_consecutive", "equal"}
"""Operators after which the host knows what the device has computed."""


@dataclass(slots=True)
class Played:
    """What has happened on the device that is played."""

    num_replays: int = 0
    num_not_recorded: int = 0
    num_attended: int = 0
    """Blocks of rows that attended to their own columns alone."""


@dataclass(frozen=True, slots=True)
class _Operation:
    operator: Callable[..., Any]
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    results: list[Any]

    def repeat(self) -> None:
        """Run on the same tensors, and put what is new where it was put before."""
        given = {
            leaf.untyped_storage().data_ptr() for leaf in tree_leaves((self.args, self.kwargs)) if _is_tensor(leaf)
        }
        again = tree_leaves(self.operator(*self.args, **self.kwargs))
        for old, new in zip(self.results, again, strict=True):
            if _is_tensor(old) and old.untyped_storage().data_ptr() not in given:  # neither a view nor in place
                old.copy_(new)


def _is_tensor(value: object) -> bool:
    return isinstance(value, Tensor)


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # its __init_subclass__ has no types
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.operations: list[_Operation] = []

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 (torch types an operator as any)
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        if func.overloadpacket.__name__ in _READ_BACK:
            raise WaitsForDeviceError
        results = func(*args, **(kwargs or {}))
        self.operations.append(_Operation(func, args, kwargs or {}, tree_leaves(results)))
        return results


@dataclass
class _Recordings(DecodeGraphs):
    """The recordings of one model."""

    forward: Forward
    played: Played
    _of_rows: dict[tuple[int, bool], tuple[Tensor, Tensor, list[_Operation]]] = field(default_factory=dict)

    def forget(self) -> None:
        self._of_rows.clear()

    @torch.inference_mode()
    def run(self, tokens: Tensor, positions: Tensor, adapters: Tensor, *, any_adapted: bool) -> Tensor:
        key = (rows_of_graph(len(tokens)), any_adapted)
        inputs = torch.zeros(3, key[0], dtype=torch.long)
        inputs[:, : len(tokens)] = torch.stack([tokens, positions, adapters])
        if key not in self._of_rows:
            self._of_rows[key] = self._recorded(inputs.clone())
        held, hidden, operations = self._of_rows[key]
        held.copy_(inputs)
        for operation in operations:
            operation.repeat()
        self.played.num_replays += 1
        return hidden[: len(tokens)]

    def _recorded(self, inputs: Tensor) -> tuple[Tensor, Tensor, list[_Operation]]:
        self.forward(*inputs)
        with pytest.MonkeyPatch.context() as patched, _Recorder() as recorder:
            patched.setattr(Tensor, "tolist", self._read_back)
            try:
                hidden = self.forward(*inputs)
            except WaitsForDeviceError:
                self.played.num_not_recorded += 1
                raise
        return inputs, hidden, recorder.operations

    @staticmethod
    def _read_back(_tensor: Tensor) -> None:
        raise WaitsForDeviceError


def play_gpu(monkeypatch: pytest.MonkeyPatch) -> Played:
    """Let engines that are loaded from now on, on a CPU, run as they do on a GPU; what has happened there."""
    played = Played()
    init, init_engine = Runner.__init__, Engine.__init__

    def recording(runner: Runner, decoder: LineForward, head: VocabularyHead) -> None:
        init(runner, decoder, head)
        if not runner.is_recurrent and not decoder.needs_equal_starts:
            runner._graphs = _Recordings(runner._forward_decoding, played)  # noqa: SLF001 (as on a GPU)

    def ahead(engine: Engine, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 (an engine's own)
        init_engine(engine, *args, **kwargs)
        engine._num_ahead = 1  # noqa: SLF001 (as on a GPU)

    def attend(query: Tensor, keys: Tensor, values: Tensor, last_columns: Tensor, scoring: Scoring) -> Tensor:
        played.num_attended += 1
        return attend_to_own_columns(query, keys, values, last_columns, scoring)

    monkeypatch.setattr(Runner, "__init__", recording)
    monkeypatch.setattr(Engine, "__init__", ahead)
    monkeypatch.setattr("worker.engine.runner.NUM_BLOCKS_ON_CPU", 1)
    monkeypatch.setattr("worker.engine.layers.native.kernels", lambda _dtype: None)
    monkeypatch.setattr("worker.engine.layers.packed._DTYPES", ())  # those of oneDNN's layers
    for where in ("cache.pages", "engine"):
        monkeypatch.setattr(f"worker.engine.{where}.has_pages", lambda _device: False)
    monkeypatch.setattr("worker.engine.layers.attention.has_decode_kernel", lambda _keys, _values: True)
    monkeypatch.setattr("worker.engine.layers.attention.attend_to_own_columns", attend, raising=False)
    return played


def attend_to_own_columns(
    query: Tensor, keys: Tensor, values: Tensor, last_columns: Tensor, scoring: Scoring
) -> Tensor:
    """What the kernel of this name computes, in plain torch: [n, heads, size] -> [n, heads, value size]."""
    num_rows, num_heads, size = query.shape
    num_key_heads = keys.shape[1]
    columns, ends = torch.arange(keys.shape[2]), last_columns[:, None]
    seen = columns <= ends
    if scoring.window is not None:
        seen &= columns > ends - scoring.window
    grouped = query.reshape(num_rows, num_key_heads, num_heads // num_key_heads, size)
    scores = scoring.scaled(grouped @ keys.transpose(2, 3)).masked_fill(~seen[:, None, None], -torch.inf)
    values = values.masked_fill(~seen[:, None, :, None], 0)  # what a row has not written is not read
    return (scores.softmax(-1).to(values.dtype) @ values).reshape(num_rows, num_heads, -1)
