"""What the key-value cache takes while it decodes: the benchmark's workload, and one long request among many short."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from bench.models import SHAPES, save
from bench.workload import make_workload
from worker.engine import Engine, EngineStatistics, Request, Stream, load_engine

MIB = 2**20
LINES = 12
"""Of a trace, at most."""


@dataclass(frozen=True)
class Moment:
    """The cache after a step."""

    engine: EngineStatistics
    rectangle: int
    """Bytes of one rectangle, each row as long as the longest: what the rows in use would take without pages."""

    @property
    def share_used(self) -> float:
        """Share of the reserved memory that holds tokens, 0 to 1."""
        return self.engine.cache_bytes_used / self.engine.cache_bytes_reserved

    def __str__(self) -> str:
        sizes = {
            "promised": self.engine.cache_bytes_promised,
            "reserved": self.engine.cache_bytes_reserved,
            "used": self.engine.cache_bytes_used,
            "as a rectangle": self.rectangle,
        }
        mib = "  ".join(f"{name} {size / MIB:8.1f}" for name, size in sizes.items())
        return (
            f"{self.engine.num_active:4} active  {self.engine.cache_tokens:7} tokens  {mib} MiB  "
            f"{self.share_used:6.1%} of the reserved is used"
        )


def trace(engine: Engine, requests: Sequence[Request]) -> list[Moment]:
    """Decode the requests; one entry per step at whose end somebody is in a slot."""
    for request in requests:
        engine.add(request)
    moments = []
    runners = engine._models.runners  # noqa: SLF001 (how long the longest row is, is nobody's business else)
    while engine.num_waiting or engine.num_active:
        engine.step()
        lengths = [runner.table.lengths for runner in runners]
        rectangle = sum(
            len(of_one) * max(of_one, default=0) * runner.bytes_per_token
            for runner, of_one in zip(runners, lengths, strict=True)
        )
        if engine.num_active:
            moments.append(Moment(engine.statistics, rectangle))
    return moments


def show(name: str, moments: Sequence[Moment]) -> None:
    """A line now and then, and the mean."""
    for step in range(0, len(moments), max(1, len(moments) // LINES)):
        print(f"{name}  step {step:5}  {moments[step]}", flush=True)
    share = fmean(moment.share_used for moment in moments)
    peaks = (max(moment.engine.cache_bytes_reserved for moment in moments), max(moment.rectangle for moment in moments))
    used = sum(moment.engine.cache_bytes_used for moment in moments)
    reserved = sum(moment.engine.cache_bytes_reserved for moment in moments)
    print(
        f"{name}  {len(moments)} steps: {share:.1%} of the reserved cache holds tokens in the mean of the steps, "
        f"{used / reserved:.1%} of all bytes; at most {peaks[0] / MIB:.1f} MiB, "
        f"as a rectangle {peaks[1] / MIB:.1f} MiB",
        flush=True,
    )


def of_the_workload(name: str, folder: Path, num_slots: int, num_requests: int) -> None:
    """The requests of every other table."""
    saved = save(SHAPES[name], folder / name)
    engine = load_engine(saved.base, saved.policy, device="cpu", dtype="float32", num_slots=num_slots)
    show(f"{name} {num_slots} slots", trace(engine, make_workload(num_requests, SHAPES[name].vocab_size).guided()))


def of_one_long_request(folder: Path, num_slots: int = 256, longest: int = 4096, usual: int = 200) -> None:
    """Every slot decodes a request of so many tokens, one a much longer one; a model of two layers."""
    torch.manual_seed(0)
    config = LlamaConfig(
        num_hidden_layers=2,
        hidden_size=128,
        intermediate_size=128,
        num_attention_heads=2,
        num_key_value_heads=2,
        vocab_size=256,
        max_position_embeddings=longest,
        eos_token_id=None,
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder / "tiny")
    engine = load_engine(str(folder / "tiny"), device="cpu", num_slots=num_slots, prefill_budget=2**16)

    def request(number: int, num_tokens: int) -> Request:
        texts = [random.Random(2 * number + stream).choices(range(1, 256), k=num_tokens - 16) for stream in (0, 1)]
        streams = (Stream("base", tuple(texts[0]), reward=1.0), Stream("base", tuple(texts[1]), reward=-1.0))
        return Request(number, streams, strength=0.5, max_tokens=16)

    requests = [request(0, longest), *(request(number, usual) for number in range(1, num_slots))]
    show(f"tiny {num_slots} slots, one of {longest:,} among {usual}", trace(engine, requests))
