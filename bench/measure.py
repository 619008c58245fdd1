"""Time, memory and the share of time inside model forwards."""

import gc
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from worker.engine import Engine, Failure, Request
from worker.engine.runner import Runner

T = TypeVar("T")


@dataclass(frozen=True)
class Timed:
    """One run."""

    seconds: float
    peak_gib: float
    """While it ran, models included: of the process on a CPU, of the device's memory on a GPU."""


def timed(run: Callable[[], T], device: str) -> tuple[T, Timed]:
    """The result, and what it took."""
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    else:
        _reset_peak()
    started = time.perf_counter()
    result = run()
    if device == "cuda":
        torch.cuda.synchronize()
        peak = torch.cuda.max_memory_allocated()
    else:
        peak = _peak()
    return result, Timed(time.perf_counter() - started, peak / 2**30)


def _reset_peak() -> None:
    """From now on Linux counts the process's peak anew."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    """Resident bytes at most since then."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def decode(engine: Engine, requests: list[Request]) -> list[list[int]]:
    """The answers in order."""
    answers: dict[int | str, list[int]] = {}
    for outcome in engine.generate(requests):
        if isinstance(outcome, Failure):
            raise RuntimeError(outcome.message)  # noqa: TRY004 (it says what happened, not of which type it is)
        answers[outcome.request_id] = list(outcome.token_ids)
    return [answers[index] for index in range(len(requests))]


@contextmanager
def forwards_timed(seconds: list[float]) -> Iterator[None]:
    """Add to `seconds` what each forward of the engine takes, its vocabulary head included. On a CPU only."""
    names = ("run", "logits", "columns")
    plain = {name: getattr(Runner, name) for name in names}

    def timing(name: str) -> Callable[..., object]:
        def call(*args: object) -> object:
            started = time.perf_counter()
            result = plain[name](*args)
            seconds.append(time.perf_counter() - started)
            return result

        return call

    for name in names:
        setattr(Runner, name, timing(name))
    try:
        yield
    finally:
        for name, method in plain.items():
            setattr(Runner, name, method)
