"""The engine against its baselines on this machine's processor, in float32, tokens compared."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from bench import baselines
from bench.measure import Timed, decode, forwards_timed, timed
from bench.models import SHAPES, Saved, save
from bench.workload import Workload, make_workload
from worker.engine import load_engine

# How many requests a baseline is given that would take hours over all of them.
UNCACHED_REQUESTS, SINGLE_REQUESTS = 2, 8


class Comparison:
    """One model size: every side decodes the same requests; what differs in a token is counted."""

    def __init__(self, name: str, folder: Path, num_requests: int) -> None:
        self._name = name
        self._saved = save(SHAPES[name], folder / name)
        self._workload = make_workload(num_requests, SHAPES[name].vocab_size)
        self._guided: baselines.Answers = []
        self._unguided: baselines.Answers = []

    def run(self, num_slots: int) -> None:
        """Print a row per side."""
        guided = self._engine(num_slots)
        base, policy = (_read(path) for path in (self._saved.base, self._saved.merged))
        self._baseline("(a) public loop", UNCACHED_REQUESTS, guided, lambda w: baselines.uncached(base, policy, w))
        self._baseline("(b) cached, one by one", SINGLE_REQUESTS, guided, lambda w: baselines.cached(base, policy, w))
        everything = len(self._workload.prompts)
        self._baseline(
            "(c) guided generate",
            everything,
            guided,
            lambda w: baselines.guided_generate(base, policy, w, num_slots=num_slots),
        )
        self._baseline(
            "(d) unguided generate",
            everything,
            guided,
            lambda w: baselines.unguided_generate(base, w, num_slots=num_slots),
            is_guided=False,
        )

    def _engine(self, num_slots: int) -> float:
        engine = load_engine(self._saved.base, self._saved.policy, device="cpu", dtype="float32", num_slots=num_slots)
        decode(engine, self._workload.first(4).guided())  # whatever is done once
        rates = {}
        for name, requests in (("guided", self._workload.guided()), ("(e) unguided", self._workload.unguided())):
            inside: list[float] = []
            with forwards_timed(inside):
                answers, took = timed(partial(decode, engine, requests), "cpu")
            rates[name] = self._workload.num_tokens / took.seconds
            if name == "guided":
                self._guided = answers
            else:
                self._unguided = answers
            self._show(
                f"engine, {name}", num_slots, rates[name], took, f"inside forwards {sum(inside) / took.seconds:.1%}"
            )
        return rates["guided"]

    def _baseline(
        self,
        name: str,
        num_requests: int,
        guided: float,
        run: Callable[[Workload], baselines.Answers],
        *,
        is_guided: bool = True,
    ) -> None:
        workload = self._workload.first(num_requests)
        answers, took = timed(lambda: run(workload), "cpu")
        rate = workload.num_tokens / took.seconds
        expected = self._guided if is_guided else self._unguided
        equal = sum(one == other for one, other in zip(answers, expected, strict=False))
        self._show(name, 0, rate, took, f"engine guided is {guided / rate:.1f} x, equal {equal} of {len(answers)}")

    def _show(self, name: str, num_slots: int, rate: float, took: Timed, more: str) -> None:
        slots = f"{num_slots:3} slots" if num_slots else " " * 9
        print(f"{self._name:5} {slots} {name:24} {rate:9.1f} tokens/s  {took.peak_gib:5.1f} GiB  {more}", flush=True)


def _read(path: str) -> PreTrainedModel:
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    return model


def step_ratio(saved: Saved, vocab_size: int, num_slots: int, steps: int = 40) -> tuple[float, float]:
    """Median seconds of a step of so many requests, unguided and guided, in turn in the same engine."""
    engine = load_engine(saved.base, saved.policy, device="cpu", dtype="float32", num_slots=num_slots)
    workload = make_workload(num_slots, vocab_size)
    workload = Workload(workload.prompts, (256,) * num_slots)
    medians = []
    for requests in (workload.unguided(), workload.guided()):
        for request in requests:
            engine.add(request)
        while engine.num_waiting:
            engine.step()
        engine.step()
        seconds = sorted(timed(engine.step, "cpu")[1].seconds for _ in range(steps))
        medians.append(seconds[steps // 2])
        for request in requests:
            engine.cancel(request.request_id)
    return medians[0], medians[1]
