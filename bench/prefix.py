"""Decoding behind a shared preference prefix of growing length, in each form that the engine has for it."""

from functools import partial
from pathlib import Path
from unittest.mock import patch

from bench.measure import decode, timed
from bench.models import SHAPES, save
from bench.workload import Workload, make_workload
from worker.engine import load_engine

LENGTHS = (30, 100, 300, 1000, 2000)
FORMS = {
    "each row reads it": {"worker.engine.cache.prefixes.MIN_TOKENS": 2**31},
    "read once, copied": {"worker.engine.runner.READ_IN_PLACE_FROM": 2**31},
    "read once, in place": {"worker.engine.runner.READ_IN_PLACE_FROM": 0},
}


def curve(name: str, folder: Path, num_slots: int, num_requests: int) -> None:
    """Print a row per length and form."""
    saved = save(SHAPES[name], folder / name)
    for length in LENGTHS:
        plain = make_workload(num_requests, SHAPES[name].vocab_size, prefix=length, num_groups=1)
        workload = Workload(plain.prompts, (48,) * num_requests)
        expected = None
        for form, values in FORMS.items():
            (where, value), *_ = values.items()
            with patch(where, value):
                engine = load_engine(saved.base, saved.policy, device="cpu", dtype="float32", num_slots=num_slots)
                answers, took = timed(partial(decode, engine, workload.guided()), "cpu")
            expected = expected or answers
            equal = sum(one == other for one, other in zip(answers, expected, strict=True))
            print(
                f"{name:5} {num_slots:3} slots  prefix {length:5}  {form:20} "
                f"{workload.num_tokens / took.seconds:9.1f} tokens/s  equal {equal} of {num_requests}",
                flush=True,
            )
