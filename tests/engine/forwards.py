"""The forward passes of an engine: what they run, for tests that count their cost, and how they fail."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from worker.engine.batch_layout import Line
from worker.engine.layers.attention import AttentionBlock
from worker.engine.runner import Runner

OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."),
]
"""Of a device and of a CPU."""


@dataclass(slots=True)
class Forwards:
    """One entry per forward pass of any model."""

    token_ids: list[list[int]] = field(default_factory=list)

    @property
    def sizes(self) -> list[int]:
        return [len(line) for line in self.token_ids]


def watch(monkeypatch: pytest.MonkeyPatch) -> Forwards:
    forward, seen = Runner._forward, Forwards()  # noqa: SLF001 (the narrowest place that every token passes)

    def watched(runner: Runner, line: Line, blocks: Sequence[AttentionBlock]) -> Tensor:
        seen.token_ids.append(line.tokens.tolist())
        return forward(runner, line, blocks)

    monkeypatch.setattr(Runner, "_forward", watched)
    return seen


def fail_when(monkeypatch: pytest.MonkeyPatch, num_rows: int, error: Exception, *, after: int = 0) -> list[int]:
    """Forward passes of more rows than this fail, once some have succeeded; the sizes of those that failed."""
    forward = Runner._forward  # noqa: SLF001 (the narrowest place where a device runs out of memory)
    calls = [0]
    failed = []

    def limited(runner: Runner, line: Line, blocks: Sequence[AttentionBlock]) -> Tensor:
        calls[0] += 1
        size = sum(len(block.columns) for block in blocks)
        if calls[0] > after and size > num_rows:
            failed.append(size)
            raise error
        return forward(runner, line, blocks)

    monkeypatch.setattr(Runner, "_forward", limited)
    return failed
