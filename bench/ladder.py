"""What each idea of the engine is worth: one more switched on at every rung, the same tokens on all of them."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from bench import baselines
from bench.measure import decode, timed
from bench.models import SHAPES, Saved, save
from bench.workload import Workload, make_workload
from worker.engine import load_engine
from worker.engine.layers.head import VocabularyHead

SINGLE_REQUESTS = 4


def climb(name: str, folder: Path, num_slots: int, num_requests: int) -> None:
    """Print a row per rung."""
    saved = save(SHAPES[name], folder / name)
    workload = make_workload(num_requests, SHAPES[name].vocab_size)
    base, policy = (
        AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32) for path in (saved.base, saved.merged)
    )
    few = workload.first(SINGLE_REQUESTS)
    rungs: list[tuple[str, Workload, Any]] = [
        ("public loop: no cache, one by one", workload.first(1), lambda w: baselines.uncached(base, policy, w)),
        ("+ cache", few, lambda w: baselines.cached(base, policy, w)),
        ("+ batches (generate)", workload, lambda w: baselines.guided_generate(base, policy, w, num_slots=num_slots)),
    ]
    below = ["columns", "packed", "prefixes", "refill"]
    rungs.append(("this engine, two models, nothing below", workload, _rung(saved, num_slots, below, stacked=False)))
    rungs.append(("+ stacked rows", workload, _rung(saved, num_slots, below)))
    for index, idea in enumerate(below):
        rungs.append((f"+ {_NAMES[idea]}", workload, _rung(saved, num_slots, below[index + 1 :])))
    before, expected = None, None
    for title, these, run in rungs:
        answers, took = timed(partial(run, these), "cpu")
        expected = answers if len(answers) == len(workload.prompts) and expected is None else expected
        rate = these.num_tokens / took.seconds
        gain = "" if before is None else f"x {rate / before:.2f}"
        equal = "" if expected is None else f"equal {sum(a == b for a, b in zip(answers, expected, strict=False))}"
        print(f"{name:5} {num_slots:3} slots  {title:42} {rate:9.1f} tokens/s  {gain:8} {equal}", flush=True)
        before = rate


_NAMES = {
    "columns": "k columns of the policy's head",
    "packed": "weights laid out once",
    "prefixes": "shared prefixes",
    "refill": "slots refilled at once",
}


def _rung(saved: Saved, num_slots: int, without: list[str], *, stacked: bool = True) -> Any:  # noqa: ANN401 (as the table has it)
    def run(workload: Workload) -> baselines.Answers:
        with ExitStack() as stack:
            for idea in without:
                if idea != "refill":
                    stack.enter_context(_WITHOUT[idea]())
            policy = saved.policy if stacked else saved.merged
            engine = load_engine(saved.base, policy, device="cpu", dtype="float32", num_slots=num_slots)
            requests = workload.guided()
            if "refill" not in without:
                return decode(engine, requests)
            answers = []
            for start in range(0, len(requests), num_slots):
                batch = {request.request_id: request for request in requests[start : start + num_slots]}
                done = {outcome.request_id: outcome for outcome in engine.generate(batch.values())}
                answers += [list(done[request_id].token_ids) for request_id in batch]  # type: ignore[union-attr]
            return answers

    return run


@contextmanager
def _full_heads() -> Iterator[None]:
    def columns(head: VocabularyHead, hidden: Tensor, token_ids: Tensor) -> Tensor:
        return head.logits(hidden).gather(1, token_ids)

    with patch.object(VocabularyHead, "columns", columns):
        yield


@contextmanager
def _plain_layers() -> Iterator[None]:
    with (
        patch("worker.engine.loading.assembly.pack", lambda _: None),
        patch("worker.engine.layers.packed.can_pack", lambda *_: False),
    ):
        yield


@contextmanager
def _nothing_shared() -> Iterator[None]:
    with patch("worker.engine.cache.prefixes.MIN_TOKENS", 2**31):
        yield


_WITHOUT = {"columns": _full_heads, "packed": _plain_layers, "prefixes": _nothing_shared}
