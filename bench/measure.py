"""Time, memory and the share of time inside model forwards."""

import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
    """Of the process so far on a CPU, of this run on a GPU."""
    inside_forwards: float | None = None
    """Share of the time, where it was measured."""


def timed(run: Callable[[], T], device: str) -> tuple[T, Timed]:
    """The result, and what it took."""
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    result = run()
    if device == "cuda":
        torch.cuda.synchronize()
        peak = torch.cuda.max_memory_allocated()
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return result, Timed(time.perf_counter() - started, peak / 2**30)


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
