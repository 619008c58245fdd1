"""`python -m bench.shares`: what an adapter and the cache's pages cost of a guided step, each beside a twin without it.

python -m bench.shares --base MODEL --slots 16,64 --rounds 5

An adapter of rank 16 on all linear layers, against the same rows without one; memory by the page, against a rectangle
that takes all that its shape says. Sides take turns, step by step and round by round, on the same prompts.
"""

import argparse
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from unittest.mock import patch

import torch
import transformers
from transformers import AutoConfig

from bench.measure import decode
from bench.models import add_adapter_to
from bench.workload import Workload, make_workload
from worker.engine import Engine, Request, Stream, load_engine

WARM_UP, STEPS = 8, 24
"""Of a round: those in which prompts are read, and those that are timed."""


@dataclass(frozen=True)
class Side:
    """An engine, its requests, and what must hold while it runs."""

    engine: Engine
    requests: list[Request]
    while_it_runs: Callable[[], AbstractContextManager[object]] = nullcontext


def steps(sides: Sequence[Side], num_rounds: int) -> list[list[float]]:
    """Seconds of the middle step of each round, per side: all slots decode, nobody reads a prompt."""
    medians: list[list[float]] = [[] for _ in sides]
    for _ in range(num_rounds):
        took: list[list[float]] = [[] for _ in sides]
        for side in sides:
            with side.while_it_runs():
                for request in side.requests:
                    side.engine.add(request)
                for _ in range(WARM_UP):
                    side.engine.step()
        for _ in range(STEPS):
            for side, seconds in zip(sides, took, strict=True):
                with side.while_it_runs():
                    began = time.perf_counter()
                    side.engine.step()
                    seconds.append(time.perf_counter() - began)
        for side, seconds, of_rounds in zip(sides, took, medians, strict=True):
            for request in side.requests:
                side.engine.cancel(request.request_id)
            of_rounds.append(statistics.median(seconds))
    return medians


def workloads(sides: Sequence[Side], num_rounds: int) -> list[list[float]]:
    """Seconds in which each side decodes all of its requests, prompts and growing rows included."""
    took: list[list[float]] = [[] for _ in sides]
    answers: list[list[list[int]]] = [[] for _ in sides]
    for _ in range(num_rounds):
        for number, side in enumerate(sides):
            with side.while_it_runs():
                began = time.perf_counter()
                answers[number] = decode(side.engine, side.requests)
                took[number].append(time.perf_counter() - began)
    print(f"      equal answers: {answers[0] == answers[-1]}", flush=True)
    return took


def in_rectangles() -> AbstractContextManager[object]:
    """Memory as it is had where there are no pages."""
    stack = ExitStack()
    for name in ("worker.engine.cache.pages.has_pages", "worker.engine.engine.has_pages"):
        stack.enter_context(patch(name, lambda _device: False))
    return stack


def without_adapter(requests: Sequence[Request]) -> list[Request]:
    """The same rows, all of them the base's; the second prompt is another one, or it would be the first one's row."""
    return [
        Request(
            request.request_id,
            tuple(
                Stream("base", (*stream.prompt[:-1], stream.prompt[-1] + number), stream.reward)
                for number, stream in enumerate(request.streams)
            ),
            strength=request.strength,
            k=request.k,
            max_tokens=request.max_tokens,
        )
        for request in requests
    ]


def show(title: str, seconds: Sequence[float], other: Sequence[float]) -> None:
    """Medians of the rounds, and by how much the first exceeds the second."""
    ratios = [one / two for one, two in zip(seconds, other, strict=True)]
    print(
        f"{title:46} {1e3 * statistics.median(seconds):9.1f} ms, without {1e3 * statistics.median(other):9.1f} ms: "
        f"{statistics.median(ratios) - 1:+.1%} ({min(ratios) - 1:+.1%} to {max(ratios) - 1:+.1%}) "
        f"load {os.getloadavg()[0]:.1f}",
        flush=True,
    )


def _measure(options: argparse.Namespace, policy: str, num_slots: int) -> None:
    def engine(policy: str | None) -> Engine:
        return load_engine(
            options.base, policy, device="cpu", dtype=options.dtype, num_slots=num_slots, prefill_budget=2**14
        )

    vocab_size, num_rounds = AutoConfig.from_pretrained(options.base).vocab_size - 1, options.rounds
    name = f"{num_slots} slots {options.dtype}, "
    if "adapter" in options.tables:
        prompts = make_workload(num_slots, vocab_size, num_groups=num_slots).prompts
        long = Workload(prompts, (256,) * num_slots).guided()
        adapted, plain = steps([Side(engine(policy), long), Side(engine(None), without_adapter(long))], num_rounds)
        show(f"{name}a guided step with the adapter", adapted, plain)
    if "pages" in options.tables:
        requests = make_workload(options.requests or 2 * num_slots, vocab_size).guided()
        sides = [Side(engine(policy), requests)]
        with in_rectangles():
            sides.append(Side(engine(policy), requests, in_rectangles))
        paged, whole = workloads(sides, num_rounds)
        show(f"{name}{len(requests)} requests in pages", paged, whole)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.shares", description=__doc__)
    parser.add_argument("--base", required=True, help="a model's folder")
    parser.add_argument("--policy", help="an adapter's folder; without, one of rank 16 with random weights")
    parser.add_argument("--slots", default="16")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--requests", type=int, help="of the workload in pages; twice the slots by default")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tables", default="adapter,pages")
    options = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
    warnings.filterwarnings("ignore")
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}; {STEPS} steps a round", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        policy = options.policy or add_adapter_to(options.base, folder)
        for num_slots in map(int, options.slots.split(",")):
            _measure(options, policy, num_slots)


if __name__ == "__main__":
    main()
