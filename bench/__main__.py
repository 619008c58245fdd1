"""`python -m bench`: the tables of docs/benchmarks.md, measured here.

python -m bench                          every table, with the 30M model (about 20 minutes on two cores)
python -m bench --shapes 30M,100M,0.5B --slots 16,64 --requests 256
python -m bench.gpu                      an 8 B model on a GPU
"""

import argparse
import logging
import tempfile
import warnings
from pathlib import Path

import torch
import transformers

from bench.cpu import Comparison, step_ratio
from bench.ladder import climb
from bench.memory import of_one_long_request, of_the_workload
from bench.models import SHAPES, save
from bench.prefix import curve

TABLES = ("baselines", "ladder", "prefix", "step", "memory")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Benchmarks of the decoding engine on a CPU.")
    parser.add_argument("--tables", default=",".join(TABLES), help="of " + ", ".join(TABLES))
    parser.add_argument("--shapes", default="30M", help="of " + ", ".join(SHAPES))
    parser.add_argument("--slots", default="16")
    parser.add_argument("--requests", type=int, default=128)
    parser.add_argument("--folder", type=Path, help="where the models are kept from run to run")
    options = parser.parse_args()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
    warnings.filterwarnings("ignore", category=FutureWarning)
    with tempfile.TemporaryDirectory() as temporary:
        _run(options, options.folder or Path(temporary))


def _run(options: argparse.Namespace, folder: Path) -> None:
    print(
        f"{torch.get_num_threads()} threads, torch {torch.__version__}, transformers {transformers.__version__}; "
        f"{options.requests} requests; float32; answers log-normal, median 48, at most 256 tokens",
        flush=True,
    )
    for name in options.shapes.split(","):
        for num_slots in map(int, options.slots.split(",")):
            if "baselines" in options.tables:
                Comparison(name, folder, options.requests).run(num_slots)
            if "ladder" in options.tables:
                climb(name, folder, num_slots, options.requests)
            if "prefix" in options.tables:
                curve(name, folder, num_slots, num_requests=2 * num_slots)
            if "memory" in options.tables:
                of_the_workload(name, folder, num_slots, options.requests)
        if "step" in options.tables:
            saved = save(SHAPES[name], folder / name)
            for num_slots in (1, 2, 4, 8, 16):
                plain, guided = step_ratio(saved, SHAPES[name].vocab_size, num_slots)
                print(
                    f"{name:5} {num_slots:3} slots  step unguided {1e3 * plain:7.1f} ms, "
                    f"guided {1e3 * guided:7.1f} ms, ratio {guided / plain:.2f}",
                    flush=True,
                )
    if "memory" in options.tables:
        of_one_long_request(folder)


if __name__ == "__main__":
    main()
