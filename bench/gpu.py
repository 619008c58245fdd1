"""The engine on a GPU with an 8 B model: against its baselines, and against what the memory's bandwidth allows."""

import argparse
import gc
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from transformers import PreTrainedModel

from bench import baselines
from bench.measure import decode, timed
from bench.models import SHAPES, Shape, add_adapter
from bench.workload import Workload, make_workload
from worker.engine import Engine
from worker.engine.layers import attention
from worker.engine.layers.adapted import adapt_rows
from worker.engine.loading.assembly import ADMITTED_SHARE_ON_GPU, assemble
from worker.engine.loading.reading import LoadedModel, LoadedModels
from worker.engine.streams import StreamWeights

PROFILED_SLOTS = 64
_NAMES = {True: "guided", False: "unguided"}


def engine_on(model: PreTrainedModel, num_slots: int) -> Engine:
    """An engine whose policy is an adapter on the model; the model is changed in place."""
    add_adapter(model)
    model.set_attn_implementation(attention.NAME)
    rows = adapt_rows(model, ["default"])
    weights = {"base": StreamWeights(0), "policy": StreamWeights(0, 1)}
    loaded = LoadedModels((LoadedModel("8B", model, rows),), weights)
    return assemble(loaded, num_slots=num_slots, max_length=1024)


def bandwidth() -> float:
    """Bytes per second of a large copy on the device, read and written bytes counted."""
    source = torch.empty(2**31, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    seconds = []
    for _ in range(12):
        torch.cuda.synchronize()
        started = time.perf_counter()
        target.copy_(source)
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return 2 * len(source) / statistics.median(seconds[2:])


def step_seconds(engine: Engine, workload: Workload, *, guided: bool, steps: int = 60) -> tuple[float, float]:
    """Median time of a step in which every slot decodes and nobody joins, and the columns that it reads."""
    requests = workload.guided() if guided else workload.unguided()
    for request in requests[: engine.num_slots]:
        engine.add(request)
    while engine.num_waiting or engine.num_active < engine.num_slots:
        engine.step()
    for _ in range(5):
        engine.step()
    columns = sum(sum(runner.table.lengths) for runner in engine._models.runners)  # noqa: SLF001 (what a step reads)
    torch.cuda.synchronize()
    seconds = []
    for _ in range(steps):
        started = time.perf_counter()
        engine.step()
        seconds.append(time.perf_counter() - started)
    for request in requests[: engine.num_slots]:
        engine.cancel(request.request_id)
    return statistics.median(seconds), columns


def profile(engine: Engine, workload: Workload) -> None:
    """Which kernels a step spends its time in."""
    for request in workload.guided()[: engine.num_slots]:
        engine.add(request)
    for _ in range(30):
        engine.step()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        for _ in range(10):
            engine.step()
        torch.cuda.synchronize()
    print(profiler.key_averages().table(sort_by="cuda_time_total", row_limit=30, max_name_column_width=90))
    for request in workload.guided()[: engine.num_slots]:
        engine.cancel(request.request_id)


def long_answers(count: int, vocab_size: int) -> Workload:
    """As the workload's prompts, with answers longer than a measurement takes."""
    plain = make_workload(count, vocab_size)
    return Workload(plain.prompts, (256,) * count)


def compared(num_slots: int, vocab_size: int) -> Workload:
    """What both sides decode: three rounds of slots, within what the baselines do in a minute or so."""
    return make_workload(max(64, min(256, 3 * num_slots)), vocab_size)


def measure_engine(shape: Shape, sizes: list[int], *, with_profile: bool) -> dict[int, baselines.Answers]:
    """Steady steps against the bandwidth limit, and throughput; the answers to what is compared, by slots."""
    speed = bandwidth()
    print(f"copy bandwidth {speed / 1e12:.2f} TB/s", flush=True)
    model = shape.build(torch.bfloat16, "cuda")
    weights = sum(p.nbytes for name, p in model.named_parameters() if "embed_tokens" not in name)
    engine = engine_on(model, sizes[0])
    adapter = sum(b.nbytes for name, b in model.named_buffers() if name.endswith(".up")) * 2
    per_token = engine._models.runners[0].bytes_per_token  # noqa: SLF001 (what a step reads)
    answers: dict[int, baselines.Answers] = {}
    for num_slots in sizes:
        engine = assemble_again(engine, num_slots)
        steady = {}
        for guided in (False, True):
            steady[guided], columns = step_seconds(engine, long_answers(num_slots, shape.vocab_size), guided=guided)
            limit = (weights + adapter * guided + columns * per_token) / speed
            print(
                f"{num_slots:3} slots  {_NAMES[guided]:8} step {1e3 * steady[guided]:6.2f} ms, "
                f"limit {1e3 * limit:5.2f} ms ({limit / steady[guided]:.0%}), "
                f"{num_slots / steady[guided]:7.0f} tokens/s",
                flush=True,
            )
        print(f"{num_slots:3} slots  guided step / unguided step {steady[True] / steady[False]:.2f}", flush=True)
        long = make_workload(min(1536, 12 * num_slots), shape.vocab_size)
        decode(engine, long.first(2 * num_slots).guided())  # records what is recorded once
        decode(engine, long.first(2 * num_slots).unguided())
        for workload in (compared(num_slots, shape.vocab_size), long):
            for guided in (True, False):
                requests = workload.guided() if guided else workload.unguided()
                found, took = timed(partial(decode, engine, requests), "cuda")
                answers.setdefault(num_slots, found)
                print(
                    f"{num_slots:3} slots  {_NAMES[guided]:8} {len(requests):4} requests "
                    f"{workload.num_tokens / took.seconds:7.0f} tokens/s, peak {took.peak_gib:.1f} GiB",
                    flush=True,
                )
        if with_profile and num_slots == PROFILED_SLOTS:
            profile(engine, long_answers(num_slots, shape.vocab_size))
    return answers


def assemble_again(engine: Engine, num_slots: int) -> Engine:
    """The same models with another number of slots."""
    return Engine(
        engine._models,  # noqa: SLF001 (models are not loaded twice)
        num_slots=num_slots,
        prefill_budget=4096,
        admit_at_least=max(1, num_slots // ADMITTED_SHARE_ON_GPU),
    )


def measure_baselines(shape: Shape, sizes: list[int], ours: dict[int, baselines.Answers]) -> None:
    """(a), (c) and (d); how many of the answers are the engine's, token for token (bfloat16 rounds differently)."""
    base = shape.build(torch.bfloat16, "cuda")
    policy = add_adapter(shape.build(torch.bfloat16, "cuda")).merge_and_unload()
    report("(a)", compared(sizes[0], shape.vocab_size).first(2), partial(baselines.uncached, base, policy), [])
    for num_slots in sizes:
        workload = compared(num_slots, shape.vocab_size)
        guided = partial(baselines.guided_generate, base, policy, num_slots=num_slots)
        report(f"{num_slots:3} slots  (c)", workload, guided, ours.get(num_slots, []))
        report(
            f"{num_slots:3} slots  (d)", workload, partial(baselines.unguided_generate, base, num_slots=num_slots), []
        )


def report(
    name: str, workload: Workload, run: Callable[[Workload], baselines.Answers], ours: baselines.Answers
) -> None:
    """One line."""
    answers, took = timed(partial(run, workload), "cuda")
    equal = sum(one == other for one, other in zip(answers, ours, strict=False))
    print(
        f"{name} {len(answers):4} requests {workload.num_tokens / took.seconds:7.1f} tokens/s, "
        f"peak {took.peak_gib:.1f} GiB" + (f", equal {equal} of {len(answers)}" if ours else ""),
        flush=True,
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", default="8B", choices=SHAPES)
    parser.add_argument("--slots", default="16,64,256")
    parser.add_argument("--no-baselines", action="store_true")
    parser.add_argument("--no-engine", action="store_true")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    sizes = [int(size) for size in options.slots.split(",")]
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    ours: dict[int, baselines.Answers] = {}
    if not options.no_engine:
        ours = measure_engine(SHAPES[options.shape], sizes, with_profile=options.profile)
        gc.collect()
        torch.cuda.empty_cache()
    if not options.no_baselines:
        measure_baselines(SHAPES[options.shape], sizes, ours)


if __name__ == "__main__":
    main()
